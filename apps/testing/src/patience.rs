//! Waiting in bounded time, on a machine that has other things to do.

use std::thread;
use std::time::{Duration, Instant};

/// Longest that anything is waited for before a test fails.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long a moment is between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks again until there is an answer; `None` if there is none in all that time.
pub fn patiently<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() >= deadline {
            return answer;
        }
        thread::sleep(PAUSE);
    }
}

/// Asks again until there is an answer.
///
/// # Panics
///
/// If there is none in all that time.
#[track_caller]
pub fn within_patience<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    let answer = patiently(ask);
    answer.unwrap_or_else(|| panic!("in time: {what}"))
}
