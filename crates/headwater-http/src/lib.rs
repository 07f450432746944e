//! HTTP for Headwater services: a server that no client can hold up, and what every service of commands and views
//! needs around its handlers.
//!
//! Handlers are plain [axum] handlers. This crate gives them:
//!
//! - [`serve`]: the server itself, with bounds on sizes, times and connections, and a stop in bounded time;
//! - [`problem`] and [`codes`]: one form for every error, with stable codes;
//! - [`json`], [`args`] and [`exact_number`]: strict reading of bodies and parameters, numbers kept exactly;
//! - [`accept`]: which representation a client prefers;
//! - [`headers`], [`freshness`], [`position`] and [`traceparent`]: idempotency keys, receipts, waits, positions and traces;
//! - [`refusals`]: what `headwater` refuses, as problems;
//! - [`sse`]: live changes as server-sent events;
//! - [`openapi`]: routes that describe themselves;
//! - [`health`], [`app`], [`metrics`] and [`logs`]: what an operator looks at;
//! - [`peers`]: how the instances of an app reach each other;
//! - [`assets`]: pages embedded in the binary;
//! - [`program`] and [`signals`]: the frame of a program, and when to stop.
//!
//! Nothing here knows what an aggregate or a view is: commands and queries stay in `headwater`.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use headwater_http::serve::{Limits, Server};
//! use headwater_http::signals::shutdown_signal;
//!
//! # async fn run() -> std::io::Result<()> {
//! let router = Router::new().route("/", get(|| async { "hello" }));
//! let server = Server::bind(([127, 0, 0, 1], 8080).into(), Limits::default()).await?;
//! let signal = shutdown_signal()?;
//! server.serve(router, async { drop(signal.await) }).await;
//! # Ok(())
//! # }
//! ```

pub mod accept;
pub mod app;
pub mod args;
pub mod assets;
pub mod codes;
pub mod exact_number;
pub mod freshness;
pub mod headers;
pub mod health;
pub mod json;
pub mod logs;
pub mod metric_names;
pub mod metrics;
mod misfit;
mod objects;
pub mod openapi;
pub mod peers;
pub mod position;
pub mod problem;
pub mod program;
pub mod refusals;
mod route_metrics;
pub mod serve;
pub mod signals;
pub mod sse;
pub mod traceparent;
mod words;

/// Compiles and runs the program of the page about testing an app.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/testing.md")]
struct Testing;
