//! A small shop: one aggregate, three views, on the memory log.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use headwater::core::clock::SystemClock;
use headwater::core::store::StateStores;
use headwater::log::memory::{MemoryLog, MemoryOptions};
use headwater::peers::{PeerAddress, Peers, Switchboard};
use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use headwater::{AppOptions, Parts, ViewQuery};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Order {
    placed: Option<NewOrder>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewOrder {
    pub customer: String,
    pub item: String,
    pub pence: u64,
}

#[derive(Clone, Serialize, Deserialize)]
pub enum Command {
    Place(NewOrder),
}

impl Command {
    pub fn place(customer: &str, item: &str, pence: u64) -> Self {
        Self::Place(NewOrder { customer: customer.into(), item: item.into(), pence })
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Placed(NewOrder),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Rejection {
    IdTaken,
}

impl Aggregate for Order {
    const NAME: &'static str = "order";
    type Id = String;
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, Command::Place(order): Command, _: &Context) -> Result<Vec<Event>, Rejection> {
        match &self.placed {
            None => Ok(vec![Event::Placed(order)]),
            Some(placed) if *placed == order => Ok(vec![]),
            Some(_) => Err(Rejection::IdTaken),
        }
    }

    fn evolve(&mut self, Event::Placed(order): &Event) {
        self.placed = Some(order.clone());
    }
}

fn order(event: &Event) -> &NewOrder {
    let Event::Placed(order) = event;
    order
}

pub struct Shop {
    pub app: App,
    pub orders: Aggregates<Order>,
    pub items: View<(String, String), u64>,
    pub paid_items: View<(String, String), u64>,
    pub spent: View<String, u64>,
    pub replicated: View<String, u64>,
}

pub fn shop(spent_version: u32) -> Shop {
    let mut app = App::new("shop").with(|options| options.partitions = 3);
    let orders = app.aggregate::<Order>();
    let by_item = |e: &Event| (order(e).customer.clone(), order(e).item.clone());
    let items = app.view(
        orders.events().group_by("items-by-customer", move |e| by_item(e.value)).count(Store::named("items")),
    );
    let paid_items = app.view(
        orders
            .events()
            .filter(|e| order(e.value).pence > 0)
            .group_by("paid-by-customer", move |e| by_item(e.value))
            .count(Store::named("paid-items")),
    );
    let spent = app.view(
        orders
            .events()
            .group_by("orders-by-customer", |e| order(e.value).customer.clone())
            .fold(Store::named("spent"), move |sum: &mut u64, e| {
                *sum += order(e.value).pence * u64::from(spent_version)
            })
            .version(spent_version),
    );
    let replicated = app.view(orders.events().group_by_key().count(Store::named("replicated")).replicated());
    Shop { app, orders, items, paid_items, spent, replicated }
}

pub struct Fixture {
    pub log: MemoryLog,
    pub stores: MemoryStores,
    pub running: Running,
    pub orders: Aggregates<Order>,
    items: View<(String, String), u64>,
    paid_items: View<(String, String), u64>,
    spent: View<String, u64>,
    replicated: View<String, u64>,
}

impl Fixture {
    pub async fn start() -> Self {
        let log = MemoryLog::new(MemoryOptions {
            seed: 1,
            clock: Arc::new(SystemClock),
            ..MemoryOptions::default()
        });
        Self::on(log, MemoryStores::new(), 1).await
    }

    pub async fn on(log: MemoryLog, stores: MemoryStores, spent_version: u32) -> Self {
        Self::parts_on(Self::alone(&log, &stores), log, stores, shop(spent_version), Parts::ALL).await
    }

    /// One with other settings.
    pub async fn with(log: MemoryLog, stores: MemoryStores, change: impl FnOnce(&mut AppOptions)) -> Self {
        let shop = shop(1);
        let shop = Shop { app: shop.app.with(change), ..shop };
        Self::parts_on(Self::alone(&log, &stores), log, stores, shop, Parts::ALL).await
    }

    /// One on a log of its own, which stands on `log`.
    pub async fn started(headwater: Headwater, log: MemoryLog) -> Self {
        Self::parts_on(headwater, log, MemoryStores::new(), shop(1), Parts::ALL).await
    }

    fn alone(log: &MemoryLog, stores: &MemoryStores) -> Headwater {
        Headwater::on(Arc::new(log.clone()), Arc::new(stores.clone()))
    }
    /// One of several instances on a log, reached at `name` by the others.
    pub async fn among(board: &Switchboard, log: &MemoryLog, name: &str, parts: Parts) -> Self {
        Self::asking(Arc::new(board.clone()), board, log, name, parts, |_| {}).await
    }

    /// The same with other settings, and a transport of its own to the others.
    pub async fn asking(
        peers: Arc<dyn Peers>,
        board: &Switchboard,
        log: &MemoryLog,
        name: &str,
        parts: Parts,
        change: impl FnOnce(&mut AppOptions),
    ) -> Self {
        let stores = MemoryStores::new();
        let address = PeerAddress::new(name);
        let headwater = Headwater::on(Arc::new(log.clone()), Arc::new(stores.clone())).among(
            name,
            address.clone(),
            peers,
        );
        board.connect(address, headwater.peer_service().unwrap());
        let shop = shop(1);
        let shop = Shop { app: shop.app.with(change), ..shop };
        Self::parts_on(headwater, log.clone(), stores, shop, parts).await
    }

    async fn parts_on(
        headwater: Headwater,
        log: MemoryLog,
        stores: MemoryStores,
        shop: Shop,
        parts: Parts,
    ) -> Self {
        let Shop { app, orders, items, paid_items, spent, replicated } = shop;
        let running = headwater.start_parts(app, parts).await.unwrap();
        Self { log, stores, running, orders, items, paid_items, spent, replicated }
    }

    pub async fn place(
        &self,
        id: &str,
        customer: &str,
        item: &str,
        pence: u64,
    ) -> Result<Outcome<Order>, SendError> {
        self.running.send(&self.orders, &id.to_owned(), Command::place(customer, item, pence)).await
    }

    pub fn items(&self) -> ViewQuery<(String, String), u64> {
        self.running.view(&self.items).unwrap()
    }

    pub fn paid_items(&self) -> ViewQuery<(String, String), u64> {
        self.running.view(&self.paid_items).unwrap()
    }

    pub fn spent(&self) -> ViewQuery<String, u64> {
        self.running.view(&self.spent).unwrap()
    }

    pub fn replicated(&self) -> ViewQuery<String, u64> {
        self.running.view(&self.replicated).unwrap()
    }

    pub fn store_names(&self) -> Vec<String> {
        self.stores.names().unwrap()
    }

    pub async fn ready(&self) {
        self.running.ready(Duration::from_secs(10)).await.unwrap();
    }

    pub async fn crash(self, keep_stores: bool) -> Self {
        let log = self.log.crash();
        self.running.stop(Duration::from_secs(10)).await;
        let stores = if keep_stores { self.stores } else { MemoryStores::new() };
        Self::on(log, stores, 1).await
    }

    pub async fn restart_with(self, spent_version: u32) -> Self {
        self.running.stop(Duration::from_secs(10)).await;
        Self::on(self.log, self.stores, spent_version).await
    }

    pub async fn stop(self) {
        assert!(self.running.stop(Duration::from_secs(10)).await, "stops in bounded time");
    }
}
