//! Where a batch of records may end: never between two records of one command.
//!
//! A fetch can end anywhere. Each record that a shard writes carries its index and count within its command per target
//! partition (`hw_index`, `hw_count`); a record without them stands alone.

use headwater_core::record::StoredRecord;

use crate::event::{header_number, name};

/// How many of `records` form whole commands: the length of the longest prefix that ends with one.
///
/// The records begin with the first record of a command.
pub(crate) fn whole_commands(records: &[StoredRecord]) -> usize {
    let Some(last) = records.last() else { return 0 };
    let (index, count) = place(last);
    if index.saturating_add(1) >= count { records.len() } else { command_start(records, records.len() - 1) }
}

/// The index of the first record of the command that `records[at]` belongs to.
pub(crate) fn command_start(records: &[StoredRecord], at: usize) -> usize {
    let (index, _) = place(&records[at]);
    at.saturating_sub(index as usize)
}

/// Whether a record belongs to the command of the one before it.
pub(crate) fn continues_command(record: &StoredRecord) -> bool {
    place(record).0 > 0
}

fn place(record: &StoredRecord) -> (u64, u64) {
    let headers = &record.record.headers;
    (header_number(headers, name::INDEX).unwrap_or(0), header_number(headers, name::COUNT).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use headwater_core::header::Headers;
    use headwater_core::record::Record;
    use headwater_core::topic::Offset;

    use super::*;

    fn records(places: &[(u64, u64)]) -> Vec<StoredRecord> {
        let headers = |index: u64, count: u64| {
            Headers::builder().push("hw_index", index.to_string()).push("hw_count", count.to_string()).build()
        };
        let record = |(i, (index, count)): (usize, &(u64, u64))| StoredRecord {
            offset: Offset(i as u64),
            record: Record { headers: headers(*index, *count), ..Record::default() },
        };
        places.iter().enumerate().map(record).collect()
    }

    #[test]
    fn a_batch_ends_with_a_whole_command() {
        let cases: [(&[(u64, u64)], usize); 6] = [
            (&[], 0),
            (&[(0, 1)], 1),
            (&[(0, 2)], 0),
            (&[(0, 2), (1, 2)], 2),
            (&[(0, 1), (0, 3), (1, 3)], 1),
            (&[(0, 1), (0, 3), (1, 3), (2, 3)], 4),
        ];
        for (places, whole) in cases {
            assert_eq!(whole_commands(&records(places)), whole, "{places:?}");
        }
    }

    #[test]
    fn a_record_without_a_place_stands_alone() {
        let plain = [StoredRecord { offset: Offset(0), record: Record::default() }];
        assert_eq!(whole_commands(&plain), 1);
    }
}
