//! What an operator is told while the cluster does not answer: that reads fail, now and then that they still do, and
//! that they no longer do.
//!
//! Each partition is read by a task of its own, and each of them fails by itself, several times a second together, when
//! brokers are away. One outage is told by a handful of lines, however many partitions and attempts it has. What is told
//! is decided in [`State`], which is handed the time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_core::log::{LogError, LogErrorKind};
use headwater_core::topic::TopicPartition;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How often an outage that goes on is told.
const REMINDER: Duration = Duration::from_secs(60);

/// After how long without another attempt a partition is taken to be nobody's concern here any more.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// The reads that fail now.
#[derive(Default)]
pub(crate) struct Outage {
    /// Whether any does, so that a read that succeeds takes no lock.
    any: AtomicBool,
    state: Mutex<State>,
}

impl Outage {
    /// A read was answered; tells what there is to tell.
    pub(crate) fn note<T>(&self, partition: &TopicPartition, answer: &Result<T, LogError>) {
        match answer {
            Err(error) if error.kind() == LogErrorKind::Unavailable => self.failed(partition, error),
            _ => self.answers(partition),
        }
    }

    /// The cluster answers for this partition.
    pub(crate) fn answers(&self, partition: &TopicPartition) {
        if self.any.load(Ordering::Relaxed) {
            self.answered(partition);
        }
    }

    fn failed(&self, partition: &TopicPartition, error: &LogError) {
        let mut state = self.state.lock();
        self.any.store(true, Ordering::Relaxed);
        match state.failed(partition, Instant::now()) {
            Told::Nothing => {}
            Told::Began => tracing::warn!(%error, "the cluster does not answer; trying again"),
            Told::GoesOn { partitions, since } => {
                let seconds = since.as_secs();
                tracing::warn!(partitions, seconds, %error, "the cluster still does not answer; trying again");
            }
        }
    }

    fn answered(&self, partition: &TopicPartition) {
        let mut state = self.state.lock();
        if let Some(since) = state.answered(partition, Instant::now()) {
            tracing::info!(seconds = since.as_secs(), "the cluster answers again");
        }
        self.any.store(!state.failing.is_empty(), Ordering::Relaxed);
    }
}

/// Which partitions cannot be read, each with its last attempt; and since when any cannot.
#[derive(Default)]
struct State {
    failing: HashMap<TopicPartition, Instant>,
    /// When the outage began and when it was told last, while there is one.
    times: Option<(Instant, Instant)>,
}

/// What is told of a read that failed.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Began,
    GoesOn { partitions: usize, since: Duration },
}

impl State {
    fn failed(&mut self, partition: &TopicPartition, now: Instant) -> Told {
        self.failing.retain(|_, last| now - *last < FORGOTTEN);
        let times = self.times.filter(|_| !self.failing.is_empty());
        self.failing.insert(partition.clone(), now);
        let Some((began, told)) = times else {
            self.times = Some((now, now));
            return Told::Began;
        };
        if now - told < REMINDER {
            return Told::Nothing;
        }
        self.times = Some((began, now));
        Told::GoesOn { partitions: self.failing.len(), since: now - began }
    }

    /// How long the outage was that ends with this.
    fn answered(&mut self, partition: &TopicPartition, now: Instant) -> Option<Duration> {
        self.failing.remove(partition)?;
        if self.failing.is_empty() { self.times.take().map(|(began, _)| now - began) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use headwater_core::topic::TopicName;

    use super::*;
    use Told::{Began, GoesOn, Nothing};

    /// What happens to a partition, so many seconds after the start.
    enum Step {
        Fails(u64, u32, Told),
        Answers(u64, u32, Option<u64>),
    }
    use Step::{Answers, Fails};

    fn check(steps: impl IntoIterator<Item = Step>) {
        let topic = TopicName::new("orders").unwrap();
        let (start, mut state) = (Instant::now(), State::default());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for (step, number) in steps.into_iter().zip(1..) {
            match step {
                Fails(seconds, partition, told) => {
                    let told_now = state.failed(&topic.partition(partition), at(seconds));
                    assert_eq!(told_now, told, "step {number}");
                }
                Answers(seconds, partition, after) => {
                    let ended = state.answered(&topic.partition(partition), at(seconds));
                    assert_eq!(ended, after.map(Duration::from_secs), "step {number}");
                }
            }
        }
    }

    #[test]
    fn an_outage_is_told_once_for_all_partitions_and_again_when_all_are_back() {
        check([
            Fails(0, 0, Began),
            Fails(0, 1, Nothing),
            Fails(5, 0, Nothing),
            Fails(6, 1, Nothing),
            Answers(10, 0, None),
            Fails(11, 1, Nothing),
            Answers(12, 1, Some(12)),
            Answers(13, 1, None),
            Fails(14, 1, Began),
        ]);
    }

    #[test]
    fn a_long_one_is_told_each_minute() {
        let every_5_seconds = |from: u64, to: u64| (from..to).step_by(5).map(|s| Fails(s, 7, Nothing));
        let goes_on = |minutes: u64| {
            let since = Duration::from_secs(60 * minutes);
            Fails(60 * minutes, 7, GoesOn { partitions: 1, since })
        };
        let first = [Fails(0, 7, Began)].into_iter().chain(every_5_seconds(5, 60)).chain([goes_on(1)]);
        check(first.chain(every_5_seconds(65, 120)).chain([goes_on(2), Answers(121, 7, Some(121))]));
    }

    #[test]
    fn a_partition_that_is_read_elsewhere_now_holds_no_outage_open() {
        check([
            Fails(0, 0, Began),
            Fails(1, 1, Nothing),
            // Nobody reads 0 here any more, and 1 is back: the next failure is another outage.
            Answers(2, 1, None),
            Fails(40, 1, Began),
            Answers(41, 1, Some(1)),
        ]);
    }
}
