//! Servers are killed with -9 again and again while many visitors follow links.
//!
//! Every visitor comes from a page of its own, so that each visit can be told from all others. Afterwards each redirect
//! that was answered is counted exactly once, none is counted twice, and no limited link has led anybody too often.
//! `HEADWATER_BIN_SHORTENER` names another binary.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod embedded;
mod fleet;
mod server;
mod visitors;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use server::Connection;

/// The code of the link that has so many visits and no more.
const LIMITED: &str = "limited";

/// One test's servers at a time are enough for a small machine.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make_link(connection: &mut Connection, code: &str, max_visits: Option<u64>) {
    let limit = max_visits.map(|max| format!(r#","maxVisits":{max}"#)).unwrap_or_default();
    let body = format!(r#"{{"url":"https://example.com/","alias":"{code}"{limit}}}"#);
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let made = connection.ask(&format!("POST /links HTTP/1.1\r\nhost: kill\r\n{head}\r\n{body}"));
    assert_eq!(made.map(|(status, _)| status), Some(201), "{code}");
}

/// What a path answers; `None` if it cannot now.
fn told(connection: &mut Connection, path: &str) -> Option<Value> {
    let asked = format!("GET {path} HTTP/1.1\r\nhost: kill\r\n\r\n");
    let (status, body) = connection.ask(&asked).expect("it answers");
    assert!(matches!(status, 200 | 503), "{path}: {}", String::from_utf8_lossy(&body));
    (status == 200).then(|| serde_json::from_slice(&body).unwrap())
}

fn number(of: &Value) -> u64 {
    of["visits"].as_u64().unwrap()
}

fn sum(of: &Value) -> u64 {
    of.as_array().unwrap().iter().map(number).sum()
}
