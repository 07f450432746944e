//! Making a link, telling it, and deleting it.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use headwater::command::Origin;
use headwater::core::clock::Timestamp;
use headwater::prelude::*;
use headwater_http::args::PathArgs;
use headwater_http::headers::ReceiptHeader;
use headwater_http::json::JsonBody;
use headwater_http::problem::Problem;
use headwater_http::refusals::of_send;
use headwater_http::traceparent::TraceParent;
use schemars::JsonSchema;
use serde::Serialize;

use super::codes;
use super::lookup::committed;
use super::problems::{of_over, takes_commands, unknown};
use super::request::{Choice, LinkRequest};
use super::site::{Addressed, Site};
use super::time::rfc3339;
use crate::domain::{Address, Code, Link, LinkCommand, LinkRejection, Over, Terms};
use crate::instance::Instance;

/// Most codes that are tried for one link.
const CANDIDATES_MAX: usize = 64;
const SEND_AGAIN: &str = "whether it took effect is not known: send it again, the same has one effect";

/// The answer to a link that was made, or was there.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    /// Its code.
    code: Code,
    /// Its short address.
    short_url: String,
    /// Where it leads.
    url: Address,
    /// From when on it leads nowhere, in UTC (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<String>,
    /// How many visits it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_visits: Option<u64>,
    /// Send it as `Headwater-After` to read what includes this link.
    receipt: String,
}

/// A link as it is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinkState {
    /// Its code.
    pub(super) code: Code,
    /// Its short address.
    short_url: String,
    /// Where it leads.
    url: Address,
    /// When it was made, in UTC (RFC 3339).
    created_at: String,
    /// Whether it leads anywhere.
    state: Standing,
    /// From when on it leads nowhere, in UTC (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<String>,
    /// How many visits it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_visits: Option<u64>,
    /// How many of those are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    visits_left: Option<u64>,
}

/// Whether a link leads anywhere.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Live,
    Expired,
    Exhausted,
}

impl LinkState {
    /// What is told of a link; why there is nothing to tell, if it is not there.
    pub(super) fn of(code: Code, link: Link, now: Timestamp, site: &Addressed<'_>) -> Result<Self, Over> {
        let state = match link.over(now) {
            None => Standing::Live,
            Some(Over::Expired) => Standing::Expired,
            Some(Over::Exhausted) => Standing::Exhausted,
            Some(over) => return Err(over),
        };
        let visits_left = link.visits_left();
        let Terms { url, valid_until, max_visits } = link.terms.ok_or(Over::Unknown)?;
        Ok(Self {
            short_url: site.short(&code),
            code,
            url,
            created_at: rfc3339(link.at),
            state,
            valid_until: valid_until.map(rfc3339),
            max_visits: max_visits.map(Into::into),
            visits_left,
        })
    }
}

pub(super) async fn create(
    State(instance): State<Instance>,
    State(site): State<Site>,
    headers: HeaderMap,
    trace: TraceParent,
    JsonBody(request): JsonBody<LinkRequest>,
) -> Result<impl IntoResponse, Problem> {
    takes_commands(&instance)?;
    let site = site.addressed(&headers)?;
    let (terms, choice) = request.parse(instance.clock.now(), &site)?;
    let (code, receipt) = claim(&instance, &terms, choice, &trace).await?;
    let Terms { url, valid_until, max_visits } = terms;
    let made = Made {
        short_url: site.short(&code),
        url,
        valid_until: valid_until.map(rfc3339),
        max_visits: max_visits.map(Into::into),
        receipt: receipt.to_string(),
        code,
    };
    let location = [(header::LOCATION, format!("/links/{}", made.code))];
    Ok((StatusCode::CREATED, location, ReceiptHeader(receipt), Json(made)))
}

/// Gives the link its code: the first of those it may have that is free, or its own already.
async fn claim(
    instance: &Instance,
    terms: &Terms,
    choice: Choice,
    trace: &TraceParent,
) -> Result<(Code, Receipt), Problem> {
    let (candidates, taken) = match choice {
        Choice::Alias(code) => (vec![code], alias_taken()),
        Choice::Sha256 => (vec![Code::sha256(&terms.url)], code_taken()),
        Choice::Short => (Code::short(terms).take(CANDIDATES_MAX).collect(), code_taken()),
    };
    for code in candidates {
        if let Some(receipt) = give(instance, &code, terms, trace).await? {
            return Ok((code, receipt));
        }
    }
    Err(taken)
}

/// Gives a code to the link; `None` if it is another's.
async fn give(
    instance: &Instance,
    code: &Code,
    terms: &Terms,
    trace: &TraceParent,
) -> Result<Option<Receipt>, Problem> {
    let sent = instance.running.send(&instance.links, code, LinkCommand::Shorten(terms.clone()));
    match sent.origin(origin(trace)).await.map_err(of_send)? {
        Accepted(receipt) => Ok(Some(receipt)),
        Rejected(LinkRejection::Taken) => Ok(None),
        Rejected(LinkRejection::Over(over)) => Err(of_over(over)),
        Unknown(command) => Err(unknown(&command, SEND_AGAIN)),
    }
}

fn alias_taken() -> Problem {
    Problem::new(&codes::ALIAS_TAKEN, "another link has this alias: choose another one").field("alias")
}

fn code_taken() -> Problem {
    let detail =
        "the code of this address is that of a link with other terms, or of one that had all its visits";
    Problem::new(&codes::CODE_TAKEN, detail).field("code")
}

fn origin(trace: &TraceParent) -> Origin {
    Origin { traceparent: Some(trace.to_string()), ..Origin::default() }
}

pub(super) async fn show(
    State(instance): State<Instance>,
    State(site): State<Site>,
    PathArgs(code): PathArgs<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let code = Code::of_path(&code).ok_or_else(|| of_over(Over::Unknown))?;
    let (behind, link) = committed(&instance, &code).await?;
    let state = LinkState::of(code, link, instance.clock.now(), &site.addressed(&headers)?);
    Ok((behind, Json(state.map_err(of_over)?)))
}

pub(super) async fn delete(
    State(instance): State<Instance>,
    PathArgs(code): PathArgs<String>,
    trace: TraceParent,
) -> Result<impl IntoResponse, Problem> {
    takes_commands(&instance)?;
    let code = Code::of_path(&code).ok_or_else(|| of_over(Over::Unknown))?;
    let sent = instance.running.send(&instance.links, &code, LinkCommand::Delete);
    match sent.origin(origin(&trace)).await.map_err(of_send)? {
        Accepted(receipt) => Ok((StatusCode::NO_CONTENT, ReceiptHeader(receipt), ())),
        Rejected(_) => Err(of_over(Over::Unknown)),
        Unknown(command) => Err(unknown(&command, SEND_AGAIN)),
    }
}
