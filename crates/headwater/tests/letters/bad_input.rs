//! What is wrong with an app is told before it runs, where it can be; what comes in wrong stops what reads it by topology,
//! topic, partition and offset, and nothing is lost.

use headwater::core::codec::{BigEndian, Json};
use headwater::core::log::LogErrorKind;

use super::*;

fn app() -> App {
    App::new("web").with(|options| options.partitions = PARTITIONS)
}

fn mistakes(app: &App) -> String {
    app.check().unwrap_err().to_string()
}

/// Appends one record as it is, and tells where.
async fn append(log: &dyn Log, name: &str, record: Record) -> String {
    let key = record.key.clone().unwrap_or_default();
    let to = topic(name).partition(partition_of(&key, PARTITIONS).0);
    let at = to.to_string();
    log.append(vec![Append { to, record }]).await.unwrap();
    at
}

/// Runs an app until a shard stops, and answers why.
async fn stops(log: &SharedLog, app: App) -> String {
    let running = start(log, &MemoryStores::new(), app).await;
    let troubles = running.ready(WITHIN).await.unwrap_err().join("; ");
    assert!(running.stop(WITHIN).await);
    troubles
}

#[tokio::test]
async fn a_fold_that_panics_stops_at_the_record() {
    let log = memory();
    make(&*log, "visits").await;
    let at = append(&*log, "visits", Record::new("a", "1", Timestamp(0))).await;
    let mut app = app();
    let visits = app.stream::<String, u64>("visits").group_by_key();
    let sum = visits.fold(Store::named("sum"), |_: &mut u64, visit| assert!(*visit.value > 1, "too few"));
    app.view(sum);
    let told = stops(&log, app).await;
    assert!(
        told.contains(&format!("view \"sum\" stopped at {at} offset 0: its code panicked: too few")),
        "{told}"
    );
}

#[tokio::test]
async fn a_key_that_cannot_be_read_stops_a_fold_at_the_record() {
    let log = memory();
    make(&*log, "visits").await;
    let at = append(&*log, "visits", Record::new("abc", "1", Timestamp(0))).await;
    let mut app = app();
    let visits = app.stream(Topic::<i64, u64>::with("visits", BigEndian, Json)).group_by_key();
    app.view(visits.count(Store::named("count")));
    let told = stops(&log, app).await;
    assert!(told.contains(&format!("view \"count\" stopped at {at} offset 0: its key")), "{told}");
}

#[tokio::test]
async fn a_value_of_another_schema_stops_a_fold_at_the_record() {
    let log = memory();
    make(&*log, "visits").await;
    let at = append(&*log, "visits", Record::new("a", "{\"amount\":1}", Timestamp(0))).await;
    let mut app = app();
    app.view(app.stream::<String, u64>("visits").group_by_key().count(Store::named("count")));
    let told = stops(&log, app).await;
    assert!(told.contains(&format!("view \"count\" stopped at {at} offset 0: its value")), "{told}");
}

/// An aggregate of which nothing is asked but its events.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Note;

impl Aggregate for Note {
    const NAME: &'static str = "note";
    type Id = String;
    type Command = u64;
    type Event = u64;
    type Rejection = ();

    fn decide(&self, command: u64, _: &Context) -> Result<Vec<u64>, ()> {
        Ok(vec![command])
    }

    fn evolve(&mut self, _: &u64) {}
}

const YEAR_2099: i64 = 4_070_908_800_000;

#[tokio::test]
async fn times_from_1970_to_2099_are_folded_and_one_before_that_stops_a_fold() {
    let log = memory();
    make(&*log, "visits").await;
    for time in [0, YEAR_2099, 1, -1] {
        append(&*log, "visits", Record::new("a", "1", Timestamp(time))).await;
    }
    let mut app = app();
    let visits = app.stream::<String, u64>("visits").group_by_key();
    let by_day = app.view(visits.window(Tumbling::days(1)).count(Store::named("by-day")));
    let all = app.view(visits.count(Store::named("all")));
    let running = start(&log, &MemoryStores::new(), app).await;
    for stopped in ["all", "by-day"] {
        let about = until("a fold stops", async || {
            running.stopped_folds().into_iter().find(|fold| fold.id.topology == stopped)
        })
        .await;
        assert!(about.reason.contains("offset 3: its time, -1 ms, lies before 1970"), "{about:?}");
        running.dead_letters().skip(&about.id).await.unwrap();
    }
    until("both go on", async || running.stopped_folds().is_empty().then_some(())).await;
    running.ready(WITHIN).await.unwrap();
    assert_eq!(running.view(&all).unwrap().get(&"a".to_owned()).await.unwrap().value, Some(3));
    // The third one came a century late: the day of it is closed, and that is counted.
    let (by_day, key) = (running.view(&by_day).unwrap(), "a".to_owned());
    let days = by_day.windows(&key, Timestamp(0)..Timestamp(i64::MAX)).await.unwrap().value;
    let last = days.last().map(|(window, count)| (window.start.0, *count));
    assert_eq!(last, Some((YEAR_2099, 1)), "{days:?}");
    assert!(running.stop(WITHIN).await);
}

#[test]
fn windows_of_no_length_are_told_before_anything_runs() {
    let grouped = |app: &App| app.stream::<String, u64>("visits").group_by_key();
    let mut tumbling = app();
    tumbling.view(grouped(&tumbling).window(Tumbling::of(Duration::ZERO)).count(Store::named("none")));
    let mut hopping = app();
    hopping.view(grouped(&hopping).window(Hopping::of(hours(1), Duration::ZERO)).count(Store::named("none")));
    for (app, kind) in [(tumbling, "tumbling windows"), (hopping, "hopping windows")] {
        let told = mistakes(&app);
        assert!(told.contains(kind) && told.contains('0'), "{told}");
    }
}

#[test]
fn a_name_used_twice_is_told_before_anything_runs() {
    let mut app = app();
    let visits = app.stream::<String, u64>("visits").group_by_key();
    app.view(visits.count(Store::named("count")));
    app.view(visits.fold(Store::named("count"), |sum: &mut u64, visit| *sum += visit.value));
    assert!(mistakes(&app).contains("\"count\" is defined twice"), "{}", mistakes(&app));
}

#[test]
fn a_topic_that_is_declared_as_two_is_told_before_anything_runs() {
    let counted = |app: &mut App| {
        app.view(app.stream::<String, u64>("visits").group_by_key().count(Store::named("count")));
    };
    let usual =
        "topic \"visits\" has text keys of type String and json values of type u64 in \"count\", and ";
    let mut types = app();
    counted(&mut types);
    types.view(types.table_in::<String, String>(Store::named("last"), "visits"));
    let mut codecs = app();
    counted(&mut codecs);
    codecs.emitter(codecs.stream(Topic::<i64, u64>::with("visits", BigEndian, Json)).to("others"));
    let mut written = app();
    counted(&mut written);
    written.emitter(written.stream::<String, Vec<u64>>("clicks").to("visits"));
    for (app, other) in [
        (types, "text keys of type String and json values of type String in \"last\""),
        (codecs, "big-endian of 8 bytes keys of type i64 and json values of type u64 in \"others\""),
        (written, "text keys of type String and json values of type Vec<u64> in \"visits\""),
    ] {
        let told = mistakes(&app);
        assert!(told.contains(usual) && told.contains(other), "{told}");
    }
    let mut alike = app();
    counted(&mut alike);
    alike.view(alike.table_in::<String, u64>(Store::named("last"), "visits"));
    alike.view(alike.stream::<String, Option<u64>>("visits").group_by_key().count(Store::named("all")));
    alike.check().unwrap();
}

#[test]
fn a_handle_of_another_app_is_told_before_anything_runs() {
    let mut shop = App::new("shop");
    let orders = shop.aggregate::<Note>().events();
    let (mut by_stream, mut by_events, mut by_table) = (app(), app(), app());
    by_stream.view(shop.stream::<String, u64>("visits").group_by_key().count(Store::named("count")));
    by_events.view(orders.group_by("by-length", |_| 1_u64).count(Store::named("lengths")));
    let names = shop.table::<String, String>("names");
    let visits = by_table.stream::<String, u64>("visits");
    by_table.emitter(visits.join(&names, |_, name| name.clone(), Join::default()).to("named"));
    for (app, told) in [
        (by_stream, "\"count\" begins at \"visits\" as app \"shop\" declares it"),
        (by_events, "\"by-length\" begins at \"shop.note.events\" as app \"shop\" declares it"),
        (by_table, "\"named\" begins at \"names\" as app \"shop\" declares it"),
    ] {
        assert!(mistakes(&app).contains(told), "{}", mistakes(&app));
    }
}

#[test]
fn options_of_a_store_that_would_change_nothing_are_told_before_anything_runs() {
    let mut app = app();
    let visits = app.stream::<String, u64>("visits").group_by_key();
    app.view(visits.count(Store::named("count").retain(hours(1))));
    app.view(
        visits.window(Tumbling::days(1)).count(Store::named("days").retain(hours(1)).versioned(hours(1))),
    );
    let told = mistakes(&app);
    for expected in ["store \"count\" has `.retain(...)`", "store \"days\" has `.versioned(...)`"] {
        assert!(told.contains(expected), "{told}");
    }
    assert!(!told.contains("store \"days\" has `.retain"), "windows expire: {told}");
}

#[test]
fn topologies_that_feed_themselves_are_told_before_anything_runs() {
    let mut alone = app();
    alone.emitter(alone.stream::<String, u64>("visits").map_values(|n| n.value + 1).to("visits"));
    let mut round = app();
    round.emitter(round.stream::<String, u64>("visits").to("clicks"));
    let sums = round.stream::<String, u64>("clicks").group_by("by-ten", |n| *n.value / 10);
    round.emitter(sums.count(Store::named("tens")).updates().to("visits"));
    for (app, told) in [
        (alone, "topic \"visits\" feeds itself, by way of \"visits\""),
        (round, "topic \"clicks\" feeds itself, by way of \"by-ten\", \"visits\", \"clicks\""),
    ] {
        assert!(mistakes(&app).contains(told), "{}", mistakes(&app));
    }
}

#[tokio::test]
async fn a_topic_that_is_deleted_under_what_reads_it_stops_it_and_is_refused_at_the_next_start() {
    let log = memory();
    make(&*log, "visits").await;
    let build = || {
        let mut app = app();
        let visits = app.stream::<String, u64>("visits");
        app.view(visits.group_by_key().count(Store::named("count")));
        app.emitter(visits.to("copies"));
        app
    };
    let running = start(&log, &MemoryStores::new(), build()).await;
    running.ready(WITHIN).await.unwrap();
    append(&*log, "visits", Record::new("a", "1", Timestamp(0))).await;
    log.delete(&topic("visits")).await.unwrap();
    until("all shards of both stop, and that is told once of each", async || {
        let troubles = running.troubles().join("; ");
        let stopped = |name| format!("{name}: shards 0-1: stopped: visits-* cannot be read");
        ["count", "copies"].iter().all(|name| troubles.contains(&stopped(name))).then_some(())
    })
    .await;
    assert!(running.stop(WITHIN).await);
    let refused = Headwater::on(log.clone(), Arc::new(MemoryStores::new())).start(build()).await;
    let told = refused.err().unwrap().to_string();
    assert!(told.contains("topic \"visits\"") && told.contains("--accept-loss visits"), "{told}");
    let gone = log.bounds(&topic("visits").partition(0)).await.unwrap_err();
    assert_eq!(gone.kind(), LogErrorKind::UnknownTopic, "it was not made again behind anybody's back");
}
