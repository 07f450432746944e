//! A URL shortener: links that are made once and never overwritten, and visits counted to the last one.
//!
//! - [`domain`]: what a link is, which addresses it may lead to, and when a visit is refused; pure;
//! - [`topology`]: the app: one aggregate, the stream of visits, and the views that count them;
//! - [`instance`]: the app as this process runs it;
//! - [`api`]: HTTP, and the page.

pub mod api;
pub mod domain;
pub mod instance;
pub mod metric_names;
pub mod topology;
