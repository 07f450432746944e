//! Any process answers everything, while others come and go.

use kafka_broker::Broker;

use crate::processes::{Process, alone, assert_refused, quantity_once};

#[test]
fn any_process_answers_and_goes_on_when_others_are_killed() {
    let _alone = alone();
    let broker = Broker::start().expect("a broker starts");
    let roles = ["command", "command", "query", "query"];
    // All at once, on a cluster without a topic.
    let mut processes = std::thread::scope(|scope| {
        let starting = roles.map(|role| scope.spawn(|| Process::start(&broker, role)));
        starting.map(|process| process.join().expect("it starts"))
    });
    processes.iter().for_each(Process::ready);

    let mut placed = 0;
    for round in 0..3 {
        for process in &processes {
            placed += 1;
            let (id, customer) = (format!("o{placed}"), format!("c{placed}"));
            let receipt = process.place_for_good(&id, &customer);
            let asked = &processes[(placed + round) % processes.len()];
            assert_eq!(asked.quantity(&customer, &receipt), 1, "by any of them");
            assert_eq!(asked.told(&format!("/orders/{id}"), &receipt)["version"], 1);
        }
    }
    for process in &processes {
        assert!(process.get("/").body.contains("<html"), "each serves the page");
        let stranger = process.ask("POST", "/-/peers/ordering", "", b"");
        assert_eq!(stranger.problem().0, 401, "who has not the secret is no instance");
    }

    // One of each role, so that shards of both kinds move.
    processes[0].kill();
    processes[2].kill();
    let (mut last, left, others) = (String::new(), [1, 3], placed);
    for n in 0..24 {
        placed += 1;
        last = processes[left[n % 2]].place_for_good(&format!("o{placed}"), "ada");
        // An order that is there is never said not to be.
        assert_eq!(
            processes[left[(n + 1) % 2]].told(&format!("/orders/o{}", placed / 2), &last)["version"],
            1
        );
    }
    let hers = (placed - others) as u64;
    for at in left {
        assert_eq!(quantity_once(&processes[at], "ada", &last, hers), hers, "each once");
    }

    processes[3].kill();
    for _ in 0..8 {
        placed += 1;
        last = processes[1].place_for_good(&format!("o{placed}"), "ada");
    }
    assert_refused(&processes[1].get("/orders?customerId=ada"));
    processes[2].start_again();
    let hers = (placed - others) as u64;
    for at in [1, 2] {
        let quantity = quantity_once(&processes[at], "ada", &last, hers);
        assert_eq!(quantity, hers, "the query side has caught up");
    }
}
