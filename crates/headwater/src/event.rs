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
use headwater_core::header::{Headers, HeadersBuilder, WellKnown};
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
        let mut number = itoa::Buffer::new();
        let mut headers = HeadersBuilder::with_capacity(320);
        let mut put = |name: WellKnown, value: &str| headers.put(name, value.as_bytes());
        let own_id = self.command_id.as_str();
        put(name::SPEC_VERSION, "1.0");
        put(name::TYPE, &joined(self.aggregate, type_name));
        put(name::SOURCE, self.source);
        put(name::SUBJECT, self.subject);
        put(name::ID, &joined(self.subject, number.format(version.0)));
        put(name::TIME, self.time_text);
        put(name::DATA_VERSION, number.format(self.data_version));
        put(name::SEQUENCE, number.format(version.0));
        put(name::CONTENT_TYPE, "application/json");
        put(name::CORRELATION_ID, self.origin.correlation_id.as_deref().unwrap_or(own_id));
        put(name::CAUSATION_ID, self.origin.causation_id.as_deref().unwrap_or(own_id));
        if let Some(traceparent) = &self.origin.traceparent {
            put(name::TRACEPARENT, traceparent);
        }
        put(name::COMMAND_ID, own_id);
        put(name::WRITER, WRITER_STAMP);
        put(name::INDEX, number.format(index));
        put(name::COUNT, number.format(self.count));
        headers.build()
    }
}

/// The names of an event's headers.
pub(crate) mod name {
    use headwater_core::header::WellKnown;

    pub(crate) const SPEC_VERSION: WellKnown = WellKnown::of("ce_specversion");
    pub(crate) const TYPE: WellKnown = WellKnown::of("ce_type");
    pub(crate) const SOURCE: WellKnown = WellKnown::of("ce_source");
    pub(crate) const SUBJECT: WellKnown = WellKnown::of("ce_subject");
    pub(crate) const ID: WellKnown = WellKnown::of("ce_id");
    pub(crate) const TIME: WellKnown = WellKnown::of("ce_time");
    pub(crate) const DATA_VERSION: WellKnown = WellKnown::of("ce_dataversion");
    pub(crate) const SEQUENCE: WellKnown = WellKnown::of("ce_sequence");
    pub(crate) const CONTENT_TYPE: WellKnown = WellKnown::of("content-type");
    pub(crate) const CORRELATION_ID: WellKnown = WellKnown::of("ce_correlationid");
    pub(crate) const CAUSATION_ID: WellKnown = WellKnown::of("ce_causationid");
    pub(crate) const TRACEPARENT: WellKnown = WellKnown::of("traceparent");
    pub(crate) const COMMAND_ID: WellKnown = WellKnown::of("hw_command_id");
    pub(crate) const WRITER: WellKnown = WellKnown::of("hw_writer");
    /// The record's index within its command, per target partition.
    pub(crate) const INDEX: WellKnown = WellKnown::of("hw_index");
    /// How many records its command has in this partition.
    pub(crate) const COUNT: WellKnown = WellKnown::of("hw_count");
    /// The version that an aggregate's caller expects.
    pub(crate) const EXPECTED_VERSION: WellKnown = WellKnown::of("hw_expected_version");
}

/// `a.b`
fn joined(a: &str, b: &str) -> String {
    let mut text = String::with_capacity(a.len() + 1 + b.len());
    text.push_str(a);
    text.push('.');
    text.push_str(b);
    text
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
    let version = header_number(&record.headers, name::DATA_VERSION).unwrap_or(1) as u32;
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
pub(crate) fn header_number(headers: &Headers, name: WellKnown) -> Option<u64> {
    std::str::from_utf8(headers.known(name)?).ok()?.parse().ok()
}

/// Whether a record was written by the shards of an aggregate; another one is foreign.
pub(crate) fn is_ours(record: &Record) -> bool {
    record.headers.known(name::WRITER) == Some(WRITER_STAMP.as_bytes())
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => time.0.to_string(),
    }
}

/// Reads a record of an events topic as an id and an event; `None` for a foreign record.
pub(crate) fn read_keyed<A: Aggregate>(
    stored: &headwater_core::record::StoredRecord,
) -> Result<Option<(A::Id, A::Event)>, String> {
    let record = &stored.record;
    let Some(key) = record.key.as_deref().filter(|_| is_ours(record)) else {
        return Ok(None);
    };
    let id = headwater_core::key::decode_text(key).map_err(|e| e.to_string())?;
    let event = read::<A>(record).map_err(|e| e.to_string())?;
    Ok(Some((id, event)))
}
