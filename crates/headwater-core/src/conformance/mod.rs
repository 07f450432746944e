//! Suites by which an implementation of a contract proves itself: the same for ours and for anybody's.

pub mod store;
