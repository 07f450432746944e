//! A dead letter, as a record of the topic `<app>.<topology>.letters`, and those of one shard.
//!
//! ```text
//! key   = the letter's id, "TOPOLOGY/TOPIC-PARTITION@OFFSET" of the record that it holds
//! value = {"reason": "undecodable", "error": ..., "line": 7, "attempts": 1, "since": MS, "last": MS,
//!          "timestamp": MS, "key": BYTES, "value": BYTES, "headers": [[NAME, BYTES], ...], "edited": [BYTES], "decided": ID}
//!         null: the letter is gone
//! ```
//!
//! BYTES are null, `{"text": ...}` or `{"hex": ...}`; `edited` is there only where somebody gave the record another value,
//! `decided` only where somebody decided. Letters of one key stand in a line, in the order of `line`; a letter without a
//! key stands alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::header::{Headers, HeadersBuilder};
use headwater_core::record::{Record, StoredRecord};
use serde::{Deserialize, Serialize};

use super::{Raw, RecordId};
use crate::engine::flow::ProcessError;

/// Why a record was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LetterReason {
    /// Its key or its value cannot be read.
    Undecodable,
    /// What came of it cannot be written.
    Unencodable,
    /// The user's code panicked at it.
    Panicked,
    /// Its time is none.
    BadTime,
    /// A key of what came of it is longer than a store takes.
    KeyTooLong,
    /// What came of it is larger than the log takes.
    TooLarge,
    /// It waits behind another letter of its key.
    Behind,
    /// Anything else: the error says what.
    Failed,
}

impl LetterReason {
    /// The reason as metrics tell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Unencodable => "unencodable",
            Self::Panicked => "panicked",
            Self::BadTime => "bad_time",
            Self::KeyTooLong => "key_too_long",
            Self::TooLarge => "too_large",
            Self::Behind => "behind",
            Self::Failed => "failed",
        }
    }

    /// Why a record could not be processed; `None` if that was not the record's fault.
    pub(crate) fn of(error: &ProcessError) -> Option<Self> {
        Some(match error {
            ProcessError::Record(_) => Self::Failed,
            ProcessError::Undecodable(_) => Self::Undecodable,
            ProcessError::Unencodable(_) => Self::Unencodable,
            ProcessError::Panicked(_) => Self::Panicked,
            ProcessError::BadTime(_) => Self::BadTime,
            ProcessError::KeyTooLong(_) => Self::KeyTooLong,
            ProcessError::TooLarge(_) => Self::TooLarge,
            ProcessError::State(_) => return None,
        })
    }
}

/// A record that was set aside, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) reason: LetterReason,
    pub(crate) error: String,
    /// Its place among the letters of its shard.
    pub(crate) line: u64,
    /// How often it was tried.
    pub(crate) attempts: u32,
    pub(crate) since: Timestamp,
    /// When it was tried last.
    pub(crate) last: Timestamp,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<Raw>,
    pub(crate) value: Option<Raw>,
    pub(crate) headers: Vec<(String, Option<Raw>)>,
    /// The value that it is tried with instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) edited: Option<Vec<Option<Raw>>>,
    /// The last decision that did not help.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) decided: Option<String>,
}

impl Letter {
    /// A record, set aside at a time; its line is given where it is put among the others.
    ///
    /// It shares no bytes with the record, which may be a small part of a large read.
    pub(crate) fn new(record: &Record, (reason, error): (LetterReason, String), now: Timestamp) -> Self {
        let raw = |bytes: &Option<Bytes>| bytes.as_deref().map(|bytes| Raw(Bytes::copy_from_slice(bytes)));
        let header = |(name, value): (&str, Option<&[u8]>)| {
            (name.to_owned(), value.map(|value| Raw(Bytes::copy_from_slice(value))))
        };
        Self {
            reason,
            error,
            line: 0,
            attempts: u32::from(reason != LetterReason::Behind),
            since: now,
            last: now,
            timestamp: record.timestamp,
            key: raw(&record.key),
            value: raw(&record.value),
            headers: record.headers.iter().map(header).collect(),
            edited: None,
            decided: None,
        }
    }

    /// The record as it is to be tried.
    pub(crate) fn record(&self, id: &RecordId) -> StoredRecord {
        let bytes = |raw: &Option<Raw>| raw.clone().map(|Raw(bytes)| bytes);
        let value = self.edited.as_ref().and_then(|edited| edited.first()).unwrap_or(&self.value);
        let record = Record {
            key: bytes(&self.key),
            value: bytes(value),
            headers: self.headers(),
            timestamp: self.timestamp,
        };
        StoredRecord { offset: id.offset, record }
    }

    /// Whether it holds this record.
    pub(crate) fn is_of(&self, record: &Record) -> bool {
        let Self { key, value, headers, timestamp, .. } =
            Self::new(record, (self.reason, String::new()), self.since);
        (&self.key, &self.value, &self.headers, self.timestamp) == (&key, &value, &headers, timestamp)
    }

    /// The bytes that it holds in memory, but for what every letter has alike.
    fn bytes(&self) -> usize {
        let of = |raw: &Option<Raw>| raw.as_ref().map_or(0, |Raw(bytes)| bytes.len());
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + of(value)).sum();
        let edited: usize = self.edited.iter().flatten().map(of).sum();
        of(&self.key) + of(&self.value) + headers + edited + self.error.len()
    }

    fn headers(&self) -> Headers {
        let mut builder = HeadersBuilder::default();
        for (name, value) in &self.headers {
            builder.add(name, value.as_ref().map(|Raw(bytes)| &bytes[..]));
        }
        builder.build()
    }

    /// The value of its record.
    pub(crate) fn written(&self) -> Bytes {
        serde_json::to_vec(self).expect("a letter is text and numbers").into()
    }
}

/// How many letters a shard may have, and how many bytes they may hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LettersMax {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl LettersMax {
    /// Why a letter may not come to these, if it may not.
    pub(crate) fn refuses(self, parked: &Parked, letter: &Letter) -> Option<String> {
        let Self { count, bytes } = self;
        if parked.len() >= count {
            return Some(format!(
                "{count} dead letters wait already, as many as a shard may have (`at_most` of `OnFailure::Park`)"
            ));
        }
        let (there, more) = (parked.bytes(), letter.bytes());
        (there.saturating_add(more) > bytes).then(|| {
            format!(
                "a dead letter of {more} bytes beside {there} bytes of those that wait already is more than the {bytes} \
                 that a shard may have (`bytes_max` of `OnFailure::Park`)"
            )
        })
    }
}

/// The letters of one shard, and the lines in which those of one key wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parked {
    letters: BTreeMap<RecordId, Arc<Letter>>,
    lines: HashMap<Bytes, BTreeMap<u64, RecordId>>,
    next_line: u64,
    /// What the letters hold together.
    bytes: usize,
}

impl Parked {
    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// The bytes that the letters hold in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, id: &RecordId) -> Option<&Arc<Letter>> {
        self.letters.get(id)
    }

    /// Whether letters of a key wait, so that whatever comes of it waits behind them.
    pub(crate) fn holds(&self, key: Option<&Bytes>) -> bool {
        key.is_some_and(|key| self.lines.contains_key(key))
    }

    /// The letters of the same key, the first in line first; the letter alone, if it has no key.
    pub(crate) fn line_of(&self, id: &RecordId) -> Vec<RecordId> {
        let Some(letter) = self.letters.get(id) else { return Vec::new() };
        let line = letter.key.as_ref().and_then(|Raw(key)| self.lines.get(key));
        line.map_or_else(|| vec![id.clone()], |line| line.values().cloned().collect())
    }

    /// Puts a letter at the end of its line; answers it.
    pub(crate) fn append(&mut self, id: RecordId, mut letter: Letter) -> Arc<Letter> {
        letter.line = self.next_line;
        self.put(id, letter)
    }

    /// Puts a letter where its line says.
    pub(crate) fn put(&mut self, id: RecordId, letter: Letter) -> Arc<Letter> {
        self.remove(&id);
        self.next_line = self.next_line.max(letter.line + 1);
        if let Some(Raw(key)) = &letter.key {
            self.lines.entry(key.clone()).or_default().insert(letter.line, id.clone());
        }
        self.bytes += letter.bytes();
        let letter = Arc::new(letter);
        self.letters.insert(id, letter.clone());
        letter
    }

    pub(crate) fn remove(&mut self, id: &RecordId) -> Option<Arc<Letter>> {
        let letter = self.letters.remove(id)?;
        self.bytes -= letter.bytes();
        if let Some(Raw(key)) = &letter.key
            && let Some(line) = self.lines.get_mut(key)
        {
            line.remove(&letter.line);
            if line.is_empty() {
                self.lines.remove(key);
            }
        }
        Some(letter)
    }

    /// Takes over a record of the topic of letters.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub(crate) fn replay(&mut self, record: &Record) -> Result<(), String> {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let id: RecordId = key.ok_or("it has no key")?.parse().map_err(|e| format!("{e}"))?;
        match &record.value {
            None => drop(self.remove(&id)),
            Some(value) => {
                let letter = serde_json::from_slice(value).map_err(|e| format!("it is no letter: {e}"))?;
                self.put(id, letter);
            }
        }
        Ok(())
    }

    /// The letters in the order in which they were set aside.
    pub(crate) fn into_letters(self) -> Vec<(RecordId, Arc<Letter>)> {
        let mut letters: Vec<_> = self.letters.into_iter().collect();
        letters.sort_by_key(|(_, letter)| letter.line);
        letters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(offset: u64) -> RecordId {
        format!("counts/visits-0@{offset}").parse().unwrap()
    }

    fn letter(key: &'static str) -> Letter {
        let headers = Headers::builder().push("a", [255]).build();
        let record = Record { headers, ..Record::new(key, vec![1, 255], Timestamp(3)) };
        Letter::new(&record, (LetterReason::Undecodable, "no number".to_owned()), Timestamp(9))
    }

    #[test]
    fn letters_of_a_key_wait_in_line_and_come_back_from_their_records() {
        let mut parked = Parked::default();
        let mut written = Vec::new();
        for (offset, key) in [(5, "b"), (3, "a"), (9, "b"), (7, "a")] {
            let letter = parked.append(id(offset), letter(key));
            written.push(Record::new(id(offset).to_string(), letter.written(), Timestamp(0)));
        }
        written.push(Record { value: None, ..Record::new(id(3).to_string(), "", Timestamp(0)) });
        parked.remove(&id(3));
        let mut again = Parked::default();
        written.iter().for_each(|record| again.replay(record).unwrap());
        for parked in [parked, again] {
            assert_eq!(parked.line_of(&id(9)), [id(5), id(9)]);
            assert_eq!(parked.line_of(&id(7)), [id(7)]);
            assert!(parked.holds(Some(&Bytes::from_static(b"a"))) && !parked.holds(None));
            assert!(!parked.holds(Some(&Bytes::from_static(b"c"))));
            let order: Vec<_> = parked.into_letters().into_iter().map(|(id, _)| id.offset.0).collect();
            assert_eq!(order, [5, 9, 7]);
        }
    }

    #[test]
    fn the_bytes_of_letters_rise_and_fall_with_them_and_bound_them() {
        // A key of 1 byte, a value of 2, a header of 1 and 1, and an error of 9.
        let max = LettersMax { count: 3, bytes: 30 };
        let mut parked = Parked::default();
        let edited = Letter { edited: Some(vec![Some(Raw(Bytes::from_static(b"abc")))]), ..letter("a") };
        let steps: [(fn(&mut Parked, Letter), usize, Option<&str>); 6] = [
            (|parked, _| drop(parked.append(id(1), letter("a"))), 14, None),
            (|parked, edited| drop(parked.put(id(1), edited)), 17, Some("14 bytes beside 17 bytes")),
            (|parked, _| drop(parked.put(id(1), letter("a"))), 14, None),
            (|parked, _| drop(parked.append(id(2), letter("b"))), 28, Some("is more than the 30")),
            (|parked, _| drop(parked.append(id(3), letter("b"))), 42, Some("3 dead letters wait")),
            (|parked, _| [1, 2, 3].map(|n| parked.remove(&id(n))).into_iter().for_each(drop), 0, None),
        ];
        for (step, bytes, refused) in steps {
            step(&mut parked, edited.clone());
            assert_eq!(parked.bytes(), bytes);
            let told = max.refuses(&parked, &letter("c"));
            match refused {
                None => assert_eq!(told, None),
                Some(why) => assert!(told.as_ref().is_some_and(|told| told.contains(why)), "{told:?}"),
            }
        }
    }

    #[test]
    fn a_letter_keeps_nothing_of_the_read_that_its_record_was_part_of() {
        let read = Bytes::from(vec![b'7'; 1_000]);
        let record = Record::new(read.slice(..1), read.slice(1..3), Timestamp(3));
        let letter = Letter::new(&record, (LetterReason::Undecodable, "no number".to_owned()), Timestamp(9));
        drop(record);
        assert!(read.is_unique(), "{letter:?} shares its bytes");
    }

    #[test]
    fn a_letter_holds_its_record_byte_for_byte() {
        let letter = letter("a");
        let read: Letter = serde_json::from_slice(&letter.written()).unwrap();
        assert_eq!(read, letter);
        let record = read.record(&id(4));
        assert_eq!((record.offset.0, record.record.timestamp.0), (4, 3));
        assert_eq!(record.record.value.as_deref(), Some(&[1, 255][..]));
        assert_eq!(record.record.headers.get("a"), Some(&[255][..]));
    }
}
