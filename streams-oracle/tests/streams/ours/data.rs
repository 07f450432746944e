//! Keys, values and records as the reference has them, and as topics have them.

use bytes::Bytes;
use headwater::core::clock::Timestamp;
use headwater::core::header::Headers;
use headwater::core::record::Record;
use serde::Serialize;
use serde_json::Value;
use streams_oracle::{Datum, InputRecord, Output};

/// A record as it goes into a topic.
pub(crate) fn record(input: &InputRecord) -> Record {
    let mut headers = Headers::builder();
    for (name, value) in &input.headers {
        headers.add(name, Some(value.as_bytes()));
    }
    Record {
        key: input.key.as_ref().map(|key| Bytes::from(key.clone())),
        value: input.value.as_ref().map(|value| Bytes::from(json(value))),
        headers: headers.build(),
        timestamp: Timestamp(input.time),
    }
}

/// A record as it came out of a topic.
pub(crate) fn output(after: usize, topic: &str, record: &Record) -> Output {
    let read = |bytes: &Bytes| read(serde_json::from_slice(bytes).unwrap());
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), text(value)));
    Output {
        after,
        topic: topic.to_owned(),
        key: record.key.as_ref().and_then(read),
        value: record.value.as_ref().and_then(read),
        time: record.timestamp.0,
        // Headwater's own begin like this.
        headers: headers.filter(|(name, _)| !name.starts_with("hw_")).collect(),
    }
}

pub(super) fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap()
}

pub(super) fn datum(data: &impl Serialize) -> Datum {
    read(serde_json::to_value(data).unwrap()).unwrap()
}

/// A key or value; a windowed key is written as the list of key, start and end.
fn read(json: Value) -> Option<Datum> {
    match json {
        Value::Array(parts) => {
            let (key, start, end) = serde_json::from_value(parts.into()).unwrap();
            Some(Datum::Windowed { key, start, end })
        }
        json => serde_json::from_value(json).unwrap(),
    }
}
