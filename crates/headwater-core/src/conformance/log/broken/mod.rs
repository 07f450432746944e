//! Logs with one defect each, made from any sound log: the proof that the suite can tell.
//!
//! A suite that every log passes proves nothing. Wrap the harness of a sound log in a [`BrokenHarness`] and the suite
//! must reject it, by the rule that [`Defect::rule`] names at least:
//!
//! ```no_run
//! # use headwater_core::conformance::log::{Harness, broken::{BrokenHarness, Defect}, run_all};
//! # async fn test(mine: &dyn Harness) {
//! for defect in Defect::ALL {
//!     let report = run_all(&BrokenHarness::new(mine, defect)).await;
//!     assert!(report.broken().contains(&defect.rule()), "{defect:?} passed:\n{report}");
//! }
//! # }
//! ```

mod reads;
mod topics;
mod wrap;
mod writes;

use std::sync::{Arc, Mutex, PoisonError};

use self::wrap::{BrokenLog, Flaw};
use super::{Fault, Harness};
use crate::BoxFuture;
use crate::log::Log;

/// What is wrong with a broken log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// Two records of one read bear the same offset.
    ReusedOffset,
    /// The first record of a transaction is there before the others, and without them.
    TornTransaction,
    /// Positions are kept beside the transaction, and stay when it is refused.
    PositionsOutside,
    /// A read goes on past the last committed record.
    DirtyRead,
    /// The records of a fenced writer are there nevertheless, after the next one was opened.
    LateZombie,
    /// A read that waits looks first and listens then.
    LostWakeUp,
    /// An append is acknowledged first and written when somebody looks.
    EarlyAcknowledgement,
    /// A transaction's records come in another order.
    Reordered,
    /// The next position stays below what is no record; shows only on a log that has such.
    StuckPosition,
    /// A topic that is deleted and made again has the old id.
    SameTopicId,
    /// Opening says that a commit is not there, and then it comes.
    SettledBothWays,
    /// Records of one append are written one by one, up to the first that cannot be.
    AppendInPart,
    /// The end is what it was when last asked for.
    StaleEnd,
    /// The head has the positions of the last transaction alone.
    ForgottenPositions,
    /// An alteration of a topic is answered and not made.
    ForgottenAlteration,
}

impl Defect {
    /// Every defect.
    pub const ALL: [Self; 15] = [
        Self::ReusedOffset,
        Self::TornTransaction,
        Self::PositionsOutside,
        Self::DirtyRead,
        Self::LateZombie,
        Self::LostWakeUp,
        Self::EarlyAcknowledgement,
        Self::Reordered,
        Self::StuckPosition,
        Self::SameTopicId,
        Self::SettledBothWays,
        Self::AppendInPart,
        Self::StaleEnd,
        Self::ForgottenPositions,
        Self::ForgottenAlteration,
    ];

    /// The rule that rejects it, whatever others do so too.
    pub fn rule(self) -> &'static str {
        match self {
            Self::ReusedOffset => "offsets_rise_strictly",
            Self::TornTransaction => "a_transaction_is_seen_whole_or_not_at_all",
            Self::PositionsOutside => "a_refused_transaction_leaves_nothing",
            Self::DirtyRead => "what_is_not_committed_is_never_read",
            Self::LateZombie => "a_zombie_writes_nothing_after_the_opening",
            Self::LostWakeUp => "no_wake_up_is_lost_in_a_race",
            Self::EarlyAcknowledgement => "what_was_acknowledged_survives_a_crash",
            Self::Reordered => "a_transaction_spans_topics_and_partitions",
            Self::StuckPosition => "the_next_position_reaches_the_end",
            Self::SameTopicId => "a_topic_made_again_is_another_topic",
            Self::SettledBothWays => "opening_settles_what_is_unknown",
            Self::AppendInPart => "an_append_is_whole_or_not_at_all",
            Self::StaleEnd => "bounds_cover_what_was_acknowledged",
            Self::ForgottenPositions => "the_head_keeps_earlier_positions",
            Self::ForgottenAlteration => "a_topic_is_altered_in_place",
        }
    }

    fn flaw(self) -> Arc<dyn Flaw> {
        match self {
            Self::ReusedOffset => Arc::new(reads::ReusedOffset),
            Self::TornTransaction => Arc::new(writes::TornTransaction),
            Self::PositionsOutside => Arc::new(writes::PositionsOutside::default()),
            Self::DirtyRead => Arc::new(reads::DirtyRead::default()),
            Self::LateZombie => Arc::new(writes::LateZombie),
            Self::LostWakeUp => Arc::new(reads::LostWakeUp),
            Self::EarlyAcknowledgement => Arc::new(writes::EarlyAcknowledgement::default()),
            Self::Reordered => Arc::new(writes::Reordered),
            Self::StuckPosition => Arc::new(reads::StuckPosition),
            Self::SameTopicId => Arc::new(topics::SameTopicId::default()),
            Self::SettledBothWays => Arc::new(writes::SettledBothWays::default()),
            Self::AppendInPart => Arc::new(writes::AppendInPart),
            Self::StaleEnd => Arc::new(reads::StaleEnd::default()),
            Self::ForgottenPositions => Arc::new(writes::ForgottenPositions::default()),
            Self::ForgottenAlteration => Arc::new(topics::ForgottenAlteration),
        }
    }
}

/// Gives a sound log one defect.
pub fn break_log(sound: Arc<dyn Log>, defect: Defect) -> Arc<dyn Log> {
    Arc::new(BrokenLog { sound, flaw: defect.flaw() })
}

/// The harness of a sound log, with every log that it opens broken in one way.
pub struct BrokenHarness<'a> {
    sound: &'a dyn Harness,
    defect: Defect,
    /// The log under the broken one that was handed out last.
    log: Mutex<Option<Arc<dyn Log>>>,
}

impl<'a> BrokenHarness<'a> {
    /// Breaks the logs of a harness.
    pub fn new(sound: &'a dyn Harness, defect: Defect) -> Self {
        Self { sound, defect, log: Mutex::default() }
    }

    fn hand_out(&self, sound: Arc<dyn Log>) -> Arc<dyn Log> {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(sound.clone());
        break_log(sound, self.defect)
    }

    fn take(&self) -> Option<Arc<dyn Log>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Harness for BrokenHarness<'_> {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async { self.hand_out(self.sound.open().await) })
    }

    fn patience(&self) -> BoxFuture<'static, ()> {
        self.sound.patience()
    }

    fn moment(&self) -> BoxFuture<'static, ()> {
        self.sound.moment()
    }

    fn name(&self, hint: &str) -> String {
        self.sound.name(hint)
    }

    fn crash(&self, log: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        drop(log);
        Box::pin(async {
            let crashed = self.sound.crash(self.take()?).await?;
            Some(self.hand_out(crashed))
        })
    }

    fn clean<'b>(&'b self, _: &'b Arc<dyn Log>) -> BoxFuture<'b, bool> {
        Box::pin(async {
            let Some(sound) = self.take() else { return false };
            let cleaned = self.sound.clean(&sound).await;
            self.log.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(sound);
            cleaned
        })
    }

    fn inject(&self, _: &Arc<dyn Log>, fault: Fault) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.as_ref().is_some_and(|sound| self.sound.inject(sound, fault))
    }
}
