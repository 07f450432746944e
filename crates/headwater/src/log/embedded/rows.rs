//! Putting records and rows: what is encoded, at its key, and the digest of all rows with it.

use headwater_core::log::Head;

use super::batch::EncodedRecord;
use super::catalogue::{Topic, head_digest, partition_digest};
use super::engine::{WriteError, Writing};
use super::format::{
    CELL_HEADER, Commit, LONG, PART_BYTES, TopicRow, WHOLE, birth_key, cell, cell_count, head_content,
    head_key, part_key, partition_content, partition_key, row_digest, topic_key, write_header,
};
use crate::log::groups::ShardId;

/// Completes the header of an encoded record and puts its cell, in parts if it is long.
pub(super) fn put_record(
    writing: &mut Writing<'_>,
    bytes: &mut [u8],
    record: &EncodedRecord,
    key: &[u8],
    time: i64,
) -> Result<(), WriteError> {
    let header = record.header();
    let kind = if header == CELL_HEADER { WHOLE } else { LONG };
    let value = &mut bytes[record.at - header..record.at + record.len];
    write_header(&mut value[..header], kind, key, time, record.crc, record.len);
    let (first, rest) = value.split_at(value.len().min(PART_BYTES));
    writing.put(key, first)?;
    for (index, part) in (1..).zip(rest.chunks(PART_BYTES)) {
        writing.put(&part_key(key, index), part)?;
    }
    Ok(())
}

/// Lays out the partitions of a new topic so that each begins on a page of its own.
///
/// Otherwise the records of one partition would for ever be inserted before the first ones of the next on the same
/// page, and the engine would leave every page that it splits half empty. Two large values fill a page, so a third is
/// split off; made small again, each birth keeps its page. The last two belong to no partition and end the topic.
pub(super) fn put_births(writing: &mut Writing<'_>, topic: &Topic) -> Result<(), WriteError> {
    let births = || (0..topic.partition_count() + 2).map(|index| birth_key(topic.number, index));
    let large = [0; PART_BYTES];
    births().try_for_each(|key| writing.put(&key, &large))?;
    births().try_for_each(|key| writing.put(&key, &[]))
}

/// Puts a row; answers how many values it took.
pub(super) fn put_row(writing: &mut Writing<'_>, key: &[u8], content: &[u8]) -> Result<usize, WriteError> {
    let values = cell(WHOLE, key, 0, content);
    for (index, value) in (0..).zip(&values) {
        if index == 0 { writing.put(key, value)? } else { writing.put(&part_key(key, index), value)? }
    }
    Ok(values.len())
}

/// Puts the row of a topic that had none, or whose old one is no longer in the digest.
pub(super) fn put_topic(
    writing: &mut Writing<'_>,
    commit: &mut Commit,
    row: &TopicRow,
    number: u32,
) -> Result<(), WriteError> {
    let (key, content) = (topic_key(number), row.content());
    commit.digest = commit.digest.wrapping_add(row_digest(&key, &content));
    put_row(writing, &key, &content).map(|_| ())
}

/// Replaces a partition's row, which says what memory says.
pub(super) fn put_partition(
    writing: &mut Writing<'_>,
    commit: &mut Commit,
    (topic, partition): (&Topic, u32),
    (start, end): (u64, u64),
) -> Result<(), WriteError> {
    let old = topic.partitions[partition as usize].bounds();
    let removed = partition_digest(topic.number, partition, old.start.0, old.end.0);
    let added = partition_digest(topic.number, partition, start, end);
    commit.digest = commit.digest.wrapping_sub(removed).wrapping_add(added);
    put_row(writing, &partition_key(topic.number, partition), &partition_content(start, end)).map(|_| ())
}

/// Replaces a shard's head.
pub(super) fn put_head(
    writing: &mut Writing<'_>,
    commit: &mut Commit,
    shard: &ShardId,
    old: Option<&Head>,
    head: &Head,
) -> Result<(), WriteError> {
    let key = head_key(&shard.group, shard.shard.0);
    commit.digest = commit.digest.wrapping_sub(head_digest(&key, old));
    commit.digest = commit.digest.wrapping_add(head_digest(&key, Some(head)));
    let count = put_row(writing, &key, &head_content(head))?;
    let old_count = old.map_or(0, |old| cell_count(head_content(old).len()));
    (count..old_count).try_for_each(|index| writing.delete(&part_key(&key, index as u32)))
}
