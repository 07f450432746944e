//! Events as records: CloudEvents in Kafka's binary mode.
//!
//! The payload is the event's data alone; its type travels in a header. For an enum with serde's default
//! representation the type is the variant, and the payload the variant's content, so that `Placed(NewOrder)` becomes a
//! record of type `order.Placed` whose value is the JSON of `NewOrder`. Any other type of event is its own JSON, under
//! its type's name.
//!
//! Source: CloudEvents 1.0.2, Kafka protocol binding, section 3.2 (binary content mode).

mod payload;

use bytes::Bytes;
use headwater_core::clock::Timestamp;
use headwater_core::header::{Headers, HeadersBuilder};
use headwater_core::record::Record;

use crate::aggregate::{Aggregate, OldEvent};
use crate::command::{CommandId, Origin, Version};

pub(crate) use payload::{decode as decode_payload, encode as encode_payload};

/// What writes the events of a topology; a record without this stamp is foreign.
pub(crate) const WRITER_STAMP: &str = "hw1";

/// An event that cannot be written or read, in words that name it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EventError(pub(crate) String);

/// What all events of one command have in common.
pub(crate) struct Envelope<'a> {
    pub source: &'a str,
    pub aggregate: &'a str,
    pub subject: &'a str,
    pub time: Timestamp,
    pub time_text: &'a str,
    pub data_version: u32,
    pub command_id: &'a CommandId,
    pub origin: &'a Origin,
    pub count: usize,
}

impl Envelope<'_> {
    /// The record of the `index`th event of the command, which brings the aggregate to `version`.
    pub(crate) fn record<E: serde::Serialize>(
        &self,
        event: &E,
        key: Bytes,
        index: usize,
        version: Version,
    ) -> Result<Record, EventError> {
        let (type_name, value) = encode_payload(event).map_err(|e| EventError(e.to_string()))?;
        let headers = self.headers(type_name, index, version);
        Ok(Record { key: Some(key), value: Some(value.into()), headers, timestamp: self.time })
    }

    fn headers(&self, type_name: &str, index: usize, version: Version) -> Headers {
        let mut number = Decimal::default();
        let mut headers = HeadersBuilder::with_capacity(320);
        let mut put = |name: &str, value: &str| headers.add(name, Some(value.as_bytes()));
        put("ce_specversion", "1.0");
        put("ce_type", &format!("{}.{type_name}", self.aggregate));
        put("ce_source", self.source);
        put("ce_subject", self.subject);
        put("ce_id", &format!("{}.{version}", self.subject));
        put("ce_time", self.time_text);
        put("ce_dataversion", number.text(u64::from(self.data_version)));
        put("ce_sequence", number.text(version.0));
        put("content-type", "application/json");
        put("ce_correlationid", self.origin.correlation_id.as_deref().unwrap_or(self.command_id.as_str()));
        put("ce_causationid", self.origin.causation_id.as_deref().unwrap_or(self.command_id.as_str()));
        if let Some(traceparent) = &self.origin.traceparent {
            put("traceparent", traceparent);
        }
        put("hw_command_id", self.command_id.as_str());
        put("hw_writer", WRITER_STAMP);
        put("hw_index", number.text(index as u64));
        put("hw_count", number.text(self.count as u64));
        headers.build()
    }
}

/// Reads the event of a record that this kind of aggregate's shards wrote.
pub(crate) fn read<A: Aggregate>(record: &Record) -> Result<A::Event, EventError> {
    let full_type =
        record.headers.get_str("ce_type").ok_or_else(|| EventError("it has no ce_type header".into()))?;
    let type_name =
        full_type.strip_prefix(A::NAME).and_then(|rest| rest.strip_prefix('.')).ok_or_else(|| {
            EventError(format!("its type \"{full_type}\" is none of aggregate \"{}\"", A::NAME))
        })?;
    let payload = record.value.as_deref().unwrap_or(b"null");
    let version = header_number(&record.headers, "ce_dataversion").unwrap_or(1) as u32;
    read_payload::<A>(type_name, version, payload)
}

/// Reads the payload of an event of this type that a program of this version wrote.
pub(crate) fn read_payload<A: Aggregate>(
    type_name: &str,
    version: u32,
    payload: &[u8],
) -> Result<A::Event, EventError> {
    let failed =
        |e: serde_json::Error| EventError(format!("type \"{}.{type_name}\" cannot be read: {e}", A::NAME));
    if version == A::EVENT_VERSION {
        return decode_payload(type_name, payload).map_err(failed);
    }
    let payload = serde_json::from_slice(payload).map_err(failed)?;
    let new = upcast::<A>(OldEvent { version, type_name: type_name.to_owned(), payload })?;
    decode_payload(&new.type_name, new.payload.to_string().as_bytes()).map_err(failed)
}

fn upcast<A: Aggregate>(old: OldEvent) -> Result<OldEvent, EventError> {
    if old.version > A::EVENT_VERSION {
        return Err(EventError(format!(
            "type \"{}.{}\" has version {}, newer than the {} that this program knows",
            A::NAME,
            old.type_name,
            old.version,
            A::EVENT_VERSION
        )));
    }
    A::upcast(old).map_err(EventError)
}

/// The number that a header holds.
pub(crate) fn header_number(headers: &Headers, name: &str) -> Option<u64> {
    headers.get_str(name).and_then(|text| text.parse().ok())
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => time.0.to_string(),
    }
}

/// Room for a number's digits, used again and again.
#[derive(Default)]
struct Decimal(itoa::Buffer);

impl Decimal {
    fn text(&mut self, number: u64) -> &str {
        self.0.format(number)
    }
}

/// Reads a record of an events topic as an id and an event; `None` for a foreign record.
pub(crate) fn read_keyed<A: Aggregate>(
    stored: &headwater_core::record::StoredRecord,
) -> Result<Option<(A::Id, A::Event)>, String> {
    let record = &stored.record;
    let Some(key) =
        record.key.as_deref().filter(|_| record.headers.get_str("hw_writer") == Some(WRITER_STAMP))
    else {
        return Ok(None);
    };
    let id = headwater_core::key::decode_text(key).map_err(|e| e.to_string())?;
    let event = read::<A>(record).map_err(|e| e.to_string())?;
    Ok(Some((id, event)))
}
