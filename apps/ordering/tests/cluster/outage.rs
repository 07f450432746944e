//! The broker is gone for a while: orders are refused, questions answered from what is here, and all goes on by itself.

use std::thread;
use std::time::Duration;

use kafka_broker::Broker;

use crate::processes::{Process, alone, assert_refused, header, quantity_once};
use app_testing::patience::within_patience;

/// Longer than a session of the group, so that every member is given up if the broker only seems to be gone.
const OUTAGE: Duration = Duration::from_secs(8);

#[test]
fn without_its_broker_it_refuses_orders_and_answers_as_of_before_until_the_broker_is_back() {
    let _alone = alone();
    let broker = Broker::start().expect("a broker starts");
    let (commands, queries) = (Process::start(&broker, "command"), Process::start(&broker, "query"));
    commands.ready();
    queries.ready();
    let receipt = commands.place_for_good("o1", "ada");
    assert_eq!(queries.quantity("ada", &receipt), 1);
    // What was committed has been settled by then: a broker that is killed before that loses it for a while.
    thread::sleep(Duration::from_secs(1));

    broker.kill().expect("it can be killed");
    let begun = std::time::Instant::now();
    assert_refused(&commands.place_once("o2", "ada"));
    assert_refused(&queries.place_once("o3", "ada"));
    // Once the loss is known, nobody waits to be told.
    for process in [&commands, &queries] {
        within_patience("it is refused for what is known", || {
            let refused = process.place_once("o2", "ada");
            assert_refused(&refused);
            refused.body.contains("no broker of the cluster").then_some(())
        });
    }
    let stale = within_patience("it says for how long the log has been silent", || {
        let answer = queries.get("/orders?customerId=ada");
        assert_eq!((answer.status, &answer.json()[0]["quantity"]), (200, &1.into()), "{answer:?}");
        header(&answer, "headwater-stale-ms")?.parse::<u64>().ok()
    });
    assert!(u128::from(stale) <= begun.elapsed().as_millis() + 10_000, "{stale} ms");
    for process in [&commands, &queries] {
        let order = process.get("/orders/o1");
        assert_eq!(order.status, 200, "{order:?}");
        assert!(header(&order, "headwater-stale-ms").is_some(), "{order:?}");
        assert!(process.get("/readyz").body.contains("the log has not answered"), "it is told");
    }
    assert_eq!(commands.get("/readyz").status, 503, "it can take no orders");
    assert_eq!(queries.get("/readyz").status, 200, "it answers questions");
    thread::sleep(OUTAGE.saturating_sub(begun.elapsed()));

    broker.restart().expect("it starts again on its data");
    commands.ready();
    for id in ["o2", "o3"] {
        let receipt = queries.place_for_good(id, "ada");
        commands.told(&format!("/orders/{id}"), &receipt);
    }
    let last = commands.place_for_good("o4", "ada");
    for process in [&queries, &commands] {
        let quantity = quantity_once(process, "ada", &last, 4);
        assert_eq!(quantity, 4, "each counts once, whatever was answered before");
    }
    within_patience("the answers are not stale any more", || {
        header(&queries.get("/orders?customerId=ada"), "headwater-stale-ms").is_none().then_some(())
    });
}
