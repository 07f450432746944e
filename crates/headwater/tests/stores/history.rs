//! Views as of a time, beside a plain history of every key.

use std::collections::BTreeMap;

use headwater::core::clock::Timestamp;
use headwater::core::codec::{Json, Nullable, Text};
use headwater::testing::Driver;
use headwater::{Past, Receipt};
use proptest::prelude::*;

use super::*;

const HISTORY: Duration = Duration::from_millis(1_000);
const CUSTOMERS: [&str; 3] = ["ann", "bob", "cid"];

type Item = (String, u32);
type Price = (Item, i64, Option<u64>);

/// Prices of customers' items: the topic, and a view that keeps how they were.
pub(crate) fn prices() -> Topic<Item, Option<u64>> {
    Topic::with("prices", Text, Nullable(Json))
}

pub(crate) fn app() -> App {
    shown(&mut App::new("shop").with(|options| options.partitions = 3)).0
}

fn view() -> View<Item, u64> {
    shown(&mut App::new("shop")).1
}

fn shown(app: &mut App) -> (App, View<Item, u64>) {
    let mut app = std::mem::replace(app, App::new("none"));
    let store = Store::named("prices-kept").versioned(HISTORY);
    let table = app.table_in(store, Topic::with("prices", Text, Json));
    let view = app.view(table);
    (app, view)
}

/// Prices that come out of order and now and then go, all within the history.
fn changes() -> Vec<Price> {
    let change = |n: u64| {
        let item = (s(CUSTOMERS[(n % 3) as usize]), (n * 5 % 4) as u32);
        let time = (n * 131 % 900) as i64;
        (item, time, (!n.is_multiple_of(7)).then_some(n))
    };
    (1..=90).map(change).collect()
}

/// What each item cost from when on.
#[derive(Default)]
struct Model(BTreeMap<Item, BTreeMap<i64, Option<u64>>>);

impl Model {
    fn of(changes: &[Price]) -> Self {
        let mut model = Self::default();
        for (item, time, price) in changes {
            model.0.entry(item.clone()).or_default().insert(*time, *price);
        }
        model
    }

    fn at(&self, item: &Item, time: i64) -> Option<u64> {
        self.0.get(item)?.range(..=time).next_back()?.1.to_owned()
    }

    fn all_at(&self, time: i64) -> Vec<(Item, u64)> {
        let at = |item: &Item| Some((item.clone(), self.at(item, time)?));
        self.0.keys().filter_map(at).collect()
    }

    fn past(&self, item: &Item, from: i64, to: i64) -> Vec<Past<u64>> {
        let versions = &self.0[item];
        let past = versions.iter().filter_map(|(time, price)| {
            let until = versions.range(time + 1..).next().map(|(time, _)| *time);
            let holds = *time <= to && until.is_none_or(|until| until > from);
            let past = Past { value: (*price)?, from: Timestamp(*time), until: until.map(Timestamp) };
            holds.then_some(past)
        });
        past.collect()
    }
}

pub(crate) async fn publish(running: &Running) -> BTreeMap<u32, Receipt> {
    let mut receipts = BTreeMap::new();
    for (item, time, price) in changes() {
        let receipt = running.publish(&prices(), &item, &price).at(Timestamp(time)).await.unwrap();
        receipts.insert(receipt.partition.0, receipt);
    }
    receipts
}

/// Asks an instance everything; `receipts` are those of the last change in each partition.
pub(crate) async fn check(running: &Running, receipts: &BTreeMap<u32, Receipt>) {
    let (model, view) = (Model::of(&changes()), view());
    // Each shard is asked until it has what was published.
    for receipt in receipts.values() {
        let after = running.view(&view).unwrap().within(WITHIN).after(receipt);
        after.scan(1, None).await.unwrap();
    }
    let ask = || running.view(&view).unwrap().within(WITHIN);
    for time in (-50..950).step_by(90) {
        let past = || ask().as_of(Timestamp(time));
        let all = model.all_at(time);
        for item in model.0.keys() {
            let answer = past().get(item).await.unwrap();
            assert_eq!(answer.value, model.at(item, time), "{item:?} at {time}");
            assert!(!answer.position.is_empty());
        }
        for customer in CUSTOMERS {
            let of = |(item, price): &(Item, u64)| (item.0 == customer).then_some((item.1, *price));
            let expected: Vec<_> = all.iter().filter_map(of).collect();
            assert_eq!(past().of(&s(customer)).await.unwrap().value, expected, "{customer} at {time}");
            let ends = (s(customer), 1)..=(s(customer), 2);
            let some: Vec<_> = all.iter().filter(|(item, _)| ends.contains(item)).cloned().collect();
            assert_eq!(past().range(ends, 10).await.unwrap().value, some);
        }
        let (mut scanned, mut token) = (Vec::new(), None);
        loop {
            let page = past().scan(3, token.as_ref()).await.unwrap().value;
            scanned.extend(page.rows);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(scanned, all, "all at {time}");
        assert_eq!(past().count().await.unwrap().value, all.len() as u64);
    }
    for item in model.0.keys() {
        for (from, to) in [(i64::MIN, i64::MAX), (200, 500), (300, 300), (950, 990), (5, 4)] {
            let past = ask().versions(item, Timestamp(from)..=Timestamp(to)).await.unwrap().value;
            let expected = if from <= to { model.past(item, from, to) } else { vec![] };
            assert_eq!(past, expected, "{item:?} in {from}..={to}");
        }
    }
}

/// Nothing is told of a time that is forgotten, apart from what has not changed since.
async fn check_forgotten(running: &Running) {
    let view = view();
    let (old, new) = ((s("ann"), 77), (s("ann"), 78));
    let publish = async |item: &Item, price: u64, time| {
        running.publish(&prices(), item, &Some(price)).at(Timestamp(time)).await.unwrap()
    };
    publish(&old, 1, 10).await;
    publish(&new, 2, 20).await;
    let receipt = publish(&new, 3, 5_000).await;
    let past = || running.view(&view).unwrap().within(WITHIN).after(&receipt).as_of(Timestamp(50));
    assert_eq!(past().get(&old).await.unwrap().value, Some(1), "it has not changed since");
    let begins = Timestamp(4_000);
    let forgotten = Err(QueryError::BeforeHistory { view: s("prices-kept"), begins });
    assert_eq!(past().get(&new).await.map(|answer| answer.value), forgotten);
    let forgotten = past().of(&s("ann")).await.unwrap_err().to_string();
    assert!(forgotten.contains("begins at 4000 ms since 1970: ask for a later time"), "{forgotten}");
    let changes = running.view(&view).unwrap().as_of(Timestamp(0)).changes(&s("ann"), None).await;
    assert!(matches!(changes.err(), Some(QueryError::NoHistory { .. })), "live changes are of now");
}

#[tokio::test]
async fn a_view_tells_how_it_was_on_the_memory_log() {
    let headwater = Headwater::on(Arc::new(memory_log()), Arc::new(MemoryStores::new()));
    let running = started(&headwater, app()).await;
    let receipts = publish(&running).await;
    check(&running, &receipts).await;
    check_forgotten(&running).await;
    stop([running]).await;
}

#[tokio::test]
async fn any_instance_tells_how_a_view_was() {
    let log = memory_log();
    let (board, instances) = two([Arc::new(log.clone()), Arc::new(log)], app).await;
    let receipts = publish(&instances[0]).await;
    for running in &instances {
        check(running, &receipts).await;
    }
    for name in ["first", "second"] {
        assert!(board.served(&PeerAddress::new(name)) > 0, "{name} was asked");
    }
    for running in &instances {
        check_forgotten(running).await;
    }
    stop(instances).await;
}

#[tokio::test]
async fn an_embedded_log_tells_how_a_view_was_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut receipts = BTreeMap::new();
    for life in 0..2 {
        let headwater = embedded(dir.path());
        let running = started(&headwater, app()).await;
        if life == 0 {
            receipts = publish(&running).await;
        }
        check(&running, &receipts).await;
        stop([running]).await;
    }
}

#[tokio::test]
async fn a_view_of_several_topics_keeps_what_came_out_of_order() {
    let mut app = App::new("shop").with(|options| options.partitions = 1);
    let (one, other) = (app.stream::<String, u64>("one"), app.stream::<String, u64>("other"));
    let view = app.view(one.merge(&other).to_table(Store::named("kept").versioned(HISTORY)));
    let headwater = Headwater::on(Arc::new(memory_log()), Arc::new(MemoryStores::new()));
    let running = started(&headwater, app).await;
    let mut receipt = None;
    for (topic, price, time) in [("one", 1, 10), ("other", 3, 30), ("one", 2, 20)] {
        let topic: Topic<String, u64> = topic.into();
        let ask = running.publish(&topic, &s("k"), &price).at(Timestamp(time)).await.unwrap();
        let query = running.view(&view).unwrap().after(&ask).within(WITHIN);
        query.get(&s("k")).await.unwrap();
        receipt = Some(ask);
    }
    let ask = || running.view(&view).unwrap().after(receipt.as_ref().unwrap()).within(WITHIN);
    for (time, price) in [(5, None), (15, Some(1)), (25, Some(2)), (35, Some(3))] {
        assert_eq!(ask().as_of(Timestamp(time)).get(&s("k")).await.unwrap().value, price, "at {time}");
    }
    stop([running]).await;
}

#[tokio::test]
async fn a_view_without_versions_says_that_it_keeps_none() {
    let mut app = App::new("shop").with(|options| options.partitions = 1);
    let view = app.view(app.table::<String, u64>("plain"));
    let headwater = Headwater::on(Arc::new(memory_log()), Arc::new(MemoryStores::new()));
    let running = started(&headwater, app).await;
    let ask = || running.view(&view).unwrap();
    let asked = [
        ask().as_of(Timestamp(0)).get(&s("k")).await.map(|_| ()),
        ask().as_of(Timestamp(0)).count().await.map(|_| ()),
        ask().versions(&s("k"), ..).await.map(|_| ()),
    ];
    for answer in asked {
        let refused = answer.unwrap_err();
        assert!(matches!(refused, QueryError::NoHistory { .. }), "{refused}");
        assert!(refused.to_string().contains("keeps no versions"), "{refused}");
    }
    stop([running]).await;
}

proptest! {
    /// Whatever comes in whatever order, with restarts: what the driver tells of a time is what a plain history does.
    #[test]
    fn the_past_is_that_of_a_plain_history(
        changes in prop::collection::vec((0..4_u32, -300_i64..200, prop::option::weighted(0.8, any::<u64>()), any::<bool>()), 1..60),
        back in 0..1_000_i64,
    ) {
        let app = app();
        let mut driver = Driver::new(&app);
        let (mut now, mut seen, mut model) = (20_000, i64::MIN, Model::default());
        for (item, step, price, restart) in changes {
            now += step;
            seen = seen.max(now);
            if restart {
                driver.restart();
            }
            let item = (s("ann"), item);
            driver.pipe(prices(), item.clone(), price, Timestamp(now));
            if now >= seen - HISTORY.as_millis() as i64 {
                model.0.entry(item).or_default().insert(now, price);
            }
        }
        let time = seen - back;
        let past = driver.view(&view()).as_of(Timestamp(time));
        prop_assert_eq!(past.all(), model.all_at(time));
        for item in model.0.keys() {
            prop_assert_eq!(past.get(item), model.at(item, time));
        }
    }
}
