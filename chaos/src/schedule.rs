//! Which faults strike when: decided by a seed before anything runs, and printed, so that a run can be repeated.
//!
//! Every kind of fault strikes at least once. No instance has two faults at once, and what strikes the broker or all
//! instances strikes alone, so that each fault meets a system which the last one has let go of, or nearly.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// How long an instance is held or cut off: longer than a session (6 s) and than a transaction (10 s).
const LONGER_THAN_EVERY_TIMEOUT: Duration = Duration::from_secs(13);
/// Longer than a session, so that the shards move.
const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(9);

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `kill -9`, and a start on the same data soon after.
    Kill,
    /// `kill -9`, and a start on an empty directory.
    KillAndWipe,
    /// `SIGSTOP` for longer than every timeout, then `SIGCONT`.
    Hold,
    /// The same while nothing but direct commands flows.
    HoldUnderDirectCommands,
    /// Its connections to the broker end, and new ones, too.
    Cut,
    /// Its connections to the broker stand still, and never move again.
    Stall,
    /// Every frame between it and the broker takes long.
    Slow,
    /// The answers to its commits are lost.
    LoseCommitAnswers,
    /// All answers to it are lost.
    LoseAllAnswers,
    /// `kill -9` of the broker, and a restart soon after.
    KillBroker,
    /// All instances stop, the groups are deleted with their offsets, and all start again.
    DeleteGroups,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::KillAndWipe,
        Self::Hold,
        Self::HoldUnderDirectCommands,
        Self::Cut,
        Self::Stall,
        Self::Slow,
        Self::LoseCommitAnswers,
        Self::LoseAllAnswers,
        Self::KillBroker,
        Self::DeleteGroups,
    ];

    /// Whether it strikes one instance and leaves the others alone.
    fn is_of_one_instance(self) -> bool {
        !matches!(self, Self::KillBroker | Self::DeleteGroups)
    }

    fn lasts(self, rng: &mut Rng) -> Duration {
        let between = |rng: &mut Rng, ms: std::ops::Range<u64>| Duration::from_millis(rng.u64(ms));
        match self {
            Self::Kill | Self::KillAndWipe => between(rng, 100..4_000),
            Self::Hold | Self::HoldUnderDirectCommands => LONGER_THAN_EVERY_TIMEOUT,
            Self::Cut | Self::Stall => LONGER_THAN_A_SESSION,
            Self::Slow | Self::LoseCommitAnswers | Self::LoseAllAnswers => between(rng, 2_000..6_000),
            Self::KillBroker => between(rng, 100..3_000),
            // As long as it takes.
            Self::DeleteGroups => Duration::ZERO,
        }
    }
}

/// A fault at its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Since the beginning of the run.
    pub at: Duration,
    /// Until it is mended.
    pub lasts: Duration,
    /// What strikes.
    pub kind: Kind,
    /// Which instance; what strikes all or none of them names the first.
    pub instance: usize,
}

impl Fault {
    fn ends(&self) -> Duration {
        self.at + self.lasts
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:7.1} s  {:?}", self.kind)?;
        if self.kind.is_of_one_instance() {
            write!(f, " of instance {}", self.instance)?;
        }
        write!(f, " for {lasts:.1} s")
    }
}

/// The faults of a seed, in the order of their times.
///
/// They go on for `length`, or until every kind has struck if that takes longer.
pub fn schedule(seed: u64, instances: usize, length: Duration) -> Vec<Fault> {
    let mut rng = Rng::with_seed(seed);
    let mut kinds = Kind::ALL.to_vec();
    rng.shuffle(&mut kinds);
    let mut faults: Vec<Fault> = Vec::new();
    let mut at = Duration::from_secs(3);
    while !kinds.is_empty() || at < length {
        let kind = kinds.pop().unwrap_or_else(|| Kind::ALL[rng.usize(..Kind::ALL.len())]);
        at += Duration::from_millis(rng.u64(1_000..4_000));
        let preferred = rng.usize(..instances);
        let instance;
        (at, instance) = earliest(&faults, kind, at, preferred, instances);
        let lasts = kind.lasts(&mut rng);
        faults.push(Fault { at, lasts, kind, instance });
    }
    faults
}

/// The earliest time from `at` on at which this fault meets nothing that it must not meet.
fn earliest(
    faults: &[Fault],
    kind: Kind,
    at: Duration,
    preferred: usize,
    instances: usize,
) -> (Duration, usize) {
    /// What a fault leaves behind settles for so long before the next one in the same place.
    const SETTLES: Duration = Duration::from_secs(2);
    let free_from = |instance: usize| {
        let meets = |fault: &&Fault| {
            !kind.is_of_one_instance() || !fault.kind.is_of_one_instance() || fault.instance == instance
        };
        let last = faults.iter().filter(meets).map(|fault| fault.ends() + SETTLES).max();
        last.unwrap_or_default().max(at)
    };
    if !kind.is_of_one_instance() {
        return (free_from(0), 0);
    }
    let free = (0..instances)
        .map(|step| (preferred + step) % instances)
        .map(|instance| (free_from(instance), instance));
    free.min_by_key(|(at, _)| *at).expect("there is an instance")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(100);

    #[test]
    fn a_seed_is_one_schedule_with_every_kind_in_it() {
        for seed in 0..50 {
            let faults = schedule(seed, 3, LENGTH);
            assert_eq!(faults, schedule(seed, 3, LENGTH));
            for kind in Kind::ALL {
                assert!(faults.iter().any(|fault| fault.kind == kind), "seed {seed} has no {kind:?}");
            }
            assert!(faults.is_sorted_by_key(|fault| fault.at), "seed {seed}");
        }
        assert_ne!(schedule(1, 3, LENGTH), schedule(2, 3, LENGTH));
    }

    #[test]
    fn no_two_faults_meet_that_must_not() {
        for seed in 0..200 {
            let faults = schedule(seed, 3, LENGTH);
            for (i, one) in faults.iter().enumerate() {
                for other in &faults[i + 1..] {
                    let apart = other.at >= one.ends();
                    let elsewhere = one.kind.is_of_one_instance()
                        && other.kind.is_of_one_instance()
                        && one.instance != other.instance;
                    assert!(apart || elsewhere, "seed {seed}: {one} meets {other}");
                }
            }
        }
    }

    #[test]
    fn a_longer_run_has_more_faults() {
        let (short, long) = (schedule(7, 3, LENGTH), schedule(7, 3, LENGTH * 10));
        assert!(long.len() > 3 * short.len(), "{} and {}", short.len(), long.len());
    }
}
