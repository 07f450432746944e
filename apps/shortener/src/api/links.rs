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
use super::request::{Choice, LinkRequest, ended};
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
    let (candidates, taken): (_, fn(Taken) -> Problem) = match choice {
        Choice::Alias(code) => (vec![code], alias_taken),
        Choice::Sha256 => (vec![Code::sha256(&terms.url)], code_taken),
        Choice::Short => (Code::short(terms).take(CANDIDATES_MAX).collect(), |_| no_code_is_free()),
    };
    let mut by = Taken::Another;
    for code in candidates {
        match give(instance, &code, terms, trace).await? {
            Ok(receipt) => return Ok((code, receipt)),
            Err(taken) => by = taken,
        }
    }
    Err(taken(by))
}

/// By which link a code is taken.
enum Taken {
    /// One to another address.
    Another,
    /// One to the same address, of other terms.
    OtherTerms,
    /// One to the same address, which is over.
    Past(Over),
}

/// Gives a code to the link, unless another has it.
async fn give(
    instance: &Instance,
    code: &Code,
    terms: &Terms,
    trace: &TraceParent,
) -> Result<Result<Receipt, Taken>, Problem> {
    let sent = instance.running.send(&instance.links, code, LinkCommand::Shorten(terms.clone()));
    match sent.origin(origin(trace)).await.map_err(of_send)? {
        Accepted(receipt) => Ok(Ok(receipt)),
        Rejected(LinkRejection::Taken) => Ok(Err(Taken::Another)),
        Rejected(LinkRejection::SameAddress(None)) => Ok(Err(Taken::OtherTerms)),
        Rejected(LinkRejection::SameAddress(Some(over))) => Ok(Err(Taken::Past(over))),
        Rejected(LinkRejection::Over(_)) => Err(ended()),
        Unknown(command) => Err(unknown(&command, SEND_AGAIN)),
    }
}

fn alias_taken(by: Taken) -> Problem {
    let (code, detail) = match by {
        Taken::Another => (&codes::ALIAS_TAKEN, "another link has this alias: choose another one".into()),
        Taken::OtherTerms => {
            let detail = "a link to the same address has this alias, with other terms (validUntil, maxVisits): ask for \
                          those, or choose another alias";
            (&codes::ALIAS_TAKEN, detail.into())
        }
        Taken::Past(over) => {
            (&codes::LINK_OVER, format!("{}: choose another alias{}", past(over), or_back(over)))
        }
    };
    Problem::new(code, detail).field("alias")
}

fn code_taken(by: Taken) -> Problem {
    let (code, detail) = match by {
        Taken::Past(over) => {
            (&codes::LINK_OVER, format!("{}: ask for a short code{}", past(over), or_back(over)))
        }
        Taken::Another | Taken::OtherTerms => {
            let detail = "a link to this address has this code, with other terms (validUntil, maxVisits): ask for those, \
                          or for a short code";
            (&codes::CODE_TAKEN, detail.to_owned())
        }
    };
    Problem::new(code, detail).field("code")
}

fn no_code_is_free() -> Problem {
    Problem::new(&codes::CODE_TAKEN, "every short code that this link may have is given: ask for an alias")
}

fn past(over: Over) -> String {
    let end = match over {
        Over::Exhausted => "had all its visits",
        Over::Expired => "is past its time",
        Over::Deleted | Over::Unknown => "was deleted",
    };
    format!("this is the code of a link to the same address, which {end}")
}

/// What else helps than another code.
fn or_back(over: Over) -> &'static str {
    if over == Over::Deleted { ", or send the terms that it had, which brings it back" } else { "" }
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
