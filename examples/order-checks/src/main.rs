//! Orders that pass every check, or say which they failed.
//!
//! Each check is a stream of its own, as if a service of its own made it: of an order's details, of the stock, and of
//! what its customer has spent. Their verdicts meet again under the order's id; when all are there, the order has an
//! outcome. `cargo run -p order-checks` places a few orders and prints what became of them.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use headwater::config::Config;
use headwater::prelude::*;
use headwater::{Keyed, Processing, Processor, Timers};
use serde::{Deserialize, Serialize};

const ORDERS: &str = "orders-to-check";
const STOCK: &str = "stock";
const OUTCOMES: &str = "outcomes";

/// What a customer may spend without anybody looking at it, in cents.
const LIMIT: u64 = 200_000;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    customer: String,
    item: String,
    quantity: u64,
    cents: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Check {
    Details,
    Stock,
    Limit,
}

const CHECKS: [Check; 3] = [Check::Details, Check::Stock, Check::Limit];

/// What a check says of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Verdict {
    check: Check,
    passed: bool,
}

/// What the checks have said of an order so far.
type Verdicts = BTreeMap<Check, bool>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Outcome {
    Validated,
    Failed(Vec<Check>),
}

struct OrderChecks {
    app: App,
    outcomes: View<String, Outcome>,
}

fn order_checks() -> OrderChecks {
    let mut app = App::new("order-checks");
    let orders = app.stream::<String, Order>(ORDERS);
    let stock = app.table::<String, u64>(STOCK);

    let details = orders
        .map_values(|order| Verdict { check: Check::Details, passed: order.quantity > 0 && order.cents > 0 })
        .repartition("details-checked");
    let in_stock = orders
        .map(|order| (order.item.clone(), (order.key.clone(), order.quantity)))
        .repartition("orders-by-item")
        .left_join(
            &stock,
            |order, stock| (order.0.clone(), stock.is_some_and(|there| order.1 <= *there)),
            Join::default(),
        )
        .map(|checked| (checked.0.clone(), Verdict { check: Check::Stock, passed: checked.1 }))
        .repartition("stock-checked");
    let within_limit = orders
        .map(|order| (order.customer.clone(), (order.key.clone(), order.cents)))
        .repartition("orders-by-customer")
        .process(Store::named("spent"), Timers::default(), || Limit)
        .repartition("limits-checked");

    let verdicts = details.merge(&in_stock).merge(&within_limit).group_by_key().fold(
        Store::named("verdicts"),
        |verdicts: &mut Verdicts, verdict| {
            verdicts.insert(verdict.check, verdict.passed);
        },
    );
    let decided = verdicts.updates().flat_map_values(|verdicts| outcome_of(&verdicts).into_iter().collect());
    app.emitter(decided.to(OUTCOMES));
    let outcomes = app.view(app.table::<String, Outcome>(OUTCOMES).stored(Store::named("order-outcomes")));
    OrderChecks { app, outcomes }
}

/// None before every check has said something.
fn outcome_of(verdicts: &Verdicts) -> Option<Outcome> {
    let said = |check: &Check| verdicts.get(check).map(|passed| (*check, *passed));
    let said: Vec<_> = CHECKS.iter().map(said).collect::<Option<_>>()?;
    let failed: Vec<_> = said.into_iter().filter(|(_, passed)| !passed).map(|(check, _)| check).collect();
    Some(if failed.is_empty() { Outcome::Validated } else { Outcome::Failed(failed) })
}

/// Adds up what each customer spends; an order beyond the limit fails, and is not added.
struct Limit;

impl Processor for Limit {
    type Key = String;
    type Value = (String, u64);
    type OutKey = String;
    type OutValue = Verdict;
    type RowKey = String;
    type Row = u64;

    fn process(&mut self, item: Keyed<'_, String, (String, u64)>, next: &mut Processing<'_, '_, Self>) {
        let (order, cents) = item.value;
        let spent = next.get(item.key).unwrap_or(0).saturating_add(*cents);
        let passed = spent <= LIMIT;
        if passed {
            next.put(item.key, &spent);
        }
        next.forward(order, &Verdict { check: Check::Limit, passed });
    }
}

fn order(customer: &str, item: &str, quantity: u64, cents: u64) -> Order {
    Order { customer: customer.to_owned(), item: item.to_owned(), quantity, cents }
}

/// Orders that between them meet every check.
fn some_orders() -> Vec<(&'static str, Order)> {
    vec![
        ("o1", order("ann", "kettle", 1, 4_900)),
        ("o2", order("ann", "kettle", 0, 4_900)),
        ("o3", order("ben", "piano", 1, 150_000)),
        ("o4", order("ben", "kettle", 20, 60_000)),
    ]
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::load("order-checks", "Places a few orders and prints what became of them");
    let OrderChecks { app, outcomes } = order_checks();
    let running = Headwater::open(&config).await?.start(app).await?;
    running.publish(&STOCK.into(), &"kettle".to_owned(), &5_u64).await?;
    let stock = running.publish(&STOCK.into(), &"piano".to_owned(), &1_u64).await?;
    // The stock lies in one topic and the orders in another: a moment lets those of the past come first.
    let _ = running.view(&outcomes)?.after(&stock).within(Duration::from_secs(10)).count().await?;
    for (id, order) in some_orders() {
        let placed = running.publish(&ORDERS.into(), &id.to_owned(), &order).await?;
        let view = running.view(&outcomes)?.after(&placed).within(Duration::from_secs(10));
        match view.get(&id.to_owned()).await?.value {
            Some(Outcome::Validated) => println!("{id}: validated"),
            Some(Outcome::Failed(checks)) => println!("{id}: failed {checks:?}"),
            None => println!("{id}: not decided yet"),
        }
    }
    running.stop(Duration::from_secs(10)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use headwater::core::clock::Timestamp;
    use headwater::testing::Driver;

    use super::*;

    #[test]
    fn an_order_is_validated_once_every_check_has_passed_it() {
        let OrderChecks { app, outcomes } = order_checks();
        let mut driver = Driver::new(&app);
        driver.pipe(STOCK, "kettle".to_owned(), 5_u64, Timestamp(0));
        driver.pipe(STOCK, "piano".to_owned(), 1_u64, Timestamp(0));
        for (id, order) in some_orders() {
            driver.pipe(ORDERS, id.to_owned(), order, Timestamp(1));
        }
        let expected = [
            ("o1", Outcome::Validated),
            ("o2", Outcome::Failed(vec![Check::Details])),
            ("o3", Outcome::Validated),
            ("o4", Outcome::Failed(vec![Check::Stock, Check::Limit])),
        ];
        assert_eq!(driver.view(&outcomes).all(), expected.map(|(id, outcome)| (id.to_owned(), outcome)));
    }
}
