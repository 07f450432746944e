//! A key within a window of time.
//!
//! ```text
//! in stores   the key's ordered form, start, end    all windows of a key are a range, in the order of their starts
//! on topics   ["alice",1772323200000,1772409600000] key, start and end, in milliseconds
//! ```
//!
//! The key alone decides the partition, as Kafka's `WindowedStreamPartitioner` has it.

use headwater_core::clock::Timestamp;
use headwater_core::key::BESIDE_FIRST;
use serde::ser::SerializeTupleStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key within a window of time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Windowed<K> {
    /// The key.
    pub key: K,
    /// When the window begins.
    pub start: Timestamp,
    /// When it ends. The end is no part of a tumbling or hopping window; it is the last moment of a sliding window and of
    /// a session.
    pub end: Timestamp,
}

impl<K: Serialize> Serialize for Windowed<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_tuple_struct(BESIDE_FIRST, 3)?;
        parts.serialize_field(&self.key)?;
        parts.serialize_field(&self.start)?;
        parts.serialize_field(&self.end)?;
        parts.end()
    }
}

#[derive(Deserialize)]
struct Parts<K>(K, Timestamp, Timestamp);

impl<'de, K: Deserialize<'de>> Deserialize<'de> for Windowed<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Parts(key, start, end) = Parts::deserialize(deserializer)?;
        Ok(Self { key, start, end })
    }
}

#[cfg(test)]
mod tests {
    use headwater_core::key::{decode_ordered, decode_text, ordered, partition_text, text};

    use super::*;

    fn within<K>(key: K, start: i64, end: i64) -> Windowed<K> {
        Windowed { key, start: Timestamp(start), end: Timestamp(end) }
    }

    #[test]
    fn it_lies_where_its_key_lies() {
        let pair = ("alice".to_owned(), 7_u32);
        assert_eq!(partition_text(&within("c1", 0, 10)).unwrap(), "c1");
        assert_eq!(partition_text(&within(pair.clone(), 0, 10)).unwrap(), partition_text(&pair).unwrap());
    }

    #[test]
    fn it_is_sorted_by_key_then_start_and_read_back() {
        let sorted = [within("c", -5, 0), within("c", 0, 5), within("c", 0, 6), within("c1", -9, 0)];
        let written: Vec<_> = sorted.iter().map(|window| ordered(window).unwrap()).collect();
        assert!(written.is_sorted(), "{written:?}");
        let last = within("c1".to_owned(), -9, 0);
        assert_eq!(decode_ordered::<Windowed<String>>(&written[3]).unwrap(), last);
        assert!(written[3].starts_with(&ordered("c1").unwrap()));
        assert_eq!(text(&last).unwrap(), r#"["c1",-9,0]"#);
        assert_eq!(decode_text::<Windowed<String>>(br#"["c1",-9,0]"#).unwrap(), last);
    }
}
