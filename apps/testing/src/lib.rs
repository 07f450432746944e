//! What the tests and benchmarks of the apps share.
//!
//! - [`server`]: a program as a child process, which can be killed;
//! - [`connection`]: a connection that is kept open, and notices its end;
//! - [`patience`]: waiting in bounded time;
//! - [`page`]: the files of a page, as they have to be served.
//!
//! Whatever fails here fails the test that asked for it, by a panic.

pub mod connection;
pub mod page;
pub mod patience;
pub mod server;
