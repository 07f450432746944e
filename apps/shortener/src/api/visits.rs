//! How often a link was visited: altogether, by the day or the hour, and from where; once, or as it changes.
//!
//! A link's days and hours are those in which visits were answered; the others have none. A stream begins with a
//! `reset`, which has all of them; a `change` has one as it is now. An event's id is the position to resume from.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use futures_util::stream;
use headwater::core::log::LogId;
use headwater::core::position::Position;
use headwater::prelude::*;
use headwater::{Changes, Update, Windowed};
use headwater_http::args::{PathArgs, QueryArgs};
use headwater_http::freshness::Freshness;
use headwater_http::headers::{Behind, LastEventId};
use headwater_http::position::PositionToken;
use headwater_http::problem::Problem;
use headwater_http::refusals::of_query;
use headwater_http::sse::{Sse, SseEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lookup::committed;
use super::problems::of_over;
use super::time::rfc3339;
use crate::domain::{Code, Over, Referrer};
use crate::instance::Instance;

/// A client may take a longer silence for a broken connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Referrers that are told, those of the most visits.
const REFERRERS_MAX: usize = 100;

/// How visits are to be told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VisitsQuery {
    /// By `day` or by `hour`, in UTC; only altogether, if absent.
    by: Option<Span>,
}

/// How visits are to be followed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowQuery {
    /// By `day`, which is the default, or by `hour`, in UTC.
    by: Option<Span>,
}

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Span {
    Day,
    Hour,
}

/// The visits of a link.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Visits {
    /// The link's code.
    code: Code,
    /// How many there were.
    total: u64,
    /// How `counts` are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Span>,
    /// By the day or the hour, the earliest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Vec<Count>>,
    /// From where, those of the most visits first, a hundred at most.
    referrers: Vec<FromHost>,
}

/// The visits of a day or an hour.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Count {
    /// When it began, in UTC (RFC 3339).
    start: String,
    /// How many there were.
    visits: u64,
}

/// The visits that came from a page of one host.
#[derive(Debug, Serialize, JsonSchema)]
struct FromHost {
    /// The host; empty where it is not known.
    host: Referrer,
    /// How many there were.
    visits: u64,
}

pub(super) async fn count(
    State(instance): State<Instance>,
    PathArgs(code): PathArgs<String>,
    QueryArgs(VisitsQuery { by }): QueryArgs<VisitsQuery>,
    freshness: Freshness,
) -> Result<impl IntoResponse, Problem> {
    let code = known(&instance, &code).await?;
    let view = instance.running.view(&instance.total).map_err(of_query)?;
    let total = freshness.bounded(freshness.of(view).get(&code)).await?;
    let counts = match by {
        Some(span) => Some(counts(&instance, &code, span, &freshness).await?),
        None => None,
    };
    let referrers = referrers(&instance, &code, &freshness).await?;
    let behind = Behind::from(&total);
    Ok((behind, Json(Visits { code, total: total.value.unwrap_or_default(), by, counts, referrers })))
}

/// The code of a link that is there, also if it is over.
async fn known(instance: &Instance, code: &str) -> Result<Code, Problem> {
    let code = Code::of_path(code).ok_or_else(|| of_over(Over::Unknown))?;
    let (_, link) = committed(instance, &code).await?;
    match link.over(instance.clock.now()) {
        Some(over @ (Over::Unknown | Over::Deleted)) => Err(of_over(over)),
        _ => Ok(code),
    }
}

fn view_of(instance: &Instance, span: Span) -> &View<Windowed<Code>, u64> {
    match span {
        Span::Day => &instance.daily,
        Span::Hour => &instance.hourly,
    }
}

async fn counts(
    instance: &Instance,
    code: &Code,
    span: Span,
    freshness: &Freshness,
) -> Result<Vec<Count>, Problem> {
    let view = instance.running.view(view_of(instance, span)).map_err(of_query)?;
    let rows = freshness.bounded(freshness.of(view).windows(code, ..)).await?;
    Ok(rows.value.into_iter().map(counted).collect())
}

fn counted((window, visits): (Windowed<Code>, u64)) -> Count {
    Count { start: rfc3339(window.start), visits }
}

async fn referrers(
    instance: &Instance,
    code: &Code,
    freshness: &Freshness,
) -> Result<Vec<FromHost>, Problem> {
    let view = instance.running.view(&instance.referrers).map_err(of_query)?;
    let mut rows = freshness.bounded(freshness.of(view).of(code)).await?.value;
    rows.sort_by_key(|(_, visits)| std::cmp::Reverse(*visits));
    let told = rows.into_iter().take(REFERRERS_MAX);
    Ok(told.map(|(host, visits)| FromHost { host, visits }).collect())
}

pub(super) async fn follow(
    State(instance): State<Instance>,
    PathArgs(code): PathArgs<String>,
    QueryArgs(FollowQuery { by }): QueryArgs<FollowQuery>,
    LastEventId(last): LastEventId<PositionToken>,
) -> Result<Sse, Problem> {
    let code = known(&instance, &code).await?;
    let log = instance.running.log_id();
    let since = last.and_then(|token| token.on(log));
    let view = instance.running.view(view_of(&instance, by.unwrap_or(Span::Day))).map_err(of_query)?;
    let changes = view.changes(&code, .., since.as_ref()).await.map_err(of_query)?;
    let follower = Follower { log, changes };
    Ok(Sse::new(stream::unfold(follower, Follower::step)).keep_alive(KEEP_ALIVE))
}

/// Turns the changes of counts into events.
struct Follower {
    log: LogId,
    changes: Changes<Windowed<Code>, u64>,
}

impl Follower {
    /// The next event; the end of the stream if the view cannot be read, so that the client connects anew.
    async fn step(mut self) -> Option<(SseEvent, Self)> {
        match self.changes.next().await {
            Ok(update) => Some((self.told(update), self)),
            Err(error) => {
                tracing::warn!(%error, "a stream of visits ends");
                None
            }
        }
    }

    fn told(&self, update: Update<Windowed<Code>, u64>) -> SseEvent {
        match update {
            Update::Reset { rows, position } => {
                let counts: Vec<_> = rows.into_iter().map(counted).collect();
                self.event("reset", &counts, Some(position))
            }
            Update::Change { key, value, position } => {
                self.event("change", &counted((key, value.unwrap_or_default())), position)
            }
        }
    }

    fn event(&self, name: &'static str, data: &impl Serialize, position: Option<Position>) -> SseEvent {
        let event = SseEvent::json(data).expect("times and numbers are JSON").event(name);
        match position {
            Some(position) => event.id(PositionToken::new(self.log, &position).to_string()),
            None => event,
        }
    }
}
