//! A reader sees its own write behind topologies that keep state, and where the way forks and joins again.

use std::sync::Arc;

use headwater::prelude::*;
use headwater::store::memory::MemoryStores;
use serde::{Deserialize, Serialize};

use super::{PARTITIONS, WITHIN, dyn_log, log, start};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Till;

#[derive(Serialize, Deserialize)]
struct Sell {
    customer: String,
    pence: u64,
}

#[derive(Serialize, Deserialize)]
enum Event {
    Sold(Sell),
}

impl Aggregate for Till {
    const NAME: &'static str = "till";
    type Id = String;
    type Command = Sell;
    type Event = Event;
    type Rejection = ();

    fn decide(&self, command: Sell, _: &Context) -> Result<Vec<Event>, ()> {
        Ok(vec![Event::Sold(command)])
    }

    fn evolve(&mut self, _: &Event) {}
}

fn sold(event: &Event) -> &Sell {
    let Event::Sold(sell) = event;
    sell
}

struct Shop {
    app: App,
    tills: Aggregates<Till>,
    /// What customers have spent, behind a topology that keeps state.
    spent: View<String, u64>,
    /// What came of each customer's sales on both ways.
    both: View<String, u64>,
}

fn shop() -> Shop {
    let mut app = App::new("shop").with(|options| options.partitions = PARTITIONS);
    let tills = app.aggregate::<Till>();
    let sales = tills.events().group_by("by-customer", |e| sold(e.value).customer.clone());
    let spent = sales.fold(Store::named("sums"), |sum: &mut u64, e| *sum += sold(e.value).pence);
    let told = spent.updates().repartition("told");
    let shown = app.view(told.to_table(Store::named("spent")));
    let ones =
        tills.events().select_key(|e| sold(e.value).customer.clone()).map_values(|_| 1).repartition("ones");
    let sums = told.map_values(|_| 100);
    let both = sums.merge(&ones).group_by_key();
    let both = app.view(both.fold(Store::named("both"), |sum: &mut u64, n| *sum += *n.value));
    Shop { app, tills, spent: shown, both }
}

#[tokio::test]
async fn a_reader_sees_its_write_along_every_way() {
    let log: dyn_log::Shared = Arc::new(log());
    let Shop { app, tills, spent, both } = shop();
    let running = start(&log, &MemoryStores::new(), app).await;
    let mut pence = std::collections::BTreeMap::<String, (u64, u64)>::new();
    for n in 0..60_u64 {
        let customer = format!("c{}", n % 5);
        let command = Sell { customer: customer.clone(), pence: n };
        let sale = running.send(&tills, &format!("t{}", n % 3), command).await.unwrap();
        let receipt = sale.accepted().unwrap();
        let (sum, sales) = pence.entry(customer.clone()).or_default();
        (*sum, *sales) = (*sum + n, *sales + 1);
        let asked =
            running.view(&spent).unwrap().after(&receipt).within(WITHIN).get(&customer).await.unwrap();
        assert_eq!(asked.value, Some(*sum), "sale {n}");
        let asked = running.view(&both).unwrap().after(&receipt).within(WITHIN).get(&customer).await.unwrap();
        assert_eq!(asked.value, Some(*sales * 101), "sale {n}");
    }
    assert!(running.stop(WITHIN).await);
}
