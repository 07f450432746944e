//! The shortener over HTTP: the real router and server in this process, on the memory log.

mod client;
mod cluster;
mod counting;
mod following;
mod listing;
mod making;
mod pages;
