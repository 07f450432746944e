use super::Next::{Ask, AskOpened, Rest};
use super::*;

/// What happens, so many milliseconds after the start, and what comes of it.
enum Step {
    /// Whether somebody begins to ask.
    Doubt(u64, bool),
    /// After so many milliseconds without an answer the circuit closes; or it was not open.
    Heard(u64, Option<u64>),
    Asked(u64, Next),
}
use Step::{Asked, Doubt, Heard};

fn check(steps: impl IntoIterator<Item = Step>) {
    let (start, mut circuit) = (Instant::now(), Circuit::default());
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut is_open = false;
    for (step, number) in steps.into_iter().zip(1..) {
        let now = match step {
            Doubt(ms, asks) => {
                assert_eq!(circuit.doubt(at(ms)), asks, "step {number}");
                at(ms)
            }
            Heard(ms, after) => {
                assert_eq!(circuit.heard(at(ms)), after.map(Duration::from_millis), "step {number}");
                is_open = false;
                at(ms)
            }
            Asked(ms, next) => {
                assert_eq!(circuit.asked(at(ms)), next, "step {number}");
                is_open |= next == AskOpened;
                at(ms)
            }
        };
        assert_eq!(circuit.open_for(now).is_some(), is_open, "after step {number}");
    }
}

#[test]
fn it_opens_when_no_broker_answers_and_closes_at_the_first_answer() {
    check([
        Doubt(0, true),
        Asked(10, Ask),
        Doubt(100, false),
        Asked(1_999, Ask),
        Asked(2_000, AskOpened),
        Asked(2_300, Ask),
        Doubt(2_400, false),
        Heard(60_000, Some(60_000)),
        Asked(60_000, Rest),
        // Another outage is another one.
        Doubt(62_000, true),
        Asked(63_999, Ask),
        Asked(64_000, AskOpened),
    ]);
}

#[test]
fn a_doubt_that_any_broker_answers_comes_to_nothing() {
    check([
        Doubt(0, true),
        Asked(1_900, Ask),
        Heard(1_950, None),
        Asked(1_950, Rest),
        // The answer is good for a while, whatever goes wrong with one partition meanwhile.
        Doubt(2_000, false),
        Doubt(2_900, false),
        Doubt(2_950, true),
        Asked(4_900, Ask),
        Heard(4_910, None),
        Asked(4_910, Rest),
    ]);
}

#[test]
fn a_process_that_was_held_for_long_asks_once_more() {
    check([Doubt(0, true), Asked(60_000, Ask), Heard(60_010, None), Asked(60_010, Rest)]);
    check([Doubt(0, true), Asked(60_000, Ask), Asked(60_010, AskOpened)]);
}

#[test]
fn whoever_asks_goes_on_for_the_next_doubt() {
    check([
        Doubt(0, true),
        // A commit was answered while brokers are being asked, and another one is in doubt before they are done.
        Heard(100, None),
        Doubt(1_200, false),
        Asked(1_300, Ask),
        Asked(3_200, AskOpened),
        Heard(3_300, Some(2_100)),
        Doubt(3_400, false),
        Asked(3_500, Rest),
    ]);
}
