//! The memory log: its contract, its faults, and the suite that it is the reference for.

mod conformance;
mod drive;
mod faults;
