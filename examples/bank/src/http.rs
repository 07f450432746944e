//! HTTP: one command, one query, and what operators look at.

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use headwater::prelude::*;
use headwater::{Description, Parts, StartError};
use headwater_http::args::PathArgs;
use headwater_http::freshness::Freshness;
use headwater_http::headers::{Behind, IdempotencyKey, ReceiptHeader};
use headwater_http::json::JsonBody;
use headwater_http::problem::{self, Problem};
use headwater_http::refusals::{SOON, of_query, of_send};
use headwater_http::{app, codes};
use serde_json::json;

use crate::account::{Account, Bank, Command, Rejection, bank};

/// The app as it runs here, with the handles to ask it.
#[derive(Clone)]
pub(crate) struct Teller {
    /// What runs.
    pub(crate) running: Running,
    accounts: Aggregates<Account>,
    balances: View<String, Account>,
    description: Description,
    parts: Parts,
}

impl Teller {
    /// Starts the parts of the app that this process is to run.
    ///
    /// # Errors
    ///
    /// As [`Headwater::start_parts`].
    pub(crate) async fn start(headwater: &Headwater, parts: Parts) -> Result<Self, StartError> {
        let Bank { app, accounts, balances } = bank();
        let description = app.describe();
        let running = headwater.start_parts(app, parts).await?;
        Ok(Self { running, accounts, balances, description, parts })
    }
}

/// Everything that the bank answers.
pub(crate) fn router(teller: Teller) -> Router {
    Router::new()
        .route("/accounts/{id}", get(show).post(command))
        .with_state(teller.clone())
        .merge(app::health(&teller.running, teller.parts).routes())
        .merge(app::topology(&teller.description))
        .merge(problem::routes(&[]))
}

/// The same `Idempotency-Key` again gives the same answer, and nothing twice.
async fn command(
    State(teller): State<Teller>,
    PathArgs(id): PathArgs<String>,
    key: Option<IdempotencyKey>,
    JsonBody(command): JsonBody<Command>,
) -> Result<impl IntoResponse, Problem> {
    let sent = teller.running.send(&teller.accounts, &id, command);
    let sent = match key {
        Some(key) => {
            let id = CommandId::new(key.as_str());
            sent.command_id(id.expect("a key is short, and has visible characters only"))
        }
        None => sent,
    };
    match sent.await.map_err(of_send)? {
        Accepted(receipt) => {
            let version = json!({"version": receipt.version});
            Ok((ReceiptHeader(receipt), Json(version)))
        }
        Rejected(Rejection::Short(pence)) => Err(rejected(format!("the account lacks {pence} pence"))),
        Rejected(Rejection::Full) => Err(rejected("the account cannot hold so much".to_owned())),
        Unknown(id) => {
            let detail =
                format!("send it again under the Idempotency-Key {id}: it takes effect at most once");
            Err(Problem::new(&codes::OUTCOME_UNKNOWN, detail).retry_after(SOON))
        }
    }
}

fn rejected(why: String) -> Problem {
    Problem::new(&codes::REJECTED, why)
}

/// An answer includes the receipt in `Headwater-After`, or says in two seconds that it does not yet.
async fn show(
    State(teller): State<Teller>,
    PathArgs(id): PathArgs<String>,
    freshness: Freshness,
) -> Result<impl IntoResponse, Problem> {
    let view = teller.running.view(&teller.balances).map_err(of_query)?;
    let answer = freshness.bounded(freshness.of(view).get(&id)).await?;
    let behind = Behind::from(&answer);
    Ok((behind, Json(answer.value.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use headwater::config::{Config, LogChoice};
    use tower_service::Service;

    use super::*;

    /// Asks the router itself, without a socket: the status, the receipt and the body of its answer.
    async fn ask(router: &mut Router, request: Request<String>) -> (u16, Option<String>, String) {
        let answer = router.call(request.map(Body::from)).await.expect("a router never fails");
        let (head, body) = answer.into_parts();
        let receipt =
            head.headers.get("headwater-receipt").map(|receipt| receipt.to_str().unwrap().to_owned());
        let body = to_bytes(body, 1 << 16).await.expect("a whole body");
        (head.status.as_u16(), receipt, String::from_utf8(body.to_vec()).expect("text"))
    }

    fn post(command: &str) -> Request<String> {
        let request = Request::post("/accounts/alice").header("content-type", "application/json");
        request
            .header("idempotency-key", format!("test {command}").replace(' ', "-"))
            .body(command.to_owned())
            .unwrap()
    }

    #[tokio::test]
    async fn a_query_that_is_given_a_receipt_includes_the_command() {
        let config = Config { log: LogChoice::Memory, ..Config::default() };
        let headwater = Headwater::open(&config).await.expect("a log in memory");
        let mut router = router(Teller::start(&headwater, Parts::ALL).await.expect("it starts"));
        let deposit = r#"{"deposit":500}"#;
        let (status, receipt, version) = ask(&mut router, post(deposit)).await;
        assert_eq!((status, version.as_str()), (200, r#"{"version":1}"#));
        assert_eq!(ask(&mut router, post(deposit)).await, (200, receipt.clone(), version), "once");
        let (status, _, problem) = ask(&mut router, post(r#"{"withdraw":700}"#)).await;
        assert!(status == 422 && problem.contains("the account lacks 200 pence"), "{status} {problem}");
        let get = Request::get("/accounts/alice").header("headwater-after", receipt.expect("a receipt"));
        let (status, _, account) = ask(&mut router, get.body(String::new()).unwrap()).await;
        assert_eq!((status, account.as_str()), (200, r#"{"balance":500}"#));
    }
}
