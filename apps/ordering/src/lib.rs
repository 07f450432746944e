//! Online ordering: a customer orders an item, and sees the ordered items live, grouped by price.
//!
//! - [`domain`]: what an order is, and when it is refused; pure;
//! - [`topology`]: the app, its aggregate and its views;
//! - [`shop`]: the app as this instance runs it;
//! - [`api`]: HTTP, and the page.
//!
//! The command side and the query side share nothing but the topics: an instance runs either, or both.

pub mod api;
pub mod domain;
pub mod shop;
pub mod topology;
