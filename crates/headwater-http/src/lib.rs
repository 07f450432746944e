//! placeholder
pub mod args;
pub mod assets;
pub mod codes;
pub mod exact_number;
pub mod headers;
pub mod health;
pub mod json;
pub mod logs;
pub mod metric_names;
pub mod metrics;
mod misfit;
pub mod problem;
mod route_metrics;
pub mod serve;
pub mod signals;
pub mod sse;
pub mod traceparent;
