//! What this app refuses, as problems.

use headwater::prelude::*;
use headwater_http::codes as common;
use headwater_http::problem::Problem;
use headwater_http::refusals::SOON;

use super::codes;
use crate::domain::Over;

/// A link that leads nowhere.
pub(super) fn of_over(over: Over) -> Problem {
    match over {
        Over::Unknown => Problem::new(&codes::NO_SUCH_LINK, "there is no link of this code"),
        Over::Expired => Problem::new(&codes::LINK_EXPIRED, "this link's time is over"),
        Over::Exhausted => Problem::new(&codes::LINK_EXHAUSTED, "this link had all its visits"),
        Over::Deleted => Problem::new(&codes::LINK_DELETED, "this link was deleted"),
    }
}

/// A command of which nobody knows whether it took effect.
pub(super) fn unknown(command: &CommandId, advice: &'static str) -> Problem {
    tracing::warn!(%command, "the outcome of a command is not known");
    Problem::new(&common::OUTCOME_UNKNOWN, advice).retry_after(SOON)
}

/// Whether this instance, or one that it can ask, decides commands.
///
/// # Errors
///
/// A problem that sends the client elsewhere.
pub(super) fn takes_commands(instance: &crate::instance::Instance) -> Result<(), Problem> {
    if instance.parts.commands || instance.running.is_one_of_several() {
        return Ok(());
    }
    Err(Problem::new(&common::NOT_THIS_INSTANCE, "this instance takes no commands"))
}
