//! The state stores that come with this crate, and the overlay that topologies write through.

mod catalogue;
mod left_right;
pub mod lmdb;
pub mod memory;
pub mod overlay;

#[cfg(test)]
mod conformance_tests;
