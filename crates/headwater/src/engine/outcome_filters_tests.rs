use super::*;
use crate::engine::id_filter::IdPlaces;

const TOPIC: TopicId = TopicId(7);
const SPAN: u64 = 10;

fn outcome(offset: u64) -> StoredRecord {
    let record = Record::new(format!("id-{offset}"), "{}", Timestamp(offset as i64 * 100));
    StoredRecord { offset: Offset(offset), record }
}

fn outcomes(offsets: std::ops::Range<u64>) -> Vec<StoredRecord> {
    offsets.map(outcome).collect()
}

fn filtered(from: u64, until: u64) -> Filtered {
    Filtered { of: TOPIC, from: Offset(from), until: Offset(until) }
}

/// The stretch that begins at an offset, with the outcomes from there up to another.
fn made(from: u64, until: u64) -> FilterInMaking {
    let mut making = FilterInMaking::containing(Offset(from), SPAN);
    making.take(&outcomes(from..until), Offset(until));
    making
}

fn written(making: &FilterInMaking) -> Record {
    let (mut records, _) = making.records(TOPIC, None, Offset::ZERO, Timestamp(5));
    records.pop().unwrap()
}

fn read(records: &[Record], known: Filtered) -> Vec<OutcomeFilter> {
    let mut filters = OutcomeFilters::default();
    records.iter().for_each(|record| filters.take(record, known).unwrap());
    filters.into_filters().collect()
}

#[test]
fn a_filter_is_read_as_it_was_written_with_every_id_of_its_stretch() {
    let making = made(20, 27);
    let record = written(&making);
    assert!(is_filter(&record));
    let filters = read(&[record], filtered(20, 27));
    let [filter] = &filters[..] else { panic!("{filters:?}") };
    assert_eq!((filter.from, filter.until, filter.newest), (Offset(20), Offset(27), Timestamp(2_600)));
    let has = |n: u64| filter.ids.may_contain(IdPlaces::of(format!("id-{n}").as_bytes()));
    assert!((20..27).all(has));
    assert!(!(27..60).all(has));
}

#[test]
fn a_stretch_takes_what_is_in_it_and_nothing_behind_its_end() {
    let mut making = FilterInMaking::containing(Offset(24), SPAN);
    assert_eq!((making.until(), making.end()), (Offset(20), Offset(30)), "it begins where its stretch does");
    making.take(&outcomes(20..23), Offset(24));
    assert_eq!(making.until(), Offset(24), "markers count, too");
    making.take(&outcomes(24..40), Offset(40));
    assert_eq!(making.until(), Offset(30));
    assert_eq!(making.filter.newest, Timestamp(2_900));
}

#[test]
fn the_last_filter_of_a_stretch_counts_until_it_is_dropped() {
    let (part, whole, next) = (written(&made(0, 4)), written(&made(0, 10)), written(&made(10, 13)));
    let until = |records: &[Record], known| -> Vec<u64> {
        read(records, known).iter().map(|filter| filter.until.0).collect()
    };
    let all = [part, whole, next];
    assert_eq!(until(&all, filtered(0, 13)), [10, 13]);
    let (dropping, known) = made(10, 14).records(TOPIC, Some(filtered(0, 13)), Offset(12), Timestamp(9));
    assert_eq!(known, filtered(10, 14));
    assert_eq!(until(&[&all[..], &dropping].concat(), known), [14]);
}

#[test]
fn filters_of_other_outcomes_are_passed_over() {
    let record = written(&made(0, 10));
    assert!(read(std::slice::from_ref(&record), Filtered { of: TopicId(8), ..filtered(0, 10) }).is_empty());
    assert!(read(std::slice::from_ref(&record), filtered(0, 9)).is_empty(), "the head knows nothing of it");
    let mut later = record.value.clone().unwrap().to_vec();
    later[0] = 2;
    let later = Record { value: Some(later.into()), ..record.clone() };
    assert!(read(&[record, later], filtered(0, 10)).is_empty(), "it stands for one of a later version");
}

#[test]
fn a_damaged_filter_is_an_error() {
    let whole = written(&made(0, 10));
    let value = whole.value.clone().unwrap();
    for len in [1, 20, HEADER, value.len() - 1] {
        let damaged = Record { value: Some(value.slice(..len)), ..whole.clone() };
        let taken = OutcomeFilters::default().take(&damaged, filtered(0, 10));
        assert!(taken.is_err(), "{len} bytes");
    }
}

#[test]
fn filters_are_dropped_some_at_a_time() {
    let (records, known) =
        made(5_000, 5_001).records(TOPIC, Some(filtered(0, 5_000)), Offset(4_999), Timestamp(9));
    assert_eq!(records.iter().filter(|record| record.value.is_none()).count(), 100);
    assert_eq!(known, filtered(1_000, 5_001));
}
