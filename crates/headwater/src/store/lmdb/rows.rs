//! What a store's rows look like.
//!
//! ```text
//! key                          value, each behind its seal
//! 00                           JSON: format version, names of the tables (a name's place is its number)
//! 01                           id:u64 of the engine transaction that wrote last
//! 02 shard:u32                 tables:u16 (number:u8 rows:u64)* position_length:u32 position note
//! 03 shard:u32 table:u8 key    a value of a table
//!
//! seal = crc32c:u32 over the whole key and the value behind it
//! ```
//!
//! Numbers in keys are big-endian, those in values little-endian. The position is JSON.

use bytes::Bytes;
use headwater_core::position::Position;
use headwater_core::store::Checkpoint;
use headwater_core::topic::Partition;
use serde::{Deserialize, Serialize};

/// The format that this code writes, and the newest that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;

pub(super) const HEADER_KEY: [u8; 1] = [0];
pub(super) const WRITER_KEY: [u8; 1] = [1];
const CHECKPOINT: u8 = 2;
const VALUE: u8 = 3;

const SEAL_BYTES: usize = 4;
const PREFIX_BYTES: usize = 6;

/// The row that says what the others are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) tables: Vec<String>,
}

pub(super) fn checkpoint_key(shard: Partition) -> [u8; 5] {
    let [a, b, c, d] = shard.0.to_be_bytes();
    [CHECKPOINT, a, b, c, d]
}

/// Where the values of a table of a shard begin.
pub(super) fn table_prefix(shard: Partition, table: u8) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = shard.0.to_be_bytes();
    [VALUE, a, b, c, d, table]
}

/// The smallest key above every key of the table; a table's last number is followed by the next shard's first.
pub(super) fn table_end(shard: Partition, table: u8) -> [u8; PREFIX_BYTES] {
    match table.checked_add(1) {
        Some(next) => table_prefix(shard, next),
        None => shard_end(shard),
    }
}

/// The smallest key above every value of the shard.
pub(super) fn shard_end(shard: Partition) -> [u8; PREFIX_BYTES] {
    match shard.0.checked_add(1) {
        Some(next) => table_prefix(Partition(next), 0),
        None => [VALUE + 1, 0, 0, 0, 0, 0],
    }
}

/// The row's key, in `out`.
pub(super) fn value_key<'a>(shard: Partition, table: u8, key: &[u8], out: &'a mut Vec<u8>) -> &'a [u8] {
    out.clear();
    out.extend_from_slice(&table_prefix(shard, table));
    out.extend_from_slice(key);
    out
}

/// The part of a row's key that is the table's key.
pub(super) fn key_of_value(key: &[u8]) -> &[u8] {
    key.get(PREFIX_BYTES..).unwrap_or_default()
}

/// Which shard, and which table of it, a row belongs to.
pub(super) fn place_of(key: &[u8]) -> Option<(Partition, Option<u8>)> {
    let (kind, rest) = key.split_first()?;
    let (shard, rest) = rest.split_first_chunk()?;
    let shard = Partition(u32::from_be_bytes(*shard));
    match *kind {
        CHECKPOINT => Some((shard, None)),
        VALUE => Some((shard, Some(*rest.first()?))),
        _ => None,
    }
}

/// The value behind its seal, in `out`.
pub(super) fn seal<'a>(key: &[u8], value: &[u8], out: &'a mut Vec<u8>) -> &'a [u8] {
    out.clear();
    out.extend_from_slice(&checksum(key, value).to_le_bytes());
    out.extend_from_slice(value);
    out
}

/// The value behind a seal; `None` if the seal is broken.
pub(super) fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (seal, value) = sealed.split_first_chunk::<SEAL_BYTES>()?;
    (u32::from_le_bytes(*seal) == checksum(key, value)).then_some(value)
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

/// What is kept of a shard beside its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ShardRow {
    pub(super) checkpoint: Checkpoint,
    /// Rows per table number; a table that is not named has none.
    pub(super) counts: Vec<(u8, u64)>,
}

impl ShardRow {
    pub(super) fn count(&self, table: u8) -> u64 {
        self.counts.iter().find(|(number, _)| *number == table).map_or(0, |(_, rows)| *rows)
    }

    pub(super) fn set_count(&mut self, table: u8, rows: u64) {
        self.counts.retain(|(number, _)| *number != table);
        self.counts.push((table, rows));
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let position = serde_json::to_vec(&self.checkpoint.position)
            .expect("a position is names and numbers, which JSON holds");
        let mut out = Vec::with_capacity(position.len() + self.checkpoint.note.len() + 64);
        out.extend_from_slice(&(self.counts.len() as u16).to_le_bytes());
        for (table, rows) in &self.counts {
            out.push(*table);
            out.extend_from_slice(&rows.to_le_bytes());
        }
        out.extend_from_slice(&(position.len() as u32).to_le_bytes());
        out.extend_from_slice(&position);
        out.extend_from_slice(&self.checkpoint.note);
        out
    }

    /// The row in `bytes`; `None` if they are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tables, mut rest) = bytes.split_first_chunk()?;
        let mut counts = Vec::new();
        for _ in 0..u16::from_le_bytes(*tables) {
            let (table, after) = rest.split_first()?;
            let (rows, after) = after.split_first_chunk()?;
            counts.push((*table, u64::from_le_bytes(*rows)));
            rest = after;
        }
        let (length, rest) = rest.split_first_chunk()?;
        let (position, note) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let position: Position = serde_json::from_slice(position).ok()?;
        let note = Bytes::copy_from_slice(note);
        Some(Self { checkpoint: Checkpoint { position, note }, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_ends_before_the_next_begins() {
        for shard in [0, 7, u32::MAX - 1, u32::MAX].map(Partition) {
            for table in [0, 1, 254, 255] {
                let (start, end) = (table_prefix(shard, table), table_end(shard, table));
                let longest = [&start[..], &[0xff; 1_900]].concat();
                assert!(start[..] < longest[..] && longest[..] < end[..]);
                assert!(end <= shard_end(shard));
                assert_eq!(place_of(&longest), Some((shard, Some(table))));
            }
        }
    }

    #[test]
    fn a_seal_holds_its_own_key_and_value_only() {
        let (mut out, value) = (Vec::new(), b"value");
        let sealed = seal(b"key", value, &mut out).to_vec();
        assert_eq!(unseal(b"key", &sealed), Some(&value[..]));
        assert_eq!(unseal(b"kez", &sealed), None);
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(b"key", &flipped), None, "bit {bit}");
        }
        assert_eq!(unseal(b"key", b"abc"), None);
    }

    #[test]
    fn a_shard_row_comes_back_and_a_cut_one_does_not() {
        let mut row = ShardRow::default();
        row.checkpoint.note = Bytes::from_static(b"note");
        row.set_count(3, 7);
        row.set_count(0, u64::MAX);
        row.set_count(3, 8);
        let bytes = row.encode();
        assert_eq!(ShardRow::decode(&bytes), Some(row));
        let without_note = bytes.len() - 4;
        assert!((0..without_note).all(|length| ShardRow::decode(&bytes[..length]).is_none()));
    }
}
