//! What windows there are, as users declare them.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::key::Key;

use super::grouped::Grouped;
use super::node::Node;
use super::windowed::WindowedGroup;
use crate::engine::operators::window::Frames;

/// So many seconds.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// So many minutes.
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count.saturating_mul(60))
}

/// So many hours.
pub const fn hours(count: u64) -> Duration {
    minutes(count.saturating_mul(60))
}

/// So many days of 24 hours.
pub const fn days(count: u64) -> Duration {
    hours(count.saturating_mul(24))
}

/// Windows that [`Grouped::window`] divides a stream into.
///
/// Sealed: the kinds of windows are those of this crate.
pub trait Windows: sealed::Sealed {
    /// A stream divided into them.
    type Of<K: Key, V: Send + Sync + 'static>;

    #[doc(hidden)]
    fn divide<K: Key, V: Send + Sync + 'static>(self, grouped: &Grouped<K, V>) -> Self::Of<K, V>;
}

pub(super) mod sealed {
    pub trait Sealed {}
}

/// Windows that follow one another without a gap: each time lies in one of them.
///
/// They are aligned to the epoch: windows of a day are days in UTC. A window includes its start and not its end.
///
/// ```
/// use headwater::{Tumbling, hours};
///
/// let daily = Tumbling::days(1).grace(hours(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "windows divide a stream when they are given to `window`"]
pub struct Tumbling {
    size: Duration,
    grace: Duration,
}

impl Tumbling {
    /// Windows of this size.
    pub const fn of(size: Duration) -> Self {
        Self { size, grace: Duration::ZERO }
    }

    /// Windows of so many days, in UTC.
    pub const fn days(count: u64) -> Self {
        Self::of(days(count))
    }

    /// Windows of so many hours.
    pub const fn hours(count: u64) -> Self {
        Self::of(hours(count))
    }

    /// Windows of so many minutes.
    pub const fn minutes(count: u64) -> Self {
        Self::of(minutes(count))
    }

    /// Windows of so many seconds.
    pub const fn seconds(count: u64) -> Self {
        Self::of(seconds(count))
    }

    /// Takes values in for so long after a window's end; none unless set.
    ///
    /// Time is that of the events: a window is open until an event of any key is later than its end and the grace.
    /// What comes later still is dropped, and counted under the store's name.
    pub const fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

impl sealed::Sealed for Tumbling {}

impl Windows for Tumbling {
    type Of<K: Key, V: Send + Sync + 'static> = WindowedGroup<K, V>;

    fn divide<K: Key, V: Send + Sync + 'static>(self, grouped: &Grouped<K, V>) -> WindowedGroup<K, V> {
        let mut lengths = Lengths::default();
        let size_ms = lengths.positive("tumbling windows", "size", self.size);
        let grace_ms = lengths.any("tumbling windows", "grace", self.grace);
        let frames = Frames { size_ms, advance_ms: size_ms };
        WindowedGroup::timed(grouped, "tumbling", frames, grace_ms, lengths)
    }
}

/// Windows of one size that begin at an interval: each time lies in as many of them as overlap.
///
/// They are aligned to the epoch. A window includes its start and not its end.
///
/// ```
/// use headwater::{Hopping, minutes};
///
/// let last_hour = Hopping::of(minutes(60), minutes(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "windows divide a stream when they are given to `window`"]
pub struct Hopping {
    size: Duration,
    advance: Duration,
    grace: Duration,
}

impl Hopping {
    /// Windows of this size, one every `advance`, which is at most the size.
    pub const fn of(size: Duration, advance: Duration) -> Self {
        Self { size, advance, grace: Duration::ZERO }
    }

    /// Takes values in for so long after a window's end, as [`Tumbling::grace`].
    pub const fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

impl sealed::Sealed for Hopping {}

impl Windows for Hopping {
    type Of<K: Key, V: Send + Sync + 'static> = WindowedGroup<K, V>;

    fn divide<K: Key, V: Send + Sync + 'static>(self, grouped: &Grouped<K, V>) -> WindowedGroup<K, V> {
        let mut lengths = Lengths::default();
        let size_ms = lengths.positive("hopping windows", "size", self.size);
        let advance_ms = lengths.positive("hopping windows", "advance", self.advance);
        let grace_ms = lengths.any("hopping windows", "grace", self.grace);
        if advance_ms > size_ms {
            let (size, advance) = (self.size, self.advance);
            lengths.mistake(format!(
                "hopping windows of {size:?} that advance by {advance:?} leave gaps: advance by their size at most"
            ));
        }
        let frames = Frames { size_ms, advance_ms };
        WindowedGroup::timed(grouped, "hopping", frames, grace_ms, lengths)
    }
}

/// Lengths in milliseconds, and what is wrong with those that are none.
#[derive(Default)]
pub(super) struct Lengths {
    mistakes: Vec<String>,
}

impl Lengths {
    /// One that may be zero.
    pub(super) fn any(&mut self, of: &str, what: &str, length: Duration) -> i64 {
        i64::try_from(length.as_millis()).unwrap_or_else(|_| {
            self.mistake(format!("the {what} of {of} is {length:?}: that is longer than time is counted"));
            i64::MAX
        })
    }

    /// One of a millisecond at least.
    pub(super) fn positive(&mut self, of: &str, what: &str, length: Duration) -> i64 {
        let ms = self.any(of, what, length);
        if ms == 0 {
            self.mistake(format!("the {what} of {of} is {length:?}: it must be a millisecond at least"));
        }
        ms.max(1)
    }

    pub(super) fn into_mistakes(self) -> Vec<String> {
        self.mistakes
    }

    pub(super) fn mistake(&mut self, mistake: String) {
        self.mistakes.push(mistake);
    }

    /// The node of the windows, with the mistakes.
    pub(super) fn node(self, label: &'static str, input: &Arc<Node>, closes_ms: i64) -> Arc<Node> {
        Node::windows(label, input.clone(), closes_ms, self.mistakes)
    }
}
