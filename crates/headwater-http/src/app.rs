//! What operators of any app look at: whether its shards run, and what it is made of.

use std::time::Duration;

use axum::http::header;
use axum::routing::get;
use axum::{Json, Router};
use headwater::{Description, Parts, Running};

use crate::health::Health;

/// Alive as long as no shard has stopped for good; ready once every shard runs, on a log without damage.
///
/// Commands need a log that answers; queries alone go on from what is here, and only tell.
pub fn health(running: &Running, parts: Parts) -> Health {
    let [alive, ready, log, answers] = [running.clone(), running.clone(), running.clone(), running.clone()];
    let answers = move || answers.log_silence().map_or(Ok(()), silent);
    let health = Health::new()
        .alive("shards", move || none_of(alive.stopped()))
        .ready("topologies", move || none_of(ready.troubles()))
        .ready("log", move || none_of(log.log_damage()));
    if parts.commands { health.ready("log-answers", answers) } else { health.note("log-answers", answers) }
}

/// `/topology` in words, `/topology.json` for programs, `/topology.svg` as a picture, `/topology.mmd` as a Mermaid chart.
pub fn topology<S: Clone + Send + Sync + 'static>(description: &Description) -> Router<S> {
    let json = description.json();
    let text = |kind: &'static str, text: String| get(async move || ([(header::CONTENT_TYPE, kind)], text));
    Router::new()
        .route("/topology", text("text/plain; charset=utf-8", description.to_string()))
        .route("/topology.json", get(async move || Json(json)))
        .route("/topology.svg", text("image/svg+xml", description.svg()))
        .route("/topology.mmd", text("text/plain; charset=utf-8", description.mermaid()))
}

fn silent(silence: Duration) -> Result<(), String> {
    Err(format!("the log has not answered for {} ms", silence.as_millis()))
}

fn none_of(troubles: Vec<String>) -> Result<(), String> {
    if troubles.is_empty() { Ok(()) } else { Err(troubles.join("\n")) }
}
