//! Servers are killed with -9 again and again while many visitors follow links.
//!
//! Every visitor comes from a page of its own, so that each visit can be told from all others. Afterwards each redirect
//! that was answered is counted exactly once, none is counted twice, and no limited link has led anybody too often.
//! `HEADWATER_BIN_SHORTENER` names another binary.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod embedded;
mod fleet;
mod visitors;

use std::sync::{Mutex, MutexGuard, PoisonError};

use app_testing::connection::Connection;
use app_testing::server::Program;
use serde_json::Value;

/// The code of the link that has so many visits and no more.
const LIMITED: &str = "limited";

/// One test's servers at a time are enough for a small machine.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shortener on the embedded log.
fn program() -> Program {
    Program::embedded("shortener", env!("CARGO_BIN_EXE_shortener"))
}

fn make_link(connection: &mut Connection, code: &str, max_visits: Option<u64>) {
    let limit = max_visits.map(|max| format!(r#","maxVisits":{max}"#)).unwrap_or_default();
    let body = format!(r#"{{"url":"https://example.com/","alias":"{code}"{limit}}}"#);
    let made = connection.post("/links", &body);
    assert_eq!(made.map(|(status, _)| status), Some(201), "{code}");
}

/// What a path answers; `None` if it cannot now.
fn told(connection: &mut Connection, path: &str) -> Option<Value> {
    let (status, body) = connection.get(path).expect("it answers");
    assert!(matches!(status, 200 | 503), "{path}: {}", String::from_utf8_lossy(&body));
    (status == 200).then(|| serde_json::from_slice(&body).unwrap())
}

fn number(of: &Value) -> u64 {
    of["visits"].as_u64().unwrap()
}

fn sum(of: &Value) -> u64 {
    of.as_array().unwrap().iter().map(number).sum()
}
