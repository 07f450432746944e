//! State in memory.
