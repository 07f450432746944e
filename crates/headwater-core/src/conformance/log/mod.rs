//! The suite that every [`Log`] runs.
//!
//! The contract in [`crate::log`] is written as rules; each rule here is one of its sentences made into a test with a
//! name that stays. A log takes part by a [`Harness`], which opens it, crashes it where it can, and tells how long is
//! long enough; the suite itself knows no runtime and no timer. Rules make topics and groups of their own, so one log
//! may serve them all, also one on which other things lie.
//!
//! ```no_run
//! # use std::sync::Arc; use std::time::Duration;
//! # use headwater_core::{BoxFuture, conformance, log::Log};
//! # fn open_my_log() -> Arc<dyn Log> { panic!() }
//! # fn sleep(_: Duration) -> BoxFuture<'static, ()> { panic!() }
//! struct Mine;
//!
//! impl conformance::log::Harness for Mine {
//!     fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
//!         Box::pin(async { open_my_log() })
//!     }
//!
//!     fn patience(&self) -> BoxFuture<'static, ()> {
//!         Box::pin(sleep(Duration::from_secs(30)))
//!     }
//!
//!     fn moment(&self) -> BoxFuture<'static, ()> {
//!         Box::pin(sleep(Duration::from_millis(20)))
//!     }
//! }
//!
//! # async fn test() {
//! let report = conformance::log::run_all(&Mine).await;
//! // This harness cannot crash the log, so the rules that need it may be skipped; no other may.
//! report.assert_kept(&["what_was_acknowledged_survives_a_crash", "a_crash_leaves_whole_transactions"]);
//! # }
//! ```
//!
//! That the suite can tell a good log from a bad one is proved by [`broken`]: logs with one defect each, made from any
//! sound log, and the rule that must reject each. They are made by a [`wrapper`], as other tests may make theirs.

mod appending;
pub mod broken;
mod bytes;
mod durability;
mod future;
mod ground;
mod groups;
mod reading;
mod report;
mod retention;
mod topics;
mod transactions;
mod waiting;
pub mod wrapper;
mod writers;

use std::sync::Arc;

use self::future::race;
use self::ground::{Ground, Stop, Verdict};
pub use self::report::{Finding, Outcome, Report};
use crate::BoxFuture;
use crate::log::Log;

/// Brings a log to the suite.
pub trait Harness: Send + Sync {
    /// Opens a log: a fresh one, or the same one each time.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>>;

    /// Is over after as long as any one rule may take: what takes longer is taken for lost.
    ///
    /// Only a log that breaks a rule is ever waited for that long.
    fn patience(&self) -> BoxFuture<'static, ()>;

    /// Is over after a moment in which a log that wrongly does something would have done it.
    ///
    /// Too short a moment hides a defect; it never accuses a sound log.
    fn moment(&self) -> BoxFuture<'static, ()>;

    /// A name for a topic or a group that nothing on the log has, yet; by default `hint` as it is.
    ///
    /// A harness whose logs outlive a run makes it unique. Rules give different hints within one run.
    fn name(&self, hint: &str) -> String {
        hint.to_owned()
    }

    /// Ends the log as abruptly as can be, losing all that was not made durable, and opens it again.
    ///
    /// The suite has dropped every membership, claim, writer and future of that log. `None`, the default, if the
    /// harness cannot; then the rules about crashes are skipped.
    fn crash(&self, log: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        drop(log);
        Box::pin(async { None })
    }

    /// Drops now what the topics' cleanup rules allow to drop; whether it did. By default it did not.
    ///
    /// Rules write records of 1970 and of 2020 and let those older than thirty years expire, by a clock of our days.
    fn clean<'a>(&'a self, log: &'a Arc<dyn Log>) -> BoxFuture<'a, bool> {
        let _ = log;
        Box::pin(async { false })
    }

    /// Makes the next write of that kind fail in that way; whether it will. By default it will not.
    fn inject(&self, log: &Arc<dyn Log>, fault: Fault) -> bool {
        let _ = (log, fault);
        false
    }
}

/// What a [`Harness`] may be asked to make happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A commit answers [`NotWritten`](crate::log::CommitError::NotWritten).
    CommitNotWritten,
    /// A commit answers [`Unknown`](crate::log::CommitError::Unknown).
    CommitUnknown,
    /// An append answers [`NotWritten`](crate::log::AppendError::NotWritten).
    AppendNotWritten,
    /// An append answers [`Unknown`](crate::log::AppendError::Unknown).
    AppendUnknown,
}

/// Runs every rule, one after another.
pub async fn run_all(harness: &dyn Harness) -> Report {
    let mut findings = Vec::with_capacity(RULES.len());
    for rule in RULES {
        findings.push(check(harness, rule).await);
    }
    Report { findings }
}

/// Runs one rule; `None` if there is none of that name.
pub async fn run(harness: &dyn Harness, rule: &str) -> Option<Finding> {
    let rule = RULES.iter().find(|known| known.name == rule)?;
    Some(check(harness, rule).await)
}

/// The names of all rules, in the order in which they run.
pub fn rules() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.name)
}

async fn check(harness: &dyn Harness, rule: &Rule) -> Finding {
    let log = harness.open().await;
    let ground = Ground::new(harness, rule.name, log);
    let doing = ground.doing();
    let outcome = match race((rule.check)(ground), harness.patience()).await {
        Some(Ok(())) => Outcome::Kept,
        Some(Err(Stop::Skip(reason))) => Outcome::Skipped(reason),
        Some(Err(Stop::Broken(how))) => Outcome::Broken(how),
        None => Outcome::Broken(format!("it took too long {doing}")),
    };
    Finding { rule: rule.name, outcome }
}

struct Rule {
    name: &'static str,
    check: for<'a> fn(Ground<'a>) -> BoxFuture<'a, Verdict>,
}

macro_rules! rules {
    ($($file:ident: $($rule:ident),+;)+) => {
        &[$($(Rule { name: stringify!($rule), check: |ground| Box::pin($file::$rule(ground)) }),+),+]
    };
}

const RULES: &[Rule] = rules! {
    topics:
        a_topic_is_described_as_it_was_created,
        a_topic_is_created_once,
        a_topic_is_altered_in_place,
        an_alteration_keeps_the_partitions,
        a_deleted_topic_is_gone,
        a_topic_made_again_is_another_topic,
        an_unknown_topic_is_named_so,
        an_offset_is_found_by_its_time,
        records_carry_the_time_that_the_topic_says;
    reading:
        read_limits_are_kept,
        offsets_rise_strictly,
        the_next_position_reaches_the_end,
        a_read_may_start_anywhere,
        a_read_outside_the_bounds_is_out_of_range;
    bytes:
        records_come_back_byte_for_byte,
        large_records_come_back_whole;
    waiting:
        a_waiting_read_is_withheld,
        a_waiting_read_wakes_for_appends_and_commits,
        no_wake_up_is_lost_in_a_race,
        every_waiting_read_wakes,
        a_cancelled_read_takes_no_wake_up_along;
    appending:
        appends_are_answered_with_their_offsets,
        an_append_is_whole_or_not_at_all,
        appends_run_side_by_side,
        an_append_without_an_answer_is_whole_or_not_at_all,
        bounds_cover_what_was_acknowledged;
    transactions:
        a_transaction_spans_topics_and_partitions,
        a_transaction_is_seen_whole_or_not_at_all,
        what_is_not_committed_is_never_read,
        a_refused_transaction_leaves_nothing,
        a_transaction_needs_a_position,
        the_head_is_of_the_last_transaction,
        the_head_keeps_earlier_positions,
        committed_covers_every_shard_of_one_group,
        shards_commit_side_by_side;
    writers:
        opening_fences_every_earlier_writer,
        a_fenced_writer_stays_fenced,
        fencing_leaves_other_shards_alone,
        a_zombie_writes_nothing_after_the_opening,
        opening_settles_what_is_unknown,
        an_unknown_commit_ends_its_writer;
    groups:
        a_member_gains_every_shard_once,
        members_share_the_shards,
        a_dropped_member_has_left,
        a_dropped_wait_loses_no_change,
        a_stale_claim_opens_nothing;
    retention:
        expiry_drops_old_records_from_the_front,
        compaction_keeps_the_last_record_of_each_key;
    durability:
        what_was_acknowledged_survives_a_crash,
        a_crash_leaves_whole_transactions;
};
