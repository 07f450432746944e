//! Logs with one defect each.
