//! What a handler is told about the server it runs in.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Shared;

/// Tells a handler that waits, such as a long poll, when the server stops.
///
/// ```
/// use headwater_http::{codes, problem::Problem, serve::Stopping};
///
/// async fn wait(stopping: Stopping) -> Result<(), Problem> {
///     tokio::select! {
///         () = std::future::pending() => Ok(()),
///         () = stopping.begun() => Err(Problem::new(&codes::STOPPING, "the server is stopping")),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Stopping(Option<Arc<Shared>>);

impl Stopping {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(Some(Arc::clone(shared)))
    }

    /// Resolves once the server stops; never where no server of this crate runs the handler.
    pub async fn begun(&self) {
        match &self.0 {
            Some(shared) => shared.stop_begun().await,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stopping").field(&self.0.as_ref().map(|shared| shared.is_stopping())).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for Stopping {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or(Self(None)))
    }
}
