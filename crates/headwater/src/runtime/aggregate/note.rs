//! What a shard of an aggregate writes into its head: its note.
//!
//! ```text
//! {"tail": OFFSET, "shape": VERSION, "filters": {"of": TOPIC ID, "from": OFFSET, "until": OFFSET}}
//! ```
//!
//! No filters: none were written yet.

use bytes::Bytes;
use headwater_core::topic::Offset;
use serde::{Deserialize, Serialize};

use crate::engine::outcome_filters::Filtered;

/// From where the snapshots need a tail, and which outcomes' ids are in filters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Every aggregate changed before this offset has a snapshot that includes those events.
    pub(super) tail: Offset,
    /// The shape of the states in the snapshots.
    pub(super) shape: u32,
    /// The filters that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) filters: Option<Filtered>,
}

impl Note {
    pub(super) fn encode(self) -> Bytes {
        serde_json::to_vec(&self).expect("numbers are JSON").into()
    }

    pub(super) fn decode(note: &[u8]) -> Option<Self> {
        serde_json::from_slice(note).ok()
    }
}

/// A note told in the offsets of another log; one that is none of ours stays.
///
/// Filters are of the old log's offsets: in the new one they are begun anew.
///
/// # Errors
///
/// What `told` answers for the offset in it.
pub(crate) fn migrated_note<E>(
    note: &Bytes,
    told: impl FnOnce(Offset) -> Result<Offset, E>,
) -> Result<Bytes, E> {
    match Note::decode(note) {
        Some(note) => Ok(Note { tail: told(note.tail)?, filters: None, ..note }.encode()),
        None => Ok(note.clone()),
    }
}

#[cfg(test)]
mod tests {
    use headwater_core::topic::TopicId;

    use super::*;

    const NOTE: Note = Note {
        tail: Offset(5),
        shape: 2,
        filters: Some(Filtered { of: TopicId(u128::MAX), from: Offset(50), until: Offset(120) }),
    };

    #[test]
    fn a_note_is_read_as_it_was_written_and_one_from_before_filters_has_none() {
        assert_eq!(Note::decode(&NOTE.encode()), Some(NOTE));
        let before = Note { filters: None, ..NOTE };
        assert_eq!(before.encode(), r#"{"tail":5,"shape":2}"#);
        assert_eq!(Note::decode(&before.encode()), Some(before));
    }

    #[test]
    fn in_another_log_filters_are_begun_anew() {
        let told = migrated_note(&NOTE.encode(), |tail| Ok::<_, ()>(Offset(tail.0 * 2))).unwrap();
        assert_eq!(Note::decode(&told), Some(Note { tail: Offset(10), filters: None, ..NOTE }));
    }
}
