//! The name of one record as one topology reads it.

use std::fmt;
use std::str::FromStr;

use headwater_core::topic::{Offset, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};

/// One record as one topology reads it: `TOPOLOGY/TOPIC-PARTITION@OFFSET`.
///
/// A dead letter is named so, and so is the record at which a fold stopped.
///
/// ```
/// # use headwater::letters::RecordId;
/// let id: RecordId = "total/visits-3@42".parse()?;
/// assert_eq!((id.topology.as_str(), id.at.topic.as_str(), id.at.partition.0, id.offset.0), ("total", "visits", 3, 42));
/// # Ok::<(), headwater::letters::InvalidRecordId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordId {
    /// The topology that reads it; of an emitter with its version, from the second on.
    pub topology: String,
    /// Where the record lies.
    pub at: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
}

/// What is no name of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" names no record: write TOPOLOGY/TOPIC-PARTITION@OFFSET, such as total/visits-3@42")]
pub struct InvalidRecordId(String);

impl FromStr for RecordId {
    type Err = InvalidRecordId;

    fn from_str(text: &str) -> Result<Self, InvalidRecordId> {
        parse(text).ok_or_else(|| InvalidRecordId(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<RecordId> {
    let (topology, place) = text.split_once('/')?;
    let (partition, offset) = place.rsplit_once('@')?;
    let (topic, partition) = partition.rsplit_once('-')?;
    let at = TopicName::new(topic).ok()?.partition(partition.parse().ok()?);
    let offset = Offset(offset.parse().ok()?);
    (!topology.is_empty()).then(|| RecordId { topology: topology.to_owned(), at, offset })
}

impl TryFrom<String> for RecordId {
    type Error = InvalidRecordId;
    fn try_from(text: String) -> Result<Self, InvalidRecordId> {
        text.parse()
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topology, self.at, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_is_told() {
        for text in ["total/visits-3@42", "by-day@2/shop.order.events-11@0", "a/b-c-0@7"] {
            assert_eq!(text.parse::<RecordId>().unwrap().to_string(), text);
        }
        for text in
            ["", "visits-3@42", "/visits-3@42", "total/visits@42", "total/visits-3", "total/visits-3@-1"]
        {
            assert!(text.parse::<RecordId>().is_err(), "{text}");
        }
    }
}
