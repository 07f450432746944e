//! The state stores that come with this crate, and the overlay that topologies write through.

pub mod lmdb;
pub mod memory;
pub mod overlay;
