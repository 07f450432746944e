//! Each rule is shown a history that keeps it, and one that breaks it.

use super::*;
use crate::history::Way;

fn order(id: &str, customer: &str) -> Order {
    Order { id: id.into(), customer: customer.into(), label: "tea".into(), pence: 350 }
}

fn direct(order: Order) -> Command {
    Command { way: Way::Direct, order }
}

fn event(offset: u64, command: &Command, version: u64) -> Record {
    let Order { id, customer, label, pence } = &command.order;
    let value =
        format!(r#"{{"order":{{"customer":"{customer}","label":"{label}","price":{pence}}},"at":7}}"#);
    let headers = [("ce_sequence", version.to_string()), ("hw_command_id", command.id())];
    Record {
        topic: "ordering.order.events".into(),
        partition: 0,
        offset,
        key: Some(id.clone().into_bytes()),
        value: Some(value.into_bytes()),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

fn outcome(offset: u64, command: &Command, value: &str) -> Record {
    let key = format!(r#"["{}","{}"]"#, command.order.id, command.id());
    Record {
        topic: "ordering.order.outcomes".into(),
        partition: 0,
        offset,
        key: Some(key.into_bytes()),
        value: Some(value.as_bytes().to_vec()),
        headers: BTreeMap::new(),
    }
}

const PLACED: &str = r#"{"outcome":"accepted","from":0,"to":1}"#;
const REJECTED: &str = r#"{"outcome":"rejected","rejection":"\"IdTaken\""}"#;

fn batch(offset: u64, producer: i64, epoch: i64) -> Batch {
    let place = "ordering.order.events-0".to_owned();
    Batch { place, offset, producer, epoch, transactional: true, control: false }
}

fn answered(quantity: u64) -> Answered {
    Answered {
        instance: "instance-0".into(),
        customer: "c1".into(),
        items: BTreeMap::from([(("tea".into(), "cheap".into()), quantity)]),
        spent: BTreeMap::from([("cheap".into(), u128::from(quantity) * 350)]),
    }
}

/// One order accepted, another one refused under its id, a third one by the topic.
fn sound() -> Evidence {
    let (won, lost) = (direct(order("x-1", "c1")), direct(order("x-1", "c2")));
    let by_topic = Command { way: Way::Topic, order: order("t-1", "c1") };
    Evidence {
        commands: BTreeMap::from([
            (won.clone(), vec![Told::Unknown, Told::Accepted]),
            (lost, vec![Told::Refused]),
            (by_topic.clone(), vec![Told::Appended]),
            // Another direct one under this order's id came first, and was refused, too.
            (direct(order("t-1", "c1")), vec![Told::Refused]),
            (direct(order("d-1", "c1")), vec![Told::Unknown]),
        ]),
        events: vec![event(0, &won, 1), event(2, &by_topic, 1)],
        outcomes: vec![outcome(0, &won, PLACED), outcome(2, &by_topic, PLACED)],
        batches: vec![batch(0, 7, 3), batch(2, 8, 0), batch(4, 7, 4)],
        views: vec![answered(2)],
    }
}

/// What is wrong with sound evidence after this change.
fn after(change: impl FnOnce(&mut Evidence)) -> String {
    let mut evidence = sound();
    change(&mut evidence);
    judge(&evidence).join("\n")
}

#[test]
fn a_sound_history_breaks_nothing() {
    assert_eq!(judge(&sound()), [""; 0]);
}

#[test]
fn every_broken_history_is_told() {
    let (won, lost) = (direct(order("x-1", "c1")), direct(order("x-1", "c2")));
    let by_topic = Command { way: Way::Topic, order: order("t-1", "c1") };
    let unsent = direct(order("d-9", "c1"));
    let told = |command: &Command, told| {
        let command = command.clone();
        move |evidence: &mut Evidence| drop(evidence.commands.insert(command, vec![told]))
    };
    let cases = [
        (after(|e| drop(e.events.remove(0))), "was acknowledged and is in the log 0 times"),
        (after(|e| e.events.push(event(9, &won, 2))), "was acknowledged and is in the log 2 times"),
        (after(|e| e.events.push(event(9, &won, 2))), "order x-1 was placed 2 times"),
        (after(|e| e.events.push(event(9, &lost, 2))), "was refused, and the log holds"),
        (after(told(&direct(order("d-2", "c1")), Told::Refused)), "was refused, and the log holds []"),
        (after(|e| e.events[0] = event(0, &won, 2)), "has version Some(\"2\"), not 1"),
        (after(|e| e.events.push(event(9, &unsent, 1))), "that nobody sent"),
        (after(|e| e.events[0].value = Some(b"{".to_vec())), "holds no order's event"),
        (after(|e| drop(e.outcomes.remove(0))), "has no outcome of its command"),
        (after(|e| e.outcomes.push(outcome(9, &won, PLACED))), "was decided more than once"),
        (after(|e| e.outcomes[0] = outcome(0, &won, REJECTED)), "has 0 outcomes with events and 1 events"),
        (after(|e| drop(e.events.remove(1))), "has 1 outcomes with events and 0 events"),
        (after(|e| e.outcomes.retain(|o| !o.key_text().contains(&by_topic.id()))), "never decided"),
        (after(|e| e.views.push(answered(1))), "instance-0 says c1 ordered"),
        (after(|e| e.views[0].spent.clear()), "instance-0 says c1 spent"),
        (after(|e| e.batches.push(batch(5, 7, 3))), "a fenced writer appended"),
        (after(|e| e.batches.push(batch(5, 9, 4))), "is by another producer"),
        (after(|e| e.batches[0].transactional = false), "outside of a transaction"),
    ];
    for (violations, words) in cases {
        assert!(violations.contains(words), "{words:?} is not told by:\n{violations}");
    }
}
