//! The real binary on a real broker, struck by one thing at a time.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod bad_input;
mod replicas;
mod service;
mod unknown;
