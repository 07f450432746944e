//! What goes wrong below, as problems: what is common to all apps is told in this one's words where that helps.

use headwater::prelude::*;
use headwater_http::codes as common;
use headwater_http::problem::{FieldError, Problem};
use headwater_http::refusals::{self, LATER};

use super::codes;
use crate::domain::Unfit;

/// A command that has no outcome of the domain.
pub(super) fn of_send(error: SendError) -> Problem {
    match error {
        SendError::IdConflict { .. } => id_taken(),
        SendError::Full(cause) => {
            tracing::error!(%cause, "an order could not be taken");
            let detail = "there is no space left to keep the order; nothing was ordered";
            Problem::new(&common::STORAGE_FULL, detail).retry_after(LATER)
        }
        other => refusals::of_send(other),
    }
}

/// Another order has the id.
pub(super) fn id_taken() -> Problem {
    let detail = "another order has this id: place this one under an id of its own";
    Problem::new(&codes::ORDER_ID_TAKEN, detail).field("orderId")
}

/// A parameter of the URL that does not fit.
pub(super) fn of_parameter(name: &'static str, unfit: Unfit) -> Problem {
    let detail = format!("{name} {unfit}");
    Problem::new(&common::INVALID_PARAMETER, detail)
        .errors(vec![FieldError::new(name, unfit.detail).code(unfit.code)])
}
