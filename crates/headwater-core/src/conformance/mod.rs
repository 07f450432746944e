//! Suites by which an implementation of a contract proves itself: the same for ours and for anybody's.
//!
//! Feature `conformance`; see each module for how to run it. A test wraps a log to change what it does: [`log::wrapper`].

pub mod log;
pub mod store;
