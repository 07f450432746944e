//! Whether the cluster is known to be away: the rules of a circuit breaker, which is handed what was heard, and the time.
//!
//! A call that fails, or waits for long, is a *doubt*: one partition may have no leader, one broker may be slow, and that
//! is nobody else's concern. A doubt has all brokers asked, and any answer of any of them ends it. Where none has answered
//! for [`GRACE`], in more than one round, the circuit is *open*. Brokers are asked on and on, and the first answer closes
//! it: so no write has to be risked to find out that the cluster is back.

use std::time::Duration;

use tokio::time::Instant;

/// How long no broker has answered when the cluster is taken to be away. Shorter outages are waited for.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// How many rounds of questions have had no answer by then: one alone may say more about this process, which was held.
const ROUNDS_MIN: u32 = 2;
/// Before brokers that have not answered are asked again.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);
/// How long an answer is good for: doubts that come so soon after it ask nobody.
const FRESH: Duration = Duration::from_secs(1);

/// The state of the breaker.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    /// When a broker last answered what was asked for a doubt's sake.
    answered: Option<Instant>,
    /// What no broker has answered yet.
    doubt: Option<Doubt>,
    /// Whether brokers are being asked.
    is_asking: bool,
}

#[derive(Debug)]
struct Doubt {
    since: Instant,
    rounds: u32,
    is_open: bool,
}

/// What whoever asked does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask again after a pause.
    Ask,
    /// The same; the circuit has just opened.
    AskOpened,
    /// Nobody doubts any more.
    Rest,
}

impl Circuit {
    /// A call failed, or waits for long; answers whether somebody has to begin asking.
    pub(crate) fn doubt(&mut self, now: Instant) -> bool {
        let is_fresh = self.answered.is_some_and(|answered| now - answered < FRESH);
        if self.doubt.is_none() && !is_fresh {
            self.doubt = Some(Doubt { since: now, rounds: 0, is_open: false });
        }
        self.doubt.is_some() && !std::mem::replace(&mut self.is_asking, true)
    }

    /// A broker has answered, whoever asked it; answers for how long none had, if the circuit was open.
    pub(crate) fn heard(&mut self, now: Instant) -> Option<Duration> {
        self.answered = Some(now);
        self.doubt.take().filter(|doubt| doubt.is_open).map(|doubt| now - doubt.since)
    }

    /// A round of questions is over, answered or not.
    pub(crate) fn asked(&mut self, now: Instant) -> Next {
        let Some(doubt) = &mut self.doubt else {
            self.is_asking = false;
            return Next::Rest;
        };
        doubt.rounds += 1;
        let is_lost = now - doubt.since >= GRACE && doubt.rounds >= ROUNDS_MIN;
        if is_lost && !std::mem::replace(&mut doubt.is_open, true) { Next::AskOpened } else { Next::Ask }
    }

    /// For how long no broker has answered, if the circuit is open.
    pub(crate) fn open_for(&self, now: Instant) -> Option<Duration> {
        self.doubt.as_ref().filter(|doubt| doubt.is_open).map(|doubt| now - doubt.since)
    }
}

#[cfg(test)]
#[path = "circuit_tests.rs"]
mod tests;
