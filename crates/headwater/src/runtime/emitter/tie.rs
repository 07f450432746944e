//! What ties a shard's head to its changelog.
//!
//! The head says up to where the inputs were processed, and the changelog what became of the state. They were written in
//! one transaction, but a log can lose the end of one topic and keep another: the loss of a replica, a disk that lost what
//! was not flushed. So each transaction's note tells of the last one that changed the state, this one maybe:
//!
//! ```text
//! {"changelog":{"from":<offset>,"count":<records>,"last":"<16 hex digits>","values_last":true}}
//!
//! from         where the changelog ended before, as far as the shard knew
//! count        the records of changes: it ends at from + count, or later where the log keeps marks of its own there
//! last         the content of the last of them
//! values_last  that their tombstones stand before their values; missing where they may stand anywhere
//! ```
//!
//! Before a shard goes on, its changelog must reach as far, and end with that record. An empty note was written by a
//! first start, or by a version that did not say: it is believed. A last record that is not there was a tombstone whose
//! time is over, since nothing else is compacted at the end. With values last, all of the transaction's records were
//! tombstones then, of one time, and none of them is there. Before notes said so, a value could stand before the tombstone:
//! of such a transaction only the very last offset of the changelog proves anything.

use bytes::Bytes;
use headwater_core::record::Append;
use headwater_core::topic::{Offset, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::runtime::landmarks::{Landmarks, Mark};
use crate::runtime::shell::Stop;

/// The last transaction that changed a shard's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tie {
    from: Offset,
    count: u64,
    last: Mark,
    #[serde(default)]
    values_last: bool,
}

/// A head's note.
#[derive(Serialize, Deserialize)]
struct Note {
    changelog: Tie,
}

impl Tie {
    /// That of a transaction with these changes, the tombstones before the values; `None` if there are none.
    pub(super) fn of(changes: &[Append], from: Offset) -> Option<Self> {
        let last = Mark::of(&changes.last()?.record);
        Some(Self { from, count: changes.len() as u64, last, values_last: true })
    }

    /// The content of the last change.
    pub(super) fn last(&self) -> &Mark {
        &self.last
    }

    /// What a head's note says, if it says anything.
    pub(super) fn told(note: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Note>(note).ok().map(|note| note.changelog)
    }

    pub(super) fn note(&self) -> Bytes {
        let note = Note { changelog: self.clone() };
        serde_json::to_vec(&note).expect("numbers and digits are JSON").into()
    }

    /// Refuses a changelog that does not have what the head speaks of; `landmarks` names the last record that was read.
    pub(super) fn check(
        &self,
        changelog: &TopicPartition,
        end: Offset,
        landmarks: &Landmarks,
    ) -> Result<(), Stop> {
        let reaches = Offset(self.from.0 + self.count);
        if end < reaches {
            return Err(Stop(format!(
                "the head speaks of changes up to {changelog} offset {reaches}, and the log ends at {end}: the log has \
                 lost records; restore it, or give the topology another version"
            )));
        }
        let proves = |at: Offset| at >= self.from && (self.values_last || at.next() >= end);
        match landmarks.of(changelog).filter(|landmark| proves(landmark.offset)) {
            Some(last) if last.mark != self.last => Err(Stop(format!(
                "{changelog} offset {} is not the change that the head speaks of: the log has lost records, and went on \
                 with others; restore it, or give the topology another version",
                last.offset
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_core::clock::Timestamp;
    use headwater_core::record::Record;
    use headwater_core::topic::TopicName;

    use super::*;

    #[test]
    fn a_changelog_must_reach_as_far_as_its_head_says_and_end_with_the_same_change() {
        let at = TopicName::new("a.counts.changelog").unwrap().partition(1);
        let change = |value: &'static str| Record::new("k", value, Timestamp(3));
        let changes = ["1", "2"].map(|value| Append { to: at.clone(), record: change(value) });
        let tie = Tie::of(&changes, Offset(10)).unwrap();
        assert_eq!(Tie::told(&tie.note()), Some(tie.clone()));
        assert_eq!((Tie::of(&[], Offset(10)), Tie::told(b"")), (None, None));
        let cases = [
            (11, None, Some("up to a.counts.changelog-1 offset 12, and the log ends at 11")),
            (12, Some((11, "2")), None),
            // A marker of the log stands behind it.
            (13, Some((11, "2")), None),
            (12, Some((11, "3")), Some("a.counts.changelog-1 offset 11 is not the change")),
            (12, Some((10, "1")), Some("a.counts.changelog-1 offset 10 is not the change")),
            // What was last was a tombstone, and its time is over.
            (13, Some((9, "0")), None),
            (13, None, None),
        ];
        // What was last was a tombstone, and a value before it stays.
        let unordered = Tie { values_last: false, ..tie.clone() };
        let note = String::from_utf8(unordered.note().to_vec()).unwrap();
        let old = note.replace(r#","values_last":false"#, "");
        assert_eq!((old != note, Tie::told(old.as_bytes())), (true, Some(unordered.clone())));
        let unordered_cases = [
            (12, Some((10, "1")), None),
            (14, Some((11, "1")), None),
            (12, Some((11, "2")), None),
            (12, Some((11, "3")), Some("a.counts.changelog-1 offset 11 is not the change")),
        ];
        let cases = cases.map(|case| (&tie, case)).into_iter();
        let cases = cases.chain(unordered_cases.map(|case| (&unordered, case)));
        for (tie, (end, last, refused)) in cases {
            let mut landmarks = Landmarks::default();
            if let Some((offset, value)) = last {
                landmarks.set(&at.topic, Offset(offset), Mark::of(&change(value)));
            }
            let checked = tie.check(&at, Offset(end), &landmarks).err().map(|Stop(why)| why);
            assert_eq!(checked.is_some(), refused.is_some(), "{end} {last:?}: {checked:?}");
            assert!(checked.unwrap_or_default().contains(refused.unwrap_or_default()), "{end} {last:?}");
        }
    }
}
