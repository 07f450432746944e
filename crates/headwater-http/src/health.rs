//! Alive or ready, with reasons.
//!
//! `/livez` fails when the process should be replaced (a shard that stopped for good); `/readyz` fails while it
//! should get no traffic (still catching up, a full disk). What is only to be known beside that is a note. All checks
//! run when asked, so they have to be quick: read what something else has measured.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;
type Named = (Cow<'static, str>, Check);

/// The checks of a process.
///
/// ```
/// use headwater_http::health::Health;
///
/// let health = Health::new()
///     .alive("shards", || Ok(()))
///     .ready("items", || Err("1,200 records behind".to_owned()));
/// let router: axum::Router = health.routes();
/// ```
#[derive(Default)]
pub struct Health {
    alive: Vec<Named>,
    ready: Vec<Named>,
    notes: Vec<Named>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |checks: &[Named]| checks.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("Health")
            .field("alive", &names(&self.alive))
            .field("ready", &names(&self.ready))
            .field("notes", &names(&self.notes))
            .finish()
    }
}

impl Health {
    /// A process without checks: alive and ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that decides whether the process is alive, with the reason why it is not.
    #[must_use]
    pub fn alive(
        mut self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.alive.push((name.into(), Box::new(check)));
        self
    }

    /// Adds a check that decides whether the process is ready, with the reason why it is not.
    #[must_use]
    pub fn ready(
        mut self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.ready.push((name.into(), Box::new(check)));
        self
    }

    /// Adds what `/readyz` tells without being decided by it.
    #[must_use]
    pub fn note(
        mut self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.notes.push((name.into(), Box::new(check)));
        self
    }

    /// Adds all checks and notes of a part of the process, each named `part/check`: it is as well as all its parts are.
    ///
    /// ```
    /// use headwater_http::health::Health;
    ///
    /// let orders = Health::new().ready("log", || Ok(()));
    /// let whole = Health::new().part("ordering", orders); // tells of "ordering/log"
    /// ```
    #[must_use]
    pub fn part(mut self, part: &str, health: Self) -> Self {
        let of_part = |(name, check): Named| (Cow::Owned(format!("{part}/{name}")), check);
        self.alive.extend(health.alive.into_iter().map(of_part));
        self.ready.extend(health.ready.into_iter().map(of_part));
        self.notes.extend(health.notes.into_iter().map(of_part));
        self
    }

    /// The routes `/livez` and `/readyz`; whoever is not alive is not ready either.
    pub fn routes<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let live = Arc::new(self);
        let ready = Arc::clone(&live);
        Router::new().route("/livez", get(move || async move { answer("alive", &live.alive, &[]) })).route(
            "/readyz",
            get(move || async move { answer("ready", ready.alive.iter().chain(&ready.ready), &ready.notes) }),
        )
    }
}

/// One check's result.
#[derive(Debug, Serialize)]
struct Report<'a> {
    name: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    status: String,
    checks: Vec<Report<'a>>,
}

fn answer<'a>(word: &str, checks: impl IntoIterator<Item = &'a Named>, notes: &'a [Named]) -> Response {
    let told = |(name, check): &'a Named| report(name, check);
    let mut checks: Vec<Report<'a>> = checks.into_iter().map(told).collect();
    let ok = checks.iter().all(|check| check.ok);
    checks.extend(notes.iter().map(told));
    let (code, status) = match ok {
        true => (StatusCode::OK, word.to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("not {word}")),
    };
    (code, [(header::CACHE_CONTROL, "no-store")], Json(Answer { status, checks })).into_response()
}

fn report<'a>(name: &'a str, check: &Check) -> Report<'a> {
    let result =
        catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Err("the check panicked".to_owned()));
    let reason = result.err();
    Report { name, ok: reason.is_none(), reason }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde_json::{Value, json};
    use tower_service::Service;

    use super::*;

    async fn ask(health: Health, path: &str) -> (u16, Value) {
        let request = Request::get(path).body(Body::empty()).expect("a valid path");
        let response = health.routes::<()>().call(request).await.expect("a router never fails");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 16).await.expect("the body is whole");
        (status, serde_json::from_slice(&body).expect("the body is JSON"))
    }

    fn health() -> Health {
        Health::new().alive("shards", || Ok(())).ready("items", || Err("1200 records behind".to_owned()))
    }

    #[tokio::test]
    async fn a_note_is_told_and_decides_nothing() {
        let health = || Health::new().alive("shards", || Ok(())).note("log", || Err("silent".to_owned()));
        let shards = json!({"name": "shards", "ok": true});
        let log = json!({"name": "log", "ok": false, "reason": "silent"});
        assert_eq!(ask(health(), "/livez").await, (200, json!({"status": "alive", "checks": [shards]})));
        let ready = json!({"status": "ready", "checks": [shards, log]});
        assert_eq!(ask(health(), "/readyz").await, (200, ready));
    }

    #[tokio::test]
    async fn a_process_is_as_well_as_its_parts() {
        let whole =
            || Health::new().part("shop", health()).part("links", Health::new().note("log", || Ok(())));
        let shards = json!({"name": "shop/shards", "ok": true});
        let items = json!({"name": "shop/items", "ok": false, "reason": "1200 records behind"});
        let log = json!({"name": "links/log", "ok": true});
        assert_eq!(ask(whole(), "/livez").await, (200, json!({"status": "alive", "checks": [shards]})));
        let not_ready = json!({"status": "not ready", "checks": [shards, items, log]});
        assert_eq!(ask(whole(), "/readyz").await, (503, not_ready));
    }

    #[tokio::test]
    async fn alive_is_told_from_ready() {
        let shards = json!({"name": "shards", "ok": true});
        let items = json!({"name": "items", "ok": false, "reason": "1200 records behind"});
        assert_eq!(ask(health(), "/livez").await, (200, json!({"status": "alive", "checks": [shards]})));
        let not_ready = json!({"status": "not ready", "checks": [shards, items]});
        assert_eq!(ask(health(), "/readyz").await, (503, not_ready));
    }

    #[tokio::test]
    async fn the_dead_are_not_ready() {
        let dead = || Health::new().alive("shards", || Err("shard 3 stopped".to_owned()));
        for path in ["/livez", "/readyz"] {
            assert_eq!(ask(dead(), path).await.0, 503);
        }
    }

    #[tokio::test]
    async fn a_check_that_panics_fails() {
        let (status, body) = ask(Health::new().ready("broken", || panic!("on purpose")), "/readyz").await;
        assert_eq!((status, &body["checks"][0]["reason"]), (503, &json!("the check panicked")));
    }
}
