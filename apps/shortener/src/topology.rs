//! The app: links, the visits to them, and what is counted of those.

use headwater::core::clock::Timestamp;
use headwater::prelude::*;

use crate::domain::{Code, Link, LinkEvent, Referrer, Visit};

const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The app with what it can be asked.
pub struct Shortener {
    /// The app itself.
    pub app: App,
    /// Where links are made.
    pub links: Aggregates<Link>,
    /// Where visits are published: one record each, under the link's code.
    pub visits: Topic<Code, Visit>,
    /// Every link by its code, to be listed.
    pub listed: View<Code, Link>,
    /// How often each link was visited.
    pub total: View<Code, u64>,
    /// The same by the day, which begins at midnight in UTC.
    pub daily: View<(Code, Timestamp), u64>,
    /// The same by the hour.
    pub hourly: View<(Code, Timestamp), u64>,
    /// The same by where visitors came from.
    pub referrers: View<(Code, Referrer), u64>,
}

/// Declares the app.
pub fn shortener() -> Shortener {
    let mut app = App::new("shortener");
    let links = app.aggregate::<Link>();
    let listed = app.view(
        links
            .events()
            .group_by_key()
            .fold(Store::named("links"), |link: &mut Link, event| link.evolve(event.value)),
    );

    let topic = Topic::from("visits");
    // The visits of limited links are events already; all others are published by whoever answers them.
    let of_limited = links.events().flat_map_values(|event| match event.value {
        LinkEvent::Visited(visit) => vec![visit.clone()],
        LinkEvent::Shortened { .. } | LinkEvent::Deleted => vec![],
    });
    app.emitter(of_limited.to(topic.clone()).named("limited-visits"));

    let visits = app.stream(topic.clone());
    let total = app.view(visits.group_by_key().count(Store::named("visits")));
    let daily = app.view(
        visits
            .group_by("visits-by-day", |visit| (visit.key.clone(), begun(visit.meta.timestamp, DAY_MS)))
            .count(Store::named("visits-per-day")),
    );
    let hourly = app.view(
        visits
            .group_by("visits-by-hour", |visit| (visit.key.clone(), begun(visit.meta.timestamp, HOUR_MS)))
            .count(Store::named("visits-per-hour")),
    );
    let referrers = app.view(
        visits
            .group_by("visits-by-referrer", |visit| (visit.key.clone(), visit.referrer.clone()))
            .count(Store::named("referrers")),
    );
    Shortener { app, links, visits: topic, listed, total, daily, hourly, referrers }
}

/// When the span of this length began in which a time lies, counted from 1970.
fn begun(time: Timestamp, span_ms: i64) -> Timestamp {
    Timestamp(time.0.saturating_sub(time.0.rem_euclid(span_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_hours_begin_in_utc_also_before_1970() {
        let cases =
            [(0, 0, 0), (DAY_MS - 1, 0, DAY_MS - HOUR_MS), (-1, -DAY_MS, -HOUR_MS), (HOUR_MS, 0, HOUR_MS)];
        for (time, day, hour) in cases {
            let begun = |span| begun(Timestamp(time), span).0;
            assert_eq!((begun(DAY_MS), begun(HOUR_MS)), (day, hour), "{time}");
        }
    }

    #[test]
    fn the_app_is_declared_without_a_mistake() {
        shortener().app.check().unwrap();
    }
}
