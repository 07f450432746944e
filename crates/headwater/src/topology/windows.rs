//! What windows there are, as users declare them.

use std::time::Duration;

use headwater_core::key::Key;

use super::grouped::Grouped;
use super::node::Node;
use super::stream::Stream;
use super::windowed::{SessionGroup, Shape, WindowedGroup};
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
        let shape = format!("tumbling windows of {:?}", self.size);
        let stream = lengths.divided("tumbling", grouped, grace_ms, shape);
        WindowedGroup::new(stream, Shape::Aligned(frames), grace_ms)
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
        let shape = format!("hopping windows of {:?} every {:?}", self.size, self.advance);
        let stream = lengths.divided("hopping", grouped, grace_ms, shape);
        WindowedGroup::new(stream, Shape::Aligned(frames), grace_ms)
    }
}

/// Windows that hold what lies within a difference of each other: one for every distinct set of such values.
///
/// Each value ends a window of that length, and begins one after itself where another value lies in it. Both ends are part
/// of a window.
///
/// ```
/// use headwater::{Sliding, minutes, seconds};
///
/// let bursts = Sliding::of(minutes(1)).grace(seconds(30));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "windows divide a stream when they are given to `window`"]
pub struct Sliding {
    difference: Duration,
    grace: Duration,
}

impl Sliding {
    /// Windows of values that lie at most so far apart; zero holds those of one moment together.
    pub const fn of(difference: Duration) -> Self {
        Self { difference, grace: Duration::ZERO }
    }

    /// Takes values in for so long after a window's end, as [`Tumbling::grace`].
    pub const fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

impl sealed::Sealed for Sliding {}

impl Windows for Sliding {
    type Of<K: Key, V: Send + Sync + 'static> = WindowedGroup<K, V>;

    fn divide<K: Key, V: Send + Sync + 'static>(self, grouped: &Grouped<K, V>) -> WindowedGroup<K, V> {
        let mut lengths = Lengths::default();
        let difference_ms = lengths.any("sliding windows", "difference", self.difference);
        // The end is part of the window: it closes a millisecond later.
        let closes_ms = lengths.any("sliding windows", "grace", self.grace).saturating_add(1);
        let shape = format!("sliding windows of {:?}", self.difference);
        let stream = lengths.divided("sliding", grouped, closes_ms, shape);
        WindowedGroup::new(stream, Shape::Sliding { difference_ms }, closes_ms)
    }
}

/// Windows that last as long as values follow each other within a gap.
///
/// A value that comes late may bring two sessions together. Both ends are part of a session.
///
/// ```
/// use headwater::{Session, minutes};
///
/// let visits = Session::gap(minutes(30)).grace(minutes(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "windows divide a stream when they are given to `window`"]
pub struct Session {
    gap: Duration,
    grace: Duration,
}

impl Session {
    /// Sessions that end where no value follows for longer than this.
    pub const fn gap(gap: Duration) -> Self {
        Self { gap, grace: Duration::ZERO }
    }

    /// Takes values in for so long after a session's end and the gap, as [`Tumbling::grace`].
    pub const fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

impl sealed::Sealed for Session {}

impl Windows for Session {
    type Of<K: Key, V: Send + Sync + 'static> = SessionGroup<K, V>;

    fn divide<K: Key, V: Send + Sync + 'static>(self, grouped: &Grouped<K, V>) -> SessionGroup<K, V> {
        let mut lengths = Lengths::default();
        let gap_ms = lengths.positive("sessions", "gap", self.gap);
        let grace_ms = lengths.any("sessions", "grace", self.grace);
        // As Kafka's KStreamSessionWindowAggregate: open for as long as a value may still prolong it.
        let closes_ms = grace_ms.saturating_add(gap_ms).saturating_add(1);
        let shape = format!("sessions with gaps of {:?}", self.gap);
        let stream = lengths.divided("sessions", grouped, closes_ms, shape);
        SessionGroup::new(stream, gap_ms, closes_ms)
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

    pub(super) fn mistake(&mut self, mistake: String) {
        self.mistakes.push(mistake);
    }

    pub(super) fn into_mistakes(self) -> Vec<String> {
        self.mistakes
    }

    /// The stream, with a node of the windows that tells the mistakes.
    pub(super) fn divided<K, V>(
        self,
        label: &'static str,
        grouped: &Grouped<K, V>,
        closes_ms: i64,
        shape: String,
    ) -> Stream<K, V> {
        let Stream { node, route, attach, .. } = grouped.stream.clone();
        Stream::of_parts(Node::windows(label, node, closes_ms, shape, self.mistakes), route, attach)
    }
}
