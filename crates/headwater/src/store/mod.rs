//! The state stores that come with this crate, and the overlay that topologies write through.

mod budget;
mod catalogue;
mod flusher;
mod left_right;
pub mod lmdb;
pub mod memory;
pub mod overlay;

pub use budget::MemoryBudget;
pub use flusher::{FlushReport, Flusher, FlusherOptions, OnFlush};

#[cfg(test)]
mod conformance_tests;
#[cfg(test)]
mod testing;
