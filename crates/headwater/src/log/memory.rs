//! The memory log: deterministic, with faults on demand.
