//! Records on their way out, as the client takes them.

use bytes::Bytes;
use headwater_core::header::Headers;
use headwater_core::record::{Append, Record};
use headwater_core::topic::TopicPartition;

use crate::bounds::partition_id;

/// A record for exactly the partition that it was given for.
pub(crate) fn outgoing(append: &Append) -> krafka::Record {
    let Record { key, value, headers, timestamp } = &append.record;
    let mut outgoing = empty(&append.to);
    outgoing.key.clone_from(key);
    outgoing.value.clone_from(value);
    outgoing.timestamp = Some(timestamp.0);
    outgoing.headers = headers_of(headers);
    outgoing
}

/// A record without headers, at the time when it is sent.
pub(crate) fn plain(to: &TopicPartition, key: Bytes, value: Bytes) -> krafka::Record {
    let mut outgoing = empty(to);
    outgoing.key = Some(key);
    outgoing.value = Some(value);
    outgoing
}

fn empty(to: &TopicPartition) -> krafka::Record {
    krafka::Record::new(to.topic.as_str(), Bytes::new()).partition(partition_id(to))
}

/// The values share the record's own buffer.
fn headers_of(headers: &Headers) -> krafka::Headers {
    let encoded = headers.encoded();
    headers
        .iter()
        .map(|(name, value)| (name.to_owned(), value.map(|value| encoded.slice_ref(value))))
        .collect()
}
