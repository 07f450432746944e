//! Watching the ends of partitions: one request to each broker that waits for all of them.
//!
//! While a request waits at the broker, nothing can be added to it, and nothing else is served on its socket. So two
//! tasks share the work: the **long** one has all partitions that are watched, and waits; partitions that come to be
//! watched meanwhile are watched by the **short** one, which waits for moments only, until the long one is back and
//! takes them. So a new one is watched within [`SHORT`], and an idle process sends two requests a second.
//!
//! Partitions stay watched for as long as a cursor may come back for more, so that a reader that processes what it got
//! finds the next records there already.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Shared;
use super::partition::Partition;
use super::wire::{Answer, Ask, Lane};

/// How long the long request waits.
const LONG: Duration = Duration::from_millis(500);
/// How long the short request waits.
const SHORT: Duration = Duration::from_millis(5);
/// After a broker did not answer.
const PAUSE: Duration = Duration::from_millis(50);
/// The most that one answer brings of all partitions.
const BYTES_MAX: i32 = 8 << 20;

/// The partitions that are watched at one broker.
pub(super) struct Tail {
    broker: i32,
    /// Those that the long request has.
    settled: Mutex<Vec<Arc<Partition>>>,
    /// Those that came since it was sent.
    joining: Mutex<Vec<Arc<Partition>>>,
    long: Notify,
    short: Notify,
}

impl Tail {
    pub(super) fn new(broker: i32) -> Arc<Self> {
        Arc::new(Self {
            broker,
            settled: Mutex::default(),
            joining: Mutex::default(),
            long: Notify::new(),
            short: Notify::new(),
        })
    }

    /// Watches a partition from now on.
    pub(super) fn join(&self, partition: &Arc<Partition>) {
        add(&mut self.joining.lock(), partition);
        self.long.notify_one();
        self.short.notify_one();
    }

    /// Watches with the long request, for ever.
    pub(super) async fn run_long(self: Arc<Self>, shared: Arc<Shared>) {
        loop {
            let asked = self.settle();
            if asked.is_empty() {
                self.long.notified().await;
                continue;
            }
            self.fetch(&shared, Lane::Tail, asked, LONG).await;
        }
    }

    /// Watches with short requests what the long one does not have yet, for ever.
    pub(super) async fn run_short(self: Arc<Self>, shared: Arc<Shared>) {
        loop {
            let joining = self.joining.lock().clone();
            let asked = self.ask(joining.iter());
            if asked.is_empty() {
                self.short.notified().await;
                continue;
            }
            self.fetch(&shared, Lane::Join, asked, SHORT).await;
        }
    }

    /// Takes what has joined, lets go of what nobody needs any more, and says what the long request asks.
    fn settle(&self) -> Vec<(Arc<Partition>, Ask)> {
        let mut settled = self.settled.lock();
        for partition in self.joining.lock().drain(..) {
            add(&mut settled, &partition);
        }
        let asked = self.ask(settled.iter());
        for (partition, ask) in &asked {
            partition.tail_asked(Some(ask.from));
        }
        // Another order each time, since the limit of bytes is used up in the order asked for.
        *settled = asked.iter().map(|(partition, _)| Arc::clone(partition)).collect();
        if !settled.is_empty() {
            settled.rotate_left(1);
        }
        asked
    }

    fn ask<'a>(&self, partitions: impl Iterator<Item = &'a Arc<Partition>>) -> Vec<(Arc<Partition>, Ask)> {
        partitions
            .filter_map(|partition| Some((Arc::clone(partition), partition.tail_ask(self.broker)?)))
            .collect()
    }

    async fn fetch(&self, shared: &Shared, lane: Lane, asked: Vec<(Arc<Partition>, Ask)>, wait: Duration) {
        let asks: Vec<Ask> = asked.iter().map(|(_, ask)| ask.clone()).collect();
        let fetched = shared.wire.fetch(lane, self.broker, &asks, wait, BYTES_MAX).await;
        if lane == Lane::Tail {
            asked.iter().for_each(|(partition, _)| partition.tail_asked(None));
        }
        let Ok(answers) =
            fetched.inspect_err(|error| tracing::debug!(broker = self.broker, ?error, "no fetch"))
        else {
            asked.iter().for_each(|(partition, _)| partition.tail_failed(self.broker));
            return tokio::time::sleep(PAUSE).await;
        };
        let filled = |(_, answer): &&(_, Answer)| matches!(answer, Answer::Batches(batches) if !batches.bytes.is_empty());
        // One partition's records, should they be held for long, must not hold what came with them for others.
        let crowded = answers.iter().filter(filled).count() > 1;
        for (name, answer) in answers {
            let Some((partition, ask)) = asked.iter().find(|(partition, _)| partition.name == name) else {
                continue;
            };
            match answer {
                Answer::Batches(mut batches) => {
                    // Nothing new is an answer, too, which the reads that wait are not told.
                    shared.outage.answers(&partition.name);
                    if crowded {
                        batches.bytes = Bytes::copy_from_slice(&batches.bytes);
                    }
                    let place = partition.lock().place;
                    if place.is_some_and(|place| place.topic_id == ask.place.topic_id) {
                        partition.tail_batches(ask.from, &batches, &shared.budget);
                    }
                }
                _ => partition.tail_failed(self.broker),
            }
        }
    }
}

fn add(partitions: &mut Vec<Arc<Partition>>, partition: &Arc<Partition>) {
    if !partitions.iter().any(|there| Arc::ptr_eq(there, partition)) {
        partitions.push(Arc::clone(partition));
    }
}
