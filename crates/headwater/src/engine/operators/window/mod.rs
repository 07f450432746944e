//! Windows: the values of a key aggregated by when they happened.
//!
//! - `windowed`: a key within a window;
//! - `stream_time`: how far the events have come, which decides what is late and what is closed;
//! - `due`: what is to be done once the events have come so far;
//! - `rows`: an operator's rows, those that follow it, and when a window closes and expires;
//! - `time`: tumbling and hopping windows; `sliding`; `session`;
//! - `keep`: windows that another topology has made.
//!
//! Nothing here asks a clock. All that decides is kept in the operator's store, so that a restart changes nothing.

mod due;
mod keep;
mod rows;
mod session;
mod sliding;
mod stream_time;
mod time;
mod windowed;

pub(crate) use due::Due;
pub(crate) use keep::KeepWindows;
pub(crate) use rows::{WindowRows, WindowRules, WindowTables};
pub(crate) use session::{Merge, SessionAggregate};
pub(crate) use sliding::SlidingAggregate;
pub(crate) use stream_time::StreamTime;
pub(crate) use time::{Frames, TimeAggregate};
pub use windowed::Windowed;
