//! The logs that come with this crate: embedded (durable, one process) and memory (deterministic, for tests).

pub mod embedded;
mod groups;
pub mod memory;
