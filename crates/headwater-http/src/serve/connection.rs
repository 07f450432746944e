//! One connection's progress, and the rule for when it has been given long enough.
//!
//! Only the connection's own task moves its phase. The server's sweep reads it, and leaves a verdict that the
//! task carries out, so no request arms a timer. Times are milliseconds on the server's coarse clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::Context;

use futures_util::task::AtomicWaker;

use super::limits::Limits;

/// Milliseconds since the server started, never zero.
pub(crate) type Millis = u64;

/// The coarse clock: moved by the sweep, read by everybody.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1)))
    }

    pub(crate) fn set(&self, now: Millis) {
        self.0.store(now.max(1), Relaxed);
    }

    pub(crate) fn now(&self) -> Millis {
        self.0.load(Relaxed)
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Open, without a byte of the next request.
    Idle,
    /// Some of a request's head has arrived.
    Head,
    /// A request is being answered; ends with the last byte handed to the connection.
    Busy,
    /// Closing, while what the client still sends is read and dropped.
    Lingering,
}

/// Why a connection is to be closed by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A newer connection needs its place.
    Evicted = 1,
    /// No request for too long.
    Unused = 2,
    /// The head took too long.
    SlowHead = 3,
    /// The client does not read its answer.
    StalledWrite = 4,
    /// It lingered long enough.
    Lingered = 5,
    /// The server stops and waits no longer.
    Aborted = 6,
}

impl Verdict {
    fn from_code(code: u8) -> Option<Self> {
        use Verdict::*;
        [Evicted, Unused, SlowHead, StalledWrite, Lingered, Aborted].into_iter().find(|v| *v as u8 == code)
    }

    /// The verdict's label in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Unused => "unused",
            Self::SlowHead => "slow-head",
            Self::StalledWrite => "stalled-write",
            Self::Lingered => "lingered",
            Self::Aborted => "aborted",
        }
    }
}

/// A reading of a connection's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    pub(crate) since: Millis,
    /// Since when a write makes no progress.
    pub(crate) blocked_since: Option<Millis>,
}

impl Progress {
    /// The verdict on a connection at a time, if it has had long enough.
    pub(crate) fn verdict(&self, now: Millis, limits: &Limits) -> Option<Verdict> {
        let longer_than = |since: Millis, limit: std::time::Duration| {
            u128::from(now.saturating_sub(since)) > limit.as_millis()
        };
        if self.blocked_since.is_some_and(|since| longer_than(since, limits.stalled_write_timeout)) {
            return Some(Verdict::StalledWrite);
        }
        let (limit, verdict) = match self.phase {
            Phase::Busy => return None,
            Phase::Idle if self.blocked_since.is_some() => return None,
            Phase::Idle => (limits.keep_alive_timeout, Verdict::Unused),
            Phase::Head => (limits.head_timeout, Verdict::SlowHead),
            Phase::Lingering => (LINGER_TIMEOUT, Verdict::Lingered),
        };
        longer_than(self.since, limit).then_some(verdict)
    }

    /// Whether a newer connection may take this one's place.
    pub(crate) fn may_give_way(&self) -> bool {
        self.phase != Phase::Busy && self.blocked_since.is_none()
    }
}

/// How long a closing connection is read from, so that the client sees its answer and not a reset.
const LINGER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);

/// One open connection, shared between its task, its wrappers and the sweep.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Phase in the two low bits, the time it began above.
    phase_since: AtomicU64,
    /// When the present write stopped making progress; zero while it makes some.
    blocked_since: AtomicU64,
    verdict: AtomicU8,
    /// A request's body, or a refused head, has not been read to its end.
    unread: AtomicBool,
    task: AtomicWaker,
    clock: Arc<Clock>,
}

impl Connection {
    pub(crate) fn new(clock: Arc<Clock>) -> Arc<Self> {
        let connection = Self {
            phase_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            verdict: AtomicU8::new(0),
            unread: AtomicBool::new(false),
            task: AtomicWaker::new(),
            clock,
        };
        connection.enter(Phase::Idle);
        Arc::new(connection)
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase_since.store(self.clock.now() << 2 | phase as u64, Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        let packed = self.phase_since.load(Relaxed);
        let phase = [Phase::Idle, Phase::Head, Phase::Busy, Phase::Lingering][(packed & 3) as usize];
        let blocked = self.blocked_since.load(Relaxed);
        Progress { phase, since: packed >> 2, blocked_since: (blocked > 0).then_some(blocked) }
    }

    /// Notes that bytes arrived: the first ones after idling begin a head.
    pub(crate) fn bytes_arrived(&self) {
        if self.progress().phase == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// Begins a request, which lasts until the guard is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> Busy {
        self.enter(Phase::Busy);
        self.unread.store(false, Relaxed);
        Busy(Arc::clone(self))
    }

    /// Notes whether the last write made progress.
    pub(crate) fn write_progressed(&self, progressed: bool) {
        let blocked = self.blocked_since.load(Relaxed);
        if progressed && blocked > 0 {
            self.blocked_since.store(0, Relaxed);
        } else if !progressed && blocked == 0 {
            self.blocked_since.store(self.clock.now(), Relaxed);
        }
    }

    pub(crate) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Leaves a verdict and wakes the task to carry it out.
    pub(crate) fn sentence(&self, verdict: Verdict) {
        self.verdict.store(verdict as u8, Relaxed);
        self.task.wake();
    }

    /// Whether a verdict waits to be carried out.
    pub(crate) fn is_sentenced(&self) -> bool {
        self.verdict.load(Relaxed) != 0
    }

    /// Wakes the task, for instance to notice that the server stops.
    pub(crate) fn wake(&self) {
        self.task.wake();
    }

    /// The verdict to carry out, if it still holds now that the task itself looks.
    pub(crate) fn poll_verdict(&self, cx: &Context<'_>) -> Option<Verdict> {
        self.task.register(cx.waker());
        let verdict = Verdict::from_code(self.verdict.load(Relaxed))?;
        let phase = self.progress().phase;
        let holds = match verdict {
            Verdict::Evicted | Verdict::Unused => phase != Phase::Busy,
            Verdict::SlowHead => phase == Phase::Head,
            Verdict::Lingered => phase == Phase::Lingering,
            Verdict::StalledWrite | Verdict::Aborted => true,
        };
        if !holds {
            self.verdict.store(0, Relaxed);
        }
        holds.then_some(verdict)
    }
}

/// A request in flight on a connection; dropped when its answer has been handed over.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> Limits {
        Limits {
            head_timeout: Duration::from_millis(100),
            keep_alive_timeout: Duration::from_millis(1_000),
            stalled_write_timeout: Duration::from_millis(500),
            ..Limits::default()
        }
    }

    #[test]
    fn each_phase_has_its_deadline() {
        use Phase::*;
        let cases = [
            (Idle, None, 1_000, None),
            (Idle, None, 1_001, Some(Verdict::Unused)),
            (Idle, Some(900), 1_001, None),
            (Head, None, 100, None),
            (Head, None, 101, Some(Verdict::SlowHead)),
            (Busy, None, 1_000_000, None),
            (Busy, Some(10), 510, None),
            (Busy, Some(10), 511, Some(Verdict::StalledWrite)),
            (Idle, Some(10), 511, Some(Verdict::StalledWrite)),
            (Lingering, None, 2_001, Some(Verdict::Lingered)),
        ];
        for (phase, blocked_since, now, verdict) in cases {
            let progress = Progress { phase, since: 0, blocked_since };
            assert_eq!(progress.verdict(now, &limits()), verdict, "{phase:?} {blocked_since:?} at {now}");
        }
    }

    #[test]
    fn a_request_makes_busy_until_its_answer_is_handed_over() {
        let clock = Clock::new();
        let connection = Connection::new(Arc::clone(&clock));
        clock.set(7);
        connection.bytes_arrived();
        assert_eq!(connection.progress(), Progress { phase: Phase::Head, since: 7, blocked_since: None });
        clock.set(8);
        connection.bytes_arrived();
        assert_eq!(connection.progress().since, 7, "later bytes of a head do not extend it");
        let busy = connection.begin_request();
        assert!(!connection.progress().may_give_way());
        drop(busy);
        assert!(connection.progress().may_give_way());
    }

    #[test]
    fn a_verdict_that_no_longer_holds_is_dropped() {
        let connection = Connection::new(Clock::new());
        let cx = Context::from_waker(std::task::Waker::noop());
        connection.sentence(Verdict::Evicted);
        let busy = connection.begin_request();
        assert_eq!(connection.poll_verdict(&cx), None);
        drop(busy);
        assert_eq!(connection.poll_verdict(&cx), None, "it was withdrawn");
        connection.sentence(Verdict::Evicted);
        assert_eq!(connection.poll_verdict(&cx), Some(Verdict::Evicted));
    }

    #[test]
    fn a_write_is_blocked_from_its_first_failure_to_its_next_success() {
        let clock = Clock::new();
        let connection = Connection::new(Arc::clone(&clock));
        for (now, progressed, expected) in [(5, false, Some(5)), (9, false, Some(5)), (10, true, None)] {
            clock.set(now);
            connection.write_progressed(progressed);
            assert_eq!(connection.progress().blocked_since, expected);
        }
    }
}
