//! How fast something goes, and when it will be done, in a line a second.

use std::time::{Duration, Instant};

use crate::migrate::{Progress, RESUMING};

const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Pace {
    /// What is being done, since when, and how much had been done then.
    since: Option<(&'static str, Instant, u64)>,
    told: Option<Instant>,
}

impl Pace {
    pub(super) fn begin() -> Self {
        Self { since: None, told: None }
    }

    /// A line, unless the last one is younger than a second; where it began is always told.
    pub(super) fn tell(&mut self, progress: &Progress) -> Option<String> {
        if progress.doing == RESUMING {
            let Progress { at, done, total, .. } = progress;
            return Some(format!("goes on at {at}: {done} of {total} offsets had been copied"));
        }
        let now = Instant::now();
        let Some((_, began, first)) = self.since.filter(|(doing, ..)| *doing == progress.doing) else {
            self.since = Some((progress.doing, now, progress.done));
            return None;
        };
        if self.told.is_some_and(|told| now < told + EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(line(progress, progress.done.saturating_sub(first), now - began))
    }
}

fn line(progress: &Progress, moved: u64, took: Duration) -> String {
    let Progress { doing, at, done, total } = progress;
    let rate = moved as f64 / took.as_secs_f64().max(0.001);
    let left = total.saturating_sub(*done) as f64 / rate.max(1.0);
    let share = 100 * done / (*total).max(1);
    format!("{doing} {at}: {done} of {total} offsets ({share} %), {rate:.0}/s, about {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use headwater_core::topic::TopicName;

    use super::*;

    #[test]
    fn a_line_tells_rate_and_what_is_left() {
        let at = TopicName::new("shop.order.events").unwrap().partition(3);
        let progress = Progress { doing: "copying", at, done: 250, total: 1_000 };
        let told = line(&progress, 200, Duration::from_secs(2));
        let expected = "copying shop.order.events-3: 250 of 1000 offsets (25 %), 100/s, about 8 s left";
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_resumed_tells_where() {
        let at = TopicName::new("shop.order.events").unwrap().partition(3);
        let progress = Progress { doing: RESUMING, at, done: 250, total: 1_000 };
        let told = "goes on at shop.order.events-3: 250 of 1000 offsets had been copied";
        assert_eq!(Pace::begin().tell(&progress).as_deref(), Some(told));
    }
}
