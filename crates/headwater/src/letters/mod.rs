//! Records that could not be processed, and what was decided about them.
//!
//! A fold never parks: it stops at such a record, and a **decision** for that record (skip it, or fold another value in its
//! place) lets it go on, here, on every other instance and on every replay. An emitter stops, or parks what it cannot
//! process as a **dead letter**, where it is declared to: later records of the same key wait behind it, and decisions
//! retry, edit or discard them.
//!
//! - `record_id`: the name of one record as one topology reads it;
//! - `raw`: bytes in JSON;
//! - `letter`: a dead letter, as a record, and those of one shard;
//! - `decision`: what was decided, as a record of the topic `<app>.decisions`;
//! - `desk`: where decisions are made and read, over any log.

mod decision;
mod desk;
mod letter;
mod raw;
mod record_id;

pub(crate) use self::decision::{Decision, Verdict};
pub use self::desk::{
    DeadLetter, DeadLetters, Decide, DecisionReport, EditedValue, LetterError, LetterPage, MetRecord,
};
pub(crate) use self::desk::{Facts, decision_of, moved_offset};
pub use self::letter::LetterReason;
pub(crate) use self::letter::{Letter, LettersMax, Parked};
pub(crate) use self::raw::Raw;
pub use self::record_id::{InvalidRecordId, RecordId};
