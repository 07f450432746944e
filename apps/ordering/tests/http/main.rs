//! The shop over HTTP: the real router and server in this process, on the memory log.

mod client;
mod cluster;
mod faults;
mod listing;
mod pages;
mod placing;
mod roles;
mod streaming;
