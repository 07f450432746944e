//! Several processes of the program that share one real broker: what any of them answers while others, or the broker, are
//! gone.

mod going;
mod outage;
mod processes;
// Of what it offers, not all is of use here.
#[allow(dead_code)]
#[path = "../faults/service.rs"]
mod service;
