//! Orders with the names of their customers, right whichever of the two changes.
//!
//! Orders and customers are two tables; an order names its customer, which makes that a foreign key. When a customer
//! changes its name, all its orders follow. `cargo run -p enrichment` shows it.

use std::error::Error;
use std::time::{Duration, Instant};

use headwater::config::Config;
use headwater::prelude::*;
use serde::{Deserialize, Serialize};

const ORDERS: &str = "orders-of-customers";
const CUSTOMERS: &str = "customer-names";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    customer: String,
    item: String,
}

struct Enrichment {
    app: App,
    orders: View<String, String>,
}

fn enrichment() -> Enrichment {
    let mut app = App::new("enrichment");
    let orders = app.table::<String, Order>(ORDERS);
    let customers = app.table::<String, String>(CUSTOMERS);
    let named = orders.join_on(
        Store::named("orders-with-names"),
        &customers,
        |_, order| order.customer.clone(),
        |order, name| format!("{} for {name}", order.item),
    );
    let orders = app.view(named);
    Enrichment { app, orders }
}

fn order(customer: &str, item: &str) -> Order {
    Order { customer: customer.to_owned(), item: item.to_owned() }
}

/// The row of an order, once it says what is expected, or as it is when there was time enough.
async fn row_of(
    running: &Running,
    orders: &View<String, String>,
    id: &str,
    expected: &str,
) -> Result<String, Box<dyn Error>> {
    let begun = Instant::now();
    loop {
        let row = running.view(orders)?.get(&id.to_owned()).await?.value.unwrap_or_default();
        if row == expected || begun.elapsed() > Duration::from_secs(10) {
            return Ok(row);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::load("enrichment", "Joins orders with the names of their customers");
    let Enrichment { app, orders } = enrichment();
    let running = Headwater::open(&config).await?.start(app).await?;
    let (one, two) = ("o1".to_owned(), "o2".to_owned());
    running.publish(&CUSTOMERS.into(), &"c1".to_owned(), &"Ann".to_owned()).await?;
    running.publish(&ORDERS.into(), &one, &order("c1", "kettle")).await?;
    running.publish(&ORDERS.into(), &two, &order("c1", "piano")).await?;
    println!("o1: {}", row_of(&running, &orders, "o1", "kettle for Ann").await?);
    println!("o2: {}", row_of(&running, &orders, "o2", "piano for Ann").await?);
    running.publish(&CUSTOMERS.into(), &"c1".to_owned(), &"Anna".to_owned()).await?;
    println!("o1: {}", row_of(&running, &orders, "o1", "kettle for Anna").await?);
    println!("o2: {}", row_of(&running, &orders, "o2", "piano for Anna").await?);
    running.stop(Duration::from_secs(10)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use headwater::core::clock::Timestamp;
    use headwater::testing::Driver;

    use super::*;

    #[test]
    fn an_order_follows_its_customer_and_may_change_it() {
        let Enrichment { app, orders } = enrichment();
        let mut driver = Driver::new(&app);
        let s = |text: &str| text.to_owned();
        driver.pipe(ORDERS, s("o1"), order("c1", "kettle"), Timestamp(0));
        assert_eq!(driver.view(&orders).all(), []);
        driver.pipe(CUSTOMERS, s("c1"), s("Ann"), Timestamp(1));
        driver.pipe(CUSTOMERS, s("c2"), s("Ben"), Timestamp(2));
        assert_eq!(driver.view(&orders).all(), [(s("o1"), s("kettle for Ann"))]);
        driver.pipe(ORDERS, s("o1"), order("c2", "kettle"), Timestamp(3));
        assert_eq!(driver.view(&orders).all(), [(s("o1"), s("kettle for Ben"))]);
        driver.delete(CUSTOMERS, s("c2"), Timestamp(4));
        assert_eq!(driver.view(&orders).all(), []);
    }
}
