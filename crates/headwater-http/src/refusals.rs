//! What goes wrong below HTTP, as problems: a command without an outcome of the domain, a view that does not answer.

use std::time::Duration;

use headwater::{PublishError, QueryError, SendError};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::codes;
use crate::problem::Problem;

/// When to ask again what will probably work in a moment.
pub const SOON: Duration = Duration::from_secs(1);
/// When to ask again what somebody has to look after.
pub const LATER: Duration = Duration::from_secs(5);

/// A command that has no outcome of the domain.
pub fn of_send(error: SendError) -> Problem {
    let detail = error.to_string();
    match error {
        SendError::IdConflict { .. } => Problem::new(&codes::COMMAND_CONFLICT, detail),
        SendError::VersionConflict { .. } => Problem::new(&codes::VERSION_CONFLICT, detail),
        SendError::Overloaded { retry_after, .. } => {
            Problem::new(&codes::OVERLOADED, "too many commands wait here").retry_after(retry_after)
        }
        SendError::Panicked { .. } => Problem::new(&codes::COMMAND_PANICKED, detail),
        SendError::Invalid(_) => Problem::new(&codes::INVALID_BODY, detail),
        SendError::Expired => Problem::new(&codes::COMMAND_EXPIRED, detail),
        SendError::Moving { retry_after, .. } => {
            Problem::new(&codes::UNAVAILABLE, detail).retry_after(retry_after)
        }
        SendError::Unavailable(_) | SendError::NotRunning { .. } => unavailable(detail),
        SendError::Full(_) => full(&detail),
        other => Problem::internal(&other),
    }
}

/// A record that was not published, or may not have been.
pub fn of_publish(error: PublishError) -> Problem {
    let detail = error.to_string();
    match error {
        PublishError::Invalid(_) => Problem::new(&codes::INVALID_VALUE, detail),
        PublishError::Unavailable(_) => unavailable(detail),
        PublishError::Full(_) => full(&detail),
        PublishError::Unknown { .. } => Problem::new(&codes::OUTCOME_UNKNOWN, detail).retry_after(SOON),
        other => Problem::internal(&other),
    }
}

/// A view that did not answer.
pub fn of_query(error: QueryError) -> Problem {
    let detail = error.to_string();
    match error {
        QueryError::NotYet { .. } => Problem::new(&codes::NOT_YET, detail).retry_after(SOON),
        QueryError::ForeignReceipt(_) => {
            Problem::new(&codes::INVALID_HEADER, detail).field("headwater-after")
        }
        QueryError::Token(_)
        | QueryError::ForeignPosition { .. }
        | QueryError::NoHistory { .. }
        | QueryError::BeforeHistory { .. } => Problem::new(&codes::INVALID_PARAMETER, detail),
        QueryError::Building { .. } => Problem::new(&codes::VIEW_BUILDING, detail).retry_after(SOON),
        QueryError::Unavailable { view, .. } => {
            tracing::warn!(%detail, "a question was not answered");
            let detail = format!("no instance that has the view \"{view}\" can be asked now: ask again");
            Problem::new(&codes::UNAVAILABLE, detail).retry_after(SOON)
        }
        QueryError::NotHere(_) => Problem::new(&codes::NOT_THIS_INSTANCE, detail),
        QueryError::Stopped { .. } => Problem::new(&codes::UNAVAILABLE, detail).retry_after(LATER),
        other => Problem::internal(&other),
    }
}

fn unavailable(detail: String) -> Problem {
    static TOLD: Mutex<Sparse> = Mutex::new(Sparse { told: None, untold: 0 });
    if let Some(untold) = TOLD.lock().tells(Instant::now()) {
        tracing::warn!(%detail, untold, "nothing could be written");
    }
    Problem::new(&codes::UNAVAILABLE, detail).retry_after(SOON)
}

/// What is told once in a while, however often it happens: a log that is known to be away refuses thousands a second.
struct Sparse {
    told: Option<Instant>,
    untold: u64,
}

impl Sparse {
    const PAUSE: Duration = Duration::from_secs(1);

    /// How many were not told before this one, if this one is to be told.
    fn tells(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now - told < Self::PAUSE) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

fn full(detail: &str) -> Problem {
    tracing::error!(%detail, "nothing could be written");
    Problem::new(&codes::STORAGE_FULL, "there is no space left; nothing was kept of this request")
        .retry_after(LATER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_once_a_second_with_its_count() {
        let (start, mut sparse) = (Instant::now(), Sparse { told: None, untold: 0 });
        let told = [0, 10, 999, 1_000, 1_500, 9_000, 10_000].map(|ms| {
            let now = start + Duration::from_millis(ms);
            sparse.tells(now)
        });
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1), Some(0)]);
    }
}
