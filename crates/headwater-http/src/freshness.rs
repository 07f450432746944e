//! How fresh an answer has to be, and how long it may wait for that.

use std::time::Duration;

use crate::codes;
use crate::headers::{After, PreferWait};
use crate::problem::Problem;
use crate::serve::Stopping;
use crate::traceparent::TraceParent;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use headwater::ViewQuery;
use headwater::core::key::Key;
use headwater::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::refusals::of_query;

/// How long an answer waits for a receipt unless the request says otherwise.
const WAIT: Duration = Duration::from_secs(2);
/// The longest that it waits, whatever the request says.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What a request asks of the view that answers it: `Headwater-After` and `Prefer: wait=N`, with its trace.
pub struct Freshness {
    after: Option<Receipt>,
    within: Duration,
    stopping: Stopping,
    trace: TraceParent,
}

impl<S: Send + Sync> FromRequestParts<S> for Freshness {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let After(after) = After::from_request_parts(parts, state).await?;
        let Ok(wait) = PreferWait::from_request_parts(parts, state).await;
        let Ok(stopping) = Stopping::from_request_parts(parts, state).await;
        let Ok(trace) = TraceParent::from_request_parts(parts, state).await;
        Ok(Self { after, within: wait.bounded(WAIT, WAIT_MAX), stopping, trace })
    }
}

impl Freshness {
    /// A question that is answered as fresh as asked for.
    pub fn of<K, S>(&self, query: ViewQuery<K, S>) -> ViewQuery<K, S>
    where
        K: Key,
        S: Serialize + DeserializeOwned + Send + 'static,
    {
        let query = query.within(self.within).traced(self.trace.to_string());
        match &self.after {
            Some(receipt) => query.after(receipt),
            None => query,
        }
    }

    /// The answer, unless the server stops first.
    pub async fn bounded<T>(
        &self,
        answer: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, Problem> {
        tokio::select! {
            answer = answer => answer.map_err(of_query),
            () = self.stopping.begun() => Err(Problem::new(&codes::STOPPING, "the server is stopping")),
        }
    }
}
