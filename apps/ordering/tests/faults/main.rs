//! What the finished program does when its disk, its data or its clients fail: each test starts the real process.

mod clients;
mod damage;
mod disk;
mod growth;
mod inputs;
mod kafka;
mod migration;
mod service;
mod starting;
mod stopping;
mod topics;
