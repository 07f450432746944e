//! In which order records of several inputs are taken, and when an input is waited for.

use headwater_core::clock::Timestamp;
use headwater_core::header::Headers;
use headwater_core::record::Record;
use headwater_core::topic::TopicName;

use super::*;
use crate::log::memory::{MemoryLog, MemoryOptions};

/// Two inputs that were read: of each the times of the records that wait, and how many more are known of.
fn inputs(of: [(&[i64], u64); 2], patience: Duration) -> Inputs {
    let input = |(index, (times, unread)): (usize, (&[i64], u64))| {
        let partition = TopicName::new(format!("source-{index}")).unwrap().partition(0);
        let mut input = Input::new(partition, Offset(0), Offset(0));
        let records: Vec<_> = (0..).zip(times).map(|(at, time)| record(at, *time, (0, 1))).collect();
        let (next, end) = (Offset(records.len() as u64), Offset(records.len() as u64 + unread));
        input.take_in(ReadBatch { records, next, end });
        input
    };
    let log = Arc::new(MemoryLog::new(MemoryOptions::default()));
    Inputs::new(log, of.into_iter().enumerate().map(input).collect(), patience)
}

fn record(at: u64, time: i64, (index, count): (u64, u64)) -> StoredRecord {
    let headers = Headers::builder().push("hw_index", index.to_string()).push("hw_count", count.to_string());
    let record = Record { timestamp: Timestamp(time), headers: headers.build(), ..Record::default() };
    StoredRecord { offset: Offset(at), record }
}

fn taken(inputs: &mut Inputs) -> Vec<(usize, i64)> {
    inputs.take().into_iter().map(|(source, stored)| (source, stored.record.timestamp.0)).collect()
}

#[test]
fn records_are_taken_in_the_order_of_their_times_until_one_of_unread_ones_may_come_first() {
    type Case<'a> = ([(&'a [i64], u64); 2], &'a [(usize, i64)], [u64; 2]);
    let cases: [Case<'_>; 6] = [
        ([(&[], 0), (&[], 0)], &[], [0, 0]),
        ([(&[1, 5], 0), (&[2, 3, 9], 0)], &[(0, 1), (1, 2), (1, 3), (0, 5), (1, 9)], [2, 3]),
        // Of equal times the first source's; and a time that goes back waits behind what came before it.
        ([(&[4, 1], 0), (&[4, 2], 0)], &[(0, 4), (0, 1), (1, 4), (1, 2)], [2, 2]),
        // Nothing waits of the second, and nothing more is known of.
        ([(&[1, 2], 7), (&[], 0)], &[(0, 1), (0, 2)], [2, 0]),
        // The second has records that were not read: each of them may be the earliest.
        ([(&[1, 2], 0), (&[], 1)], &[], [0, 0]),
        ([(&[1, 6], 0), (&[2, 3], 1)], &[(0, 1), (1, 2), (1, 3)], [1, 2]),
    ];
    for (of, expected, offsets) in cases {
        let mut inputs = inputs(of, Duration::ZERO);
        assert_eq!(taken(&mut inputs), expected, "{of:?}");
        assert_eq!(inputs.offsets(), offsets.map(Offset), "{of:?}");
    }
}

#[test]
fn a_command_is_taken_whole_and_its_end_is_waited_for() {
    let mut inputs = inputs([(&[], 0), (&[4], 0)], Duration::ZERO);
    let records = [(3, (0, 2)), (9, (1, 2)), (5, (0, 2))].into_iter().zip(0..);
    let records = records.map(|((time, place), at)| record(at, time, place)).collect();
    inputs.inputs[0].take_in(ReadBatch { records, next: Offset(3), end: Offset(4) });
    assert_eq!(taken(&mut inputs), [(0, 3), (0, 9)], "what comes next of the first is not whole yet");
    assert_eq!(inputs.offsets(), [Offset(2), Offset(0)]);
    assert_eq!(inputs.behind(), 3);
    let records = vec![record(2, 5, (0, 2)), record(3, 5, (1, 2))];
    inputs.inputs[0].take_in(ReadBatch { records, next: Offset(4), end: Offset(4) });
    assert_eq!(taken(&mut inputs), [(1, 4), (0, 5), (0, 5)]);
}

#[test]
fn a_command_that_is_longer_than_a_read_is_read_at_once_in_the_end() {
    let mut inputs = inputs([(&[], 0), (&[], 0)], Duration::ZERO);
    let before = inputs.inputs[0].limit;
    inputs.inputs[0].take_in(ReadBatch {
        records: vec![record(0, 1, (0, 2))],
        next: Offset(1),
        end: Offset(2),
    });
    assert_eq!(inputs.inputs[0].limit.records, 2 * before.records);
    assert_eq!(inputs.offsets(), [Offset(0), Offset(0)]);
}

#[tokio::test(start_paused = true)]
async fn an_input_with_nothing_is_waited_for_as_long_as_the_app_asks() {
    let patience = Duration::from_millis(50);
    let mut inputs = inputs([(&[1], 0), (&[], 0)], patience);
    assert_eq!(taken(&mut inputs), []);
    let begun = Instant::now();
    // Both topics are missing in the log of this test: what fails is asked again.
    while taken(&mut inputs).is_empty() {
        let _ = inputs.more().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() >= patience, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_input_that_runs_dry_in_the_middle_is_waited_for_there_and_in_vain_only_once() {
    let patience = Duration::from_millis(50);
    let mut inputs = inputs([(&[1, 6, 8], 0), (&[2], 0)], patience);
    let feed = |inputs: &mut Inputs, source: usize, at: u64, time| {
        let records = vec![record(at, time, (0, 1))];
        inputs.inputs[source].take_in(ReadBatch { records, next: Offset(at + 1), end: Offset(at + 1) });
    };
    assert_eq!(taken(&mut inputs), [(0, 1), (1, 2)], "the second may still have something before the 6");
    assert_eq!(inputs.offsets(), [Offset(1), Offset(1)], "the batch ends there");
    assert_eq!(taken(&mut inputs), []);
    feed(&mut inputs, 1, 1, 7);
    assert_eq!(taken(&mut inputs), [(0, 6), (1, 7)]);
    assert_eq!(taken(&mut inputs), [], "it ran dry again");
    tokio::time::sleep(patience).await;
    assert_eq!(taken(&mut inputs), [(0, 8)]);
    feed(&mut inputs, 0, 3, 9);
    assert_eq!(taken(&mut inputs), [(0, 9)], "it was empty before this batch, and waited for");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_ends_before_more_is_waited_for_is_not_forgotten() {
    let patience = Duration::from_millis(50);
    let mut inputs = inputs([(&[1], 0), (&[], 0)], patience);
    for source in &mut inputs.inputs {
        source.read = Some(Box::pin(std::future::pending()));
    }
    assert_eq!(taken(&mut inputs), []);
    tokio::time::advance(patience).await;
    let more = tokio::time::timeout(patience, inputs.more()).await;
    assert!(more.is_ok(), "nothing is read, and the wait is over");
    assert_eq!(taken(&mut inputs), [(0, 1)]);
}
