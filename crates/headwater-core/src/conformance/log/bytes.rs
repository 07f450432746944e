//! Rules about the bytes of records: what comes back is what was written.

use ::bytes::Bytes;

use super::ground::{Ground, TIME, Verdict, ensure, same};
use crate::clock::Timestamp;
use crate::header::Headers;
use crate::record::{Append, Record};
use crate::topic::TopicPartition;

/// The largest value tried: what a Kafka broker takes unless told otherwise, with room for the rest of the record.
const VALUE_BYTES_MAX: usize = 900_000;

pub(super) async fn records_come_back_byte_for_byte(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    let (shards, mut writer) = ground.writer().await?;
    let records = peculiar_records();
    ground.log.append(to(&at, &records)).await?;
    writer.commit(shards.transaction(0, 1, to(&at, &records))).await?;
    let found = ground.records(&at).await?;
    same("how many records", found.len(), 2 * records.len())?;
    for (stored, written) in found.iter().zip(records.iter().cycle()) {
        same(&format!("the record at {}", stored.offset), &stored.record, written)?;
    }
    Ok(())
}

pub(super) async fn large_records_come_back_whole(ground: Ground<'_>) -> Verdict {
    let at = ground.partition().await?;
    let (shards, mut writer) = ground.writer().await?;
    let mut written = Vec::new();
    for size in [0, 1, 1_899, 1_985, 2_047, 4_000, 4_096, 4_097, 8_192, 65_536, VALUE_BYTES_MAX] {
        let record = Record { value: Some(noise(size)), ..Record::new("large", "", TIME) };
        ground.log.append(to(&at, std::slice::from_ref(&record))).await?;
        writer.commit(shards.transaction(0, 1, to(&at, std::slice::from_ref(&record)))).await?;
        written.extend([record.clone(), record]);
    }
    let found = ground.records(&at).await?;
    same("how many records", found.len(), written.len())?;
    for (stored, written) in found.iter().zip(&written) {
        // Not by `same`: nobody wants to read a message of a megabyte.
        ensure!(stored.record == *written, "the record of {} bytes came back changed", written.size());
    }
    Ok(())
}

fn to(at: &TopicPartition, records: &[Record]) -> Vec<Append> {
    records.iter().map(|record| Append { to: at.clone(), record: record.clone() }).collect()
}

/// Bytes without a pattern that a page, a chunk or a checksum could share.
fn noise(size: usize) -> Bytes {
    let mut state = size as u32 | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn peculiar_records() -> Vec<Record> {
    let some = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let all_bytes = || Some((0..=255).collect::<Bytes>());
    let plain = |key, value| Record { key, value, headers: Headers::empty(), timestamp: TIME };
    let mut records: Vec<Record> =
        [None, some(b""), some(b"\0"), some("schlüssel 🗝".as_bytes()), all_bytes()]
            .into_iter()
            .flat_map(|key| {
                [None, some(b""), some(b"value"), all_bytes()].map(|value| plain(key.clone(), value))
            })
            .collect();
    records
        .extend(peculiar_headers().map(|headers| Record { headers, ..plain(some(b"key"), some(b"value")) }));
    let times = [0, 1, 951_782_400_123].map(Timestamp);
    records.extend(times.map(|timestamp| Record { timestamp, ..plain(some(b"key"), some(b"value")) }));
    records
}

fn peculiar_headers() -> [Headers; 4] {
    let mut nulls = Headers::builder().push("empty", "");
    nulls.add("null", None);
    nulls.add("ce_id", None);
    let repeated =
        ["1", "2", "1", ""].iter().fold(Headers::builder(), |all, value| all.push("ce_type", value));
    let foreign = Headers::builder().push("größe", (0..=255).collect::<Vec<u8>>()).push("ce_id", "7");
    let many = (0..100).fold(Headers::builder(), |all, n| all.push(&format!("header-{n}"), n.to_string()));
    [nulls.build(), repeated.build(), foreign.build(), many.build()]
}
