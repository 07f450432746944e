//! The app: links, the visits to them, and what is counted of those.

use std::time::Duration;

use headwater::prelude::*;
use headwater::{Once, Windowed};

use crate::domain::{Code, Link, LinkEvent, Referrer, Visit};

/// How late a visit may come and still count on its own day: a century, so any visit does.
///
/// Days are kept for good, so that taking a late visit in costs nothing, and refusing one would make a count wrong. Visits
/// do come late: those of limited links when what hands them on was down for long, and all others after a single one
/// from an instance whose clock is ahead, be it by years.
const GRACE: Duration = days(36_525);

/// Visits of a shard among which one that was published again is known by its id: more than come within the seconds in
/// which a redirect tries to have its visit written.
const REPEATS_AMONG: u64 = 16_384;

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
    pub daily: View<Windowed<Code>, u64>,
    /// The same by the hour.
    pub hourly: View<Windowed<Code>, u64>,
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

    // Each view knows the ids by itself: a topic of visits that came once would have to be written to the log.
    let visits = app.stream(topic.clone());
    let visits =
        visits.deduplicate_by(Store::named("visit-ids"), Once::among(REPEATS_AMONG), |visit| visit.meta.id());
    let by_code = visits.group_by_key();
    let total = app.view(by_code.count(Store::named("visits")));
    let daily = by_code.window(Tumbling::days(1).grace(GRACE)).count(Store::named("visits-per-day"));
    let daily = app.view(daily);
    let hourly = by_code.window(Tumbling::hours(1).grace(GRACE)).count(Store::named("visits-per-hour"));
    let hourly = app.view(hourly);
    let by_host = visits.extend_key(|visit| visit.referrer.clone()).group_by_key();
    // Version 1 was made of a topic of its own, which data directories of then still have.
    let referrers = app.view(by_host.count(Store::named("referrers")).version(2));
    Shortener { app, links, visits: topic, listed, total, daily, hourly, referrers }
}

#[cfg(test)]
mod tests {
    use headwater::core::clock::Timestamp;
    use headwater::core::header::Headers;
    use headwater::testing::{Driver, at};

    use super::*;

    /// Visits of one link at these times, in this order: how many each day and each hour has.
    fn counted(times: &[&str]) -> [Vec<(Timestamp, u64)>; 2] {
        let shortener = shortener();
        let mut driver = Driver::new(&shortener.app);
        let code = Code::alias("a").unwrap();
        for time in times {
            driver.pipe(shortener.visits.clone(), code.clone(), Visit::default(), at(time));
        }
        assert_eq!(driver.view(&shortener.total).get(&code), Some(times.len() as u64));
        [&shortener.daily, &shortener.hourly].map(|view| driver.view(view).windows(&code))
    }

    #[test]
    fn a_late_visit_counts_on_its_own_day() {
        let [days, hours] =
            counted(&["2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z", "2026-03-01T22:59:58Z"]);
        assert_eq!(days, [(at("2026-03-01T00:00Z"), 2), (at("2026-03-02T00:00Z"), 1)]);
        let hour = |time| (at(time), 1);
        assert_eq!(hours, ["2026-03-01T22:00Z", "2026-03-01T23:00Z", "2026-03-02T00:00Z"].map(hour));
    }

    #[test]
    fn no_visit_is_too_late_to_count_also_after_one_by_a_clock_far_ahead() {
        let [days, _] =
            counted(&["2099-12-31T12:00:00Z", "2026-03-02T00:00:00Z", "1999-12-31T23:59:59.999Z"]);
        let day = |time| (at(time), 1);
        assert_eq!(days, ["1999-12-31T00:00Z", "2026-03-02T00:00Z", "2099-12-31T00:00Z"].map(day));
    }

    #[test]
    fn a_visit_that_was_published_again_counts_once() {
        let shortener = shortener();
        let mut driver = Driver::new(&shortener.app);
        let code = Code::alias("a").unwrap();
        for id in ["v1", "v2", "v1", "v1", "v3"] {
            let headers = Headers::builder().push("hw_record_id", id).build();
            let (code, time) = (code.clone(), at("2026-03-01T12:00Z"));
            driver.pipe_with(shortener.visits.clone(), code, Visit::default(), time, headers);
        }
        assert_eq!(driver.view(&shortener.total).get(&code), Some(3));
        for windows in [&shortener.daily, &shortener.hourly] {
            assert_eq!(
                driver.view(windows).all().into_iter().map(|(_, visits)| visits).collect::<Vec<_>>(),
                [3]
            );
        }
        assert_eq!(driver.view(&shortener.referrers).get(&(code, Referrer::default())), Some(3));
        assert_eq!(driver.dropped("visit-ids"), 2 * 4, "in each of four views");
    }

    #[test]
    fn the_app_is_declared_without_a_mistake() {
        shortener().app.check().unwrap();
    }
}
