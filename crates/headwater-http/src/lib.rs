//! placeholder
pub mod codes;
pub mod metric_names;
pub mod problem;
mod route_metrics;
pub mod serve;
pub mod traceparent;
