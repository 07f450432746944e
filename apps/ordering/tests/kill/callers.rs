//! Callers that place orders under known ids and remember what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app_testing::connection::{Address, Connection};

/// How many customers there are.
const CUSTOMERS: u64 = 5;
/// Labels with their prices: one of each group, and one at a border.
const ITEMS: [(&str, &str); 4] = [("tea", "3.50"), ("lamp", "5"), ("chair", "49.99"), ("table", "120.00")];

/// An order as it is sent, each time alike.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) label: String,
    pub(crate) price: String,
}

impl Order {
    fn numbered(caller: u64, number: u64) -> Self {
        let (label, price) = ITEMS[(caller * 7 + number) as usize % ITEMS.len()];
        Self {
            id: format!("k-{caller}-{number}"),
            customer: format!("c{}", (caller + number) % CUSTOMERS),
            label: label.to_owned(),
            price: price.to_owned(),
        }
    }
}

pub(crate) fn customers() -> impl Iterator<Item = String> {
    (0..CUSTOMERS).map(|customer| format!("c{customer}"))
}

/// What callers sent, and whether each order was acknowledged.
#[derive(Default)]
pub(crate) struct Calls(BTreeMap<String, (Order, bool)>);

impl Calls {
    fn note(&mut self, order: &Order, acknowledged: bool) {
        self.0.entry(order.id.clone()).or_insert_with(|| (order.clone(), false)).1 |= acknowledged;
    }

    fn which(&self, acknowledged: bool) -> Vec<Order> {
        self.0.values().filter(|(_, told)| *told == acknowledged).map(|(order, _)| order.clone()).collect()
    }

    pub(crate) fn acknowledged(&self) -> Vec<Order> {
        self.which(true)
    }

    pub(crate) fn uncertain(&self) -> Vec<Order> {
        self.which(false)
    }

    pub(crate) fn all(&self) -> Vec<Order> {
        self.0.values().map(|(order, _)| order.clone()).collect()
    }
}

impl FromIterator<Calls> for Calls {
    fn from_iter<I: IntoIterator<Item = Calls>>(calls: I) -> Self {
        Self(calls.into_iter().flat_map(|calls| calls.0).collect())
    }
}

/// Places orders until told that it is over; some twice, some of the uncertain ones again.
pub(crate) fn call(caller: u64, address: &Address, over: &AtomicBool) -> Calls {
    let mut rng = fastrand::Rng::with_seed(caller);
    let mut calls = Calls::default();
    let mut connection = None;
    let mut number = 0;
    while !over.load(Ordering::SeqCst) {
        let Some(open) = connected(&mut connection, address) else { continue };
        let again = number > 0 && rng.u8(..8) == 0;
        let order = Order::numbered(caller, if again { rng.u64(..number) } else { number });
        number += u64::from(!again);
        let told = place(open, &order);
        assert!(!matches!(told, Some(200..=201 | 400..=499)), "{order:?} was answered {told:?}");
        calls.note(&order, told == Some(202));
        match told {
            None => connection = None,
            Some(202) => {}
            Some(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    calls
}

fn connected<'a>(connection: &'a mut Option<Connection>, address: &Address) -> Option<&'a mut Connection> {
    if connection.is_none() {
        *connection = address.get().and_then(Connection::open);
        if connection.is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    connection.as_mut()
}

/// Places an order; the answer's status, or `None` if there was no answer.
pub(crate) fn place(connection: &mut Connection, order: &Order) -> Option<u16> {
    let Order { id, customer, label, price } = order;
    let body = format!(
        r#"{{"orderId":"{id}","customerId":"{customer}","itemLabel":"{label}","itemPrice":"{price}"}}"#
    );
    connection.post("/orders", &body).map(|(status, _)| status)
}
