//! What was decided about a record, as a record of the topic `<app>.decisions`.
//!
//! Every decision is kept, in the order in which they were made: the topic is also the record of who decided what. It has
//! the app's partition count, and a decision lies in the partition of the record that it is about, where the shard that
//! reads that record finds it.
//!
//! ```text
//! key   = the record's id, "TOPOLOGY/TOPIC-PARTITION@OFFSET"
//! value = {"id": UUID, "verdict": "skip", "log": LOG, "by": "alice", "note": "a test order"}
//! time  = when it was made
//! ```
//!
//! Verdicts: `"skip"`, `{"replace": BYTES}` for folds; `"retry"`, `"retry_all"`, `{"edit": BYTES}`, `"discard"`,
//! `"discard_all"` for dead letters. BYTES are null, `{"text": ...}` or `{"hex": ...}`. An append that is not known to be
//! written is made again under the same id: readers drop repeats.

use headwater_core::clock::Timestamp;
use headwater_core::log::LogId;
use headwater_core::record::Record;
use serde::{Deserialize, Serialize};

use super::{Raw, RecordId};

/// What is to become of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// A fold goes on without it.
    Skip,
    /// A fold takes this value in its place, under the same key.
    Replace(Option<Raw>),
    /// A dead letter is processed again.
    Retry,
    /// It, and those that wait behind it, as far as they can be.
    RetryAll,
    /// It is processed again with this value.
    Edit(Option<Raw>),
    /// It is given up.
    Discard,
    /// It, and those that wait behind it.
    DiscardAll,
}

impl Verdict {
    /// Whether it is one about a record that a fold reads.
    pub(crate) fn is_of_fold(&self) -> bool {
        matches!(self, Self::Skip | Self::Replace(_))
    }

    /// It in a word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Replace(_) => "replace",
            Self::Retry => "retry",
            Self::RetryAll => "retry_all",
            Self::Edit(_) => "edit",
            Self::Discard => "discard",
            Self::DiscardAll => "discard_all",
        }
    }
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) about: RecordId,
    pub(crate) made: Made,
}

/// What of a decision is in its record's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) verdict: Verdict,
    /// The log whose offset the record is named by: another one, where the app has moved since.
    pub(crate) log: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) note: Option<String>,
}

impl Decision {
    pub(crate) fn is_of_log(&self, log: LogId) -> bool {
        self.made.log == log.to_string()
    }

    pub(crate) fn record(&self, now: Timestamp) -> Record {
        let value = serde_json::to_vec(&self.made).expect("names and bytes are JSON");
        Record::new(self.about.to_string(), value, now)
    }

    /// # Errors
    ///
    /// If the record is none of ours.
    pub(crate) fn read(record: &Record) -> Result<Self, String> {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let about = key.ok_or("it has no key")?.parse().map_err(|e: super::InvalidRecordId| e.to_string())?;
        let value = record.value.as_deref().ok_or("it has no value")?;
        let made = serde_json::from_slice(value).map_err(|e| format!("its value is no decision: {e}"))?;
        Ok(Self { about, made })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_decision_is_written_as_its_page_says() {
        let verdicts = [
            (Verdict::Skip, r#""skip""#),
            (Verdict::Replace(Some(Raw(Bytes::from_static(b"7")))), r#"{"replace":{"text":"7"}}"#),
            (Verdict::Replace(None), r#"{"replace":null}"#),
            (Verdict::RetryAll, r#""retry_all""#),
            (Verdict::Edit(Some(Raw(Bytes::from_static(&[255])))), r#"{"edit":{"hex":"ff"}}"#),
            (Verdict::DiscardAll, r#""discard_all""#),
        ];
        for (verdict, json) in verdicts {
            let made =
                Made { id: "u1".into(), verdict, log: "0f".into(), by: Some("alice".into()), note: None };
            let decision = Decision { about: "total/visits-3@42".parse().unwrap(), made };
            let record = decision.record(Timestamp(5));
            let expected = format!(r#"{{"id":"u1","verdict":{json},"log":"0f","by":"alice"}}"#);
            assert_eq!(record.value.as_deref().unwrap(), expected.as_bytes());
            assert_eq!(record.key.as_deref(), Some(&b"total/visits-3@42"[..]));
            assert_eq!(Decision::read(&record).unwrap(), decision);
        }
    }
}
