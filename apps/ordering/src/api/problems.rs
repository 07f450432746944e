//! What goes wrong below, as problems.

use std::time::Duration;

use headwater::prelude::*;
use headwater_http::codes as common;
use headwater_http::problem::Problem;

use super::codes;
use crate::domain::Unfit;

/// When to ask again what will probably work in a moment.
pub(super) const SOON: Duration = Duration::from_secs(1);
/// When to ask again what somebody has to look after.
const LATER: Duration = Duration::from_secs(5);

/// A command that has no outcome of the domain.
pub(super) fn of_send(error: SendError) -> Problem {
    let detail = error.to_string();
    match error {
        SendError::IdConflict { .. } => id_taken(),
        SendError::VersionConflict { .. } => Problem::new(&common::VERSION_CONFLICT, detail),
        SendError::Overloaded { retry_after, .. } => {
            Problem::new(&common::OVERLOADED, "too many orders wait here").retry_after(retry_after)
        }
        SendError::Panicked { .. } => Problem::new(&common::COMMAND_PANICKED, detail),
        SendError::Invalid(_) => Problem::new(&common::INVALID_BODY, detail),
        SendError::Expired => Problem::new(&common::COMMAND_EXPIRED, detail),
        SendError::Moving { retry_after, .. } => {
            Problem::new(&common::UNAVAILABLE, detail).retry_after(retry_after)
        }
        SendError::Unavailable(_) | SendError::NotRunning { .. } => {
            tracing::warn!(%detail, "an order could not be taken");
            Problem::new(&common::UNAVAILABLE, detail).retry_after(SOON)
        }
        SendError::Full(_) => {
            tracing::error!(%detail, "an order could not be taken");
            Problem::new(
                &common::STORAGE_FULL,
                "there is no space left to keep the order; nothing was ordered",
            )
            .retry_after(LATER)
        }
        other => Problem::internal(&other),
    }
}

/// Another order has the id.
pub(super) fn id_taken() -> Problem {
    let detail = "another order has this id: place this one under an id of its own";
    Problem::new(&codes::ORDER_ID_TAKEN, detail).field("orderId")
}

/// A view that did not answer.
pub(super) fn of_query(error: QueryError) -> Problem {
    let detail = error.to_string();
    match error {
        QueryError::NotYet { .. } => Problem::new(&common::NOT_YET, detail).retry_after(SOON),
        QueryError::ForeignReceipt(_) => {
            Problem::new(&common::INVALID_HEADER, detail).field("headwater-after")
        }
        QueryError::Building { .. } => Problem::new(&common::VIEW_BUILDING, detail).retry_after(SOON),
        QueryError::Unavailable { view, .. } => {
            tracing::warn!(%detail, "a question was not answered");
            let detail = format!("no instance that has the view \"{view}\" can be asked now: ask again");
            Problem::new(&common::UNAVAILABLE, detail).retry_after(SOON)
        }
        QueryError::NotHere(_) => Problem::new(&codes::NOT_HERE, detail),
        QueryError::Stopped { .. } => Problem::new(&common::UNAVAILABLE, detail).retry_after(LATER),
        other => Problem::internal(&other),
    }
}

/// A parameter of the URL that does not fit.
pub(super) fn of_parameter(name: &'static str, unfit: Unfit) -> Problem {
    Problem::new(&common::INVALID_PARAMETER, format!("{name} {unfit}")).field(name)
}
