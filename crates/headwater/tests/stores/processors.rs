//! Processors with several stores, each with types of its own.

use headwater::core::clock::Timestamp;
use headwater::testing::Driver;
use headwater::{Keyed, Processing, Processor, StoreOf, Timers};

use super::*;

/// Tells what a customer has bought in all whenever an item is new to them, and the three items before it by name.
struct Loyalty {
    bought: StoreOf<(String, String), u64>,
    totals: StoreOf<String, u64>,
}

type Purchase = (String, u64);
type Told = (u64, u64, Vec<String>);

impl Processor for Loyalty {
    type Key = String;
    type Value = Purchase;
    type OutKey = String;
    type OutValue = Told;
    type RowKey = String;
    type Row = u64;

    fn process(&mut self, item: Keyed<'_, String, Purchase>, next: &mut Processing<'_, '_, Self>) {
        let (what, pence) = item.value;
        let visits = next.get(item.key).unwrap_or(0) + 1;
        next.put(item.key, &visits);
        let total = next.store(&self.totals).get(item.key).unwrap_or(0) + pence;
        next.store(&self.totals).put(item.key, &total);
        let place = (item.key.clone(), what.clone());
        let before = (item.key.clone(), String::new())..place.clone();
        let mut bought = next.store(&self.bought);
        if bought.get(&place).is_none() {
            bought.put(&place, pence);
            let names = bought.range(before, 3).into_iter().map(|((_, name), _)| name).collect();
            next.forward(item.key, &(visits, total, names));
        }
        if what == "everything goes" {
            for (place, _) in next.store(&self.bought).rows(item.key) {
                next.store(&self.bought).delete(&place);
            }
        }
    }
}

fn stores() -> (StoreOf<(String, String), u64>, StoreOf<String, u64>) {
    (StoreOf::named("bought"), StoreOf::named("totals"))
}

fn app() -> App {
    shop().0
}

/// With a view of what each customer was told last.
fn shop() -> (App, View<String, Told>) {
    let mut app = App::new("shop").with(|options| options.partitions = 2);
    let (bought, totals) = stores();
    let kept = Store::named("visits").and(&bought).and(&totals);
    let purchases = app.stream::<String, Purchase>("purchases");
    let told = purchases.process(kept, Timers::default(), move || {
        let (bought, totals) = stores();
        Loyalty { bought, totals }
    });
    app.emitter(told.to("told"));
    let last = app.view(app.table_in(Store::named("last-told"), "told"));
    (app, last)
}

fn purchases() -> Vec<(String, Purchase)> {
    let items = ["kettle", "bowl", "cup", "pan", "everything goes", "jug"];
    let one = |n: u64| (format!("c{}", n % 3), (s(items[(n * n % 6) as usize]), n));
    (0..60).map(one).collect()
}

/// What was told last once each purchase was made, by plain maps.
fn last_told() -> Vec<(String, Option<Told>)> {
    let mut last = std::collections::BTreeMap::new();
    let after = |(customer, told): (String, Option<Told>)| {
        last.extend(told.map(|told| (customer.clone(), told)));
        let told = last.get(&customer).cloned();
        (customer, told)
    };
    told_of_each().into_iter().map(after).collect()
}

fn expected() -> Vec<(String, Told)> {
    told_of_each().into_iter().filter_map(|(customer, told)| Some((customer, told?))).collect()
}

/// What is told of each purchase, if anything is.
fn told_of_each() -> Vec<(String, Option<Told>)> {
    let mut all: std::collections::BTreeMap<String, (u64, u64, std::collections::BTreeSet<String>)> =
        Default::default();
    let mut told = Vec::new();
    for (customer, (item, pence)) in purchases() {
        let (visits, total, bought) = all.entry(customer.clone()).or_default();
        *visits += 1;
        *total += pence;
        let names = bought.iter().filter(|name| **name < item).take(3).cloned().collect();
        let is_new = bought.insert(item.clone());
        told.push((customer, is_new.then_some((*visits, *total, names))));
        if item == "everything goes" {
            bought.clear();
        }
    }
    told
}

#[test]
fn a_processor_keeps_several_stores_over_restarts() {
    for restart in [false, true] {
        let mut driver = Driver::new(&app());
        for (customer, purchase) in purchases() {
            driver.pipe("purchases", customer, purchase, Timestamp(0));
            if restart {
                driver.restart();
            }
        }
        let told = driver.read::<String, Told>("told").into_iter();
        assert_eq!(told.map(|(customer, told, _)| (customer, told)).collect::<Vec<_>>(), expected());
    }
    let described = app().describe().to_string();
    assert!(described.contains("visits, bought, totals"), "{described}");
}

/// Half of the purchases in one life, half in the next, which finds what was kept on disk, or in the changelog alone.
#[tokio::test]
async fn stores_of_a_processor_come_back_from_disk_and_from_the_changelog() {
    for keeps_stores in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let topic: Topic<String, Purchase> = "purchases".into();
        let purchases = purchases();
        let mut seen = Vec::new();
        for half in purchases.chunks(purchases.len() / 2) {
            let (app, last) = shop();
            let running = started(&embedded(dir.path()), app).await;
            for (customer, purchase) in half {
                let publish = running.publish(&topic, customer, purchase).at(Timestamp(0));
                let receipt = publish.await.unwrap();
                let query = running.view(&last).unwrap().after(&receipt).within(WITHIN);
                seen.push((customer.clone(), query.get(customer).await.unwrap().value));
            }
            stop([running]).await;
            if !keeps_stores {
                std::fs::remove_dir_all(dir.path().join("state")).unwrap();
            }
        }
        assert_eq!(seen, last_told(), "stores kept: {keeps_stores}");
    }
}

#[test]
#[should_panic(
    expected = "the processor was not given the store \"totals\": give it to `process` with `.and(&store)`"
)]
fn a_store_that_was_not_given_stops_the_shard_by_name() {
    let mut app = App::new("shop").with(|options| options.partitions = 1);
    let (bought, _) = stores();
    let purchases = app.stream::<String, Purchase>("purchases");
    let told = purchases.process(Store::named("visits").and(&bought), Timers::default(), || {
        let (bought, totals) = stores();
        Loyalty { bought, totals }
    });
    app.emitter(told.to("told"));
    let mut driver = Driver::new(&app);
    driver.pipe("purchases", s("c"), (s("cup"), 1_u64), Timestamp(0));
}

#[test]
fn two_stores_of_one_name_are_a_mistake() {
    let mut app = App::new("shop");
    let (bought, totals) = stores();
    let purchases = app.stream::<String, Purchase>("purchases");
    let kept = Store::named("totals").and(&bought).and(&totals);
    let told = purchases.process(kept, Timers::default(), move || {
        let (bought, totals) = stores();
        Loyalty { bought, totals }
    });
    app.emitter(told.to("told"));
    let mistake = app.check().unwrap_err().to_string();
    assert!(mistake.contains("\"totals\" is the name of two pieces of state"), "{mistake}");
}
