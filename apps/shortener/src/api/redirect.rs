//! Following a link: a redirect to exactly the address that was given, and one visit more.
//!
//! The answer waits until the visit is durable, and for nothing else: counting comes after. A visit to a limited link
//! is a command, which the link decides; any other is a record that is published. HEAD answers alike and counts nothing.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use headwater::PublishError;
use headwater::command::Origin;
use headwater::prelude::*;
use headwater_http::args::PathArgs;
use headwater_http::headers::ReceiptHeader;
use headwater_http::problem::Problem;
use headwater_http::refusals::{of_publish, of_send};
use headwater_http::traceparent::TraceParent;

use super::codes;
use super::lookup::committed;
use super::problems::{of_over, takes_commands, unknown};
use crate::domain::{Address, Code, LinkCommand, LinkRejection, Over, Referrer, Visit};
use crate::instance::Instance;
use crate::metric_names::REDIRECTS;

/// How often a visit is published, and how long each time is waited for the log.
const ATTEMPTS: usize = 3;
const ATTEMPT: Duration = Duration::from_secs(2);
const FOLLOW_AGAIN: &str = "whether the visit was counted is not known: follow the link again";

pub(super) async fn follow(
    State(instance): State<Instance>,
    method: Method,
    PathArgs(code): PathArgs<String>,
    trace: TraceParent,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let counts = method != Method::HEAD;
    let visit = counts.then(|| visit_of(&headers));
    let answer = redirect(&instance, &code, visit, trace).await;
    if counts {
        metrics::counter!(REDIRECTS.name, "outcome" => outcome(answer.as_ref().err())).increment(1);
    }
    answer
}

fn visit_of(headers: &HeaderMap) -> Visit {
    let referrer = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    Visit { referrer: referrer.map(Referrer::of_header).unwrap_or_default() }
}

fn outcome(problem: Option<&Problem>) -> &'static str {
    let Some(problem) = problem else { return "redirected" };
    match problem.code() {
        code if *code == codes::NO_SUCH_LINK => "unknown",
        code if *code == codes::LINK_EXPIRED => "expired",
        code if *code == codes::LINK_EXHAUSTED => "exhausted",
        code if *code == codes::LINK_DELETED => "deleted",
        _ => "failed",
    }
}

async fn redirect(
    instance: &Instance,
    code: &str,
    visit: Option<Visit>,
    trace: TraceParent,
) -> Result<Response, Problem> {
    let code = Code::of_path(code).ok_or_else(|| of_over(Over::Unknown))?;
    let (behind, link) = committed(instance, &code).await?;
    if let Some(over) = link.over(instance.clock.now()) {
        return Err(of_over(over));
    }
    let terms = link.terms.expect("a link that leads somewhere has terms");
    let to = location(&terms.url);
    match visit {
        None => Ok((behind, to).into_response()),
        Some(visit) if terms.max_visits.is_some() => {
            let receipt = spend(instance, &code, visit, trace).await?;
            Ok((behind, ReceiptHeader(receipt), to).into_response())
        }
        Some(visit) => {
            let receipt = record(instance, &code, &visit).await?;
            Ok((behind, ReceiptHeader(receipt), to).into_response())
        }
    }
}

/// Records a visit; again under its id while nobody knows whether it was written, which counts once.
async fn record(instance: &Instance, code: &Code, visit: &Visit) -> Result<Receipt, Problem> {
    let at = instance.clock.now();
    let publish = || instance.running.publish(&instance.visits, code, visit).at(at).within(ATTEMPT);
    let mut published = publish().await;
    for _ in 1..ATTEMPTS {
        let Err(PublishError::Unknown { id, .. }) = published else { break };
        published = publish().id(id).await;
    }
    published.map_err(of_publish)
}

/// Spends one of a limited link's visits.
async fn spend(
    instance: &Instance,
    code: &Code,
    visit: Visit,
    trace: TraceParent,
) -> Result<Receipt, Problem> {
    takes_commands(instance)?;
    let origin = Origin { traceparent: Some(trace.to_string()), ..Origin::default() };
    let sent = instance.running.send(&instance.links, code, LinkCommand::Visit(visit)).origin(origin);
    match sent.await.map_err(of_send)? {
        Accepted(receipt) => Ok(receipt),
        Rejected(LinkRejection::Over(over)) => Err(of_over(over)),
        Rejected(_) => Err(of_over(Over::Unknown)),
        Unknown(command) => Err(unknown(&command, FOLLOW_AGAIN)),
    }
}

/// The address byte for byte, for this visit alone.
fn location(url: &Address) -> (StatusCode, [(HeaderName, HeaderValue); 2]) {
    let location =
        HeaderValue::from_bytes(url.as_str().as_bytes()).expect("an address has no control characters");
    (
        StatusCode::FOUND,
        [(header::LOCATION, location), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
    )
}
