//! What goes wrong below HTTP, as problems: a command without an outcome of the domain, a view that does not answer.

use std::time::Duration;

use headwater::{PublishError, QueryError, SendError};

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
    tracing::warn!(%detail, "nothing could be written");
    Problem::new(&codes::UNAVAILABLE, detail).retry_after(SOON)
}

fn full(detail: &str) -> Problem {
    tracing::error!(%detail, "nothing could be written");
    Problem::new(&codes::STORAGE_FULL, "there is no space left; nothing was kept of this request")
        .retry_after(LATER)
}
