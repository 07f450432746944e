//! Batches as they lie on the wire: damaged, cut, large, and gone.

use std::sync::Arc;

use headwater_core::log::{LogErrorKind, ReadLimit};
use headwater_core::record::StoredRecord;
use headwater_core::topic::TopicName;
use krafka::__private::protocol::RecordBatchBuilder;

use super::super::chunk::Budget;
use super::super::cursor::Lease;
use super::super::partition::Partition;
use super::super::wire::Batches;
use super::*;

/// A batch of three records at an offset.
fn batch(offset: i64, compression: Compression) -> Vec<u8> {
    let header = (Bytes::from("ce_id"), Some(Bytes::from("7")));
    let batch = RecordBatchBuilder::new()
        .compression(compression)
        .base_timestamp(1_000)
        .add_record(Some("key"), Some("value"))
        .add_record_with_headers(Some("k"), Some("v"), vec![header])
        .add_record(None::<Bytes>, None::<Bytes>)
        .build();
    let mut bytes = batch.encode().unwrap().to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes
}

fn chunk(from: i64, bytes: Vec<u8>) -> Option<Arc<Chunk>> {
    let batches = Batches { bytes: bytes.into(), ..Batches::default() };
    Chunk::of(from, &batches, &Budget::new(0)).map(Arc::new)
}

/// All that the batches have from an offset on.
fn decoded(from: i64, bytes: Vec<u8>) -> Result<Vec<StoredRecord>, Damage> {
    let mut records = Vec::new();
    if let Some(chunk) = chunk(from, bytes) {
        let mut decoder = Decoder::new(chunk);
        while decoder.next(from, &mut records)?.is_some() {}
    }
    Ok(records)
}

fn offsets(records: &[StoredRecord]) -> Vec<u64> {
    records.iter().map(|stored| stored.offset.0).collect()
}

#[test]
fn no_flipped_bit_is_served() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4] {
        let whole = batch(5, compression);
        assert_eq!(offsets(&decoded(5, whole.clone()).unwrap()), [5, 6, 7]);
        // What lies before the magic byte is the broker's own, set when it appends, and not checked by anybody.
        for (at, bit) in (16..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            let served = decoded(5, flipped).unwrap_or_default();
            assert!(served.is_empty(), "{compression:?}: bit {bit} of byte {at}: {served:?}");
        }
    }
}

#[test]
fn a_batch_that_was_cut_off_is_left_for_the_next_fetch() {
    let (first, both) =
        (batch(0, Compression::None).len(), [batch(0, Compression::None), batch(3, Compression::Lz4)]);
    let both = both.concat();
    for cut in 0..=both.len() {
        let whole = match cut {
            cut if cut < first => 0,
            cut if cut < both.len() => 3,
            _ => 6,
        };
        let records = decoded(0, both[..cut].to_vec()).unwrap();
        assert_eq!(offsets(&records), (0..whole).collect::<Vec<_>>(), "cut at {cut}");
        assert_eq!(chunk(0, both[..cut].to_vec()).map_or(0, |chunk| chunk.next), whole as i64);
    }
}

#[test]
fn records_below_the_offset_asked_for_are_left_out() {
    let both = [batch(0, Compression::None), batch(10, Compression::Gzip)].concat();
    for (from, expected) in
        [(0, &[0, 1, 2, 10, 11, 12][..]), (2, &[2, 10, 11, 12]), (5, &[10, 11, 12]), (12, &[12])]
    {
        assert_eq!(offsets(&decoded(from, both.clone()).unwrap()), expected);
    }
}

#[test]
fn what_lies_before_damage_is_read_and_the_damage_is_named() {
    let mut bytes = [batch(0, Compression::None), batch(3, Compression::None)].concat();
    *bytes.last_mut().unwrap() ^= 1;
    let partition = Arc::new(Partition::new(TopicName::new("damaged").unwrap().partition(4)));
    let mut lease = Lease::new(Arc::clone(&partition), 0);
    let accept = |id| {
        let mut state = partition.lock();
        let cursor = state.cursor(id).unwrap();
        cursor.accept(&chunk(cursor.reach, bytes.clone()).unwrap(), None)
    };
    assert!(accept(lease.id));
    assert_eq!(offsets(&lease.take(ReadLimit::default()).unwrap()), [0, 1, 2]);
    for _ in 0..2 {
        let error = lease.take(ReadLimit::default()).unwrap_err();
        assert_eq!(error.kind(), LogErrorKind::Corrupt);
        assert!(error.to_string().contains("offset 3 of damaged-4"), "{error}");
        // It is fetched again, perhaps from a replica that has it whole.
        assert!(accept(lease.id));
    }
}

#[test]
fn where_nothing_is_left_the_position_moves_on() {
    let partition = Arc::new(Partition::new(TopicName::new("hole").unwrap().partition(0)));
    let mut lease = Lease::new(Arc::clone(&partition), 7);
    let hole = Arc::new(Chunk::hole(7, 20, &Budget::new(0)));
    partition.lock().cursor(lease.id).unwrap().accept(&hole, None);
    assert!(lease.take(ReadLimit::default()).unwrap().is_empty());
    assert_eq!(lease.at, 20);
}

#[test]
fn a_record_that_is_kept_keeps_little_beside_itself() {
    for compression in [Compression::None, Compression::Lz4] {
        let value = Bytes::from(vec![7; 1_000]);
        let records = (0..2_000).fold(RecordBatchBuilder::new().compression(compression), |batch, _| {
            batch.add_record(None::<Bytes>, Some(value.clone()))
        });
        let records = decoded(0, records.build().encode().unwrap().to_vec()).unwrap();
        let mut values: Vec<_> = records.iter().filter_map(|stored| stored.record.value.as_ref()).collect();
        assert_eq!(values.len(), 2_000);
        values.sort_by_key(|value| value.as_ptr());
        // What lies back to back lies in one buffer.
        let buffers = values.chunk_by(|a, b| a.as_ptr_range().end == b.as_ptr());
        assert!(buffers.map(|values| values.len() * 1_000).max().unwrap() <= RUN_BYTES);
    }
}
