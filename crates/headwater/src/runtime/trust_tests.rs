use headwater_core::position::Position;

use super::*;

fn topic() -> TopicName {
    TopicName::new("a.events").unwrap()
}

fn here() -> Provenance {
    Provenance::new(LogId(1), vec![(topic(), TopicId(7))])
}

/// Why a state that stands at `next` is not trusted where the log holds offsets 5 to 9.
fn reason(note: Bytes, next: u64, is_kept: bool) -> Option<String> {
    let partition = topic().partition(0);
    let checkpoint = Checkpoint { position: Position::from_iter([(partition.clone(), Offset(next))]), note };
    let bounds = Bounds { start: Offset(5), end: Offset(9) };
    distrust(&checkpoint, &here(), &[Input { partition, bounds, is_kept, is_compacted: false }])
        .map(|why| why.to_string())
}

#[test]
fn a_state_is_trusted_for_the_log_and_the_topics_that_it_was_folded_from() {
    let old_log = Provenance::new(LogId(2), vec![(topic(), TopicId(7))]);
    let old_topic = Provenance::new(LogId(1), vec![(topic(), TopicId(8))]);
    let cases = [
        (here().note(false, &Landmarks::default()), None),
        (here().note(true, &Landmarks::default()), None),
        (Bytes::from_static(CAUGHT_UP_V1), None),
        (Bytes::new(), None),
        (
            old_log.note(true, &Landmarks::default()),
            Some("folded from the log 00000000000000000000000000000002"),
        ),
        (
            old_topic.note(true, &Landmarks::default()),
            Some("folded from the topic a.events of id 00000000000000000000000000000008"),
        ),
    ];
    for (note, expected) in cases {
        let found = reason(note.clone(), 7, true);
        assert_eq!(found.is_some(), expected.is_some(), "{note:?}: {found:?}");
        assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{note:?}");
    }
}

#[test]
fn a_state_outside_the_log_is_not_trusted() {
    let cases = [
        (4, true, Some("begins at 5")),
        (4, false, None),
        (5, true, None),
        (9, true, None),
        (10, true, Some("ends at 9")),
        (10, false, Some("ends at 9")),
    ];
    for (next, is_kept, expected) in cases {
        let found = reason(here().note(true, &Landmarks::default()), next, is_kept);
        assert_eq!(found.is_some(), expected.is_some(), "{next} {is_kept}: {found:?}");
        assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{next}");
    }
}

#[test]
fn a_note_says_whether_the_state_had_caught_up() {
    let cases = [
        (here().note(false, &Landmarks::default()), false),
        (here().note(true, &Landmarks::default()), true),
        (Bytes::new(), false),
        ("caught-up".into(), true),
    ];
    for (note, expected) in cases {
        assert_eq!(had_caught_up(&note), expected, "{note:?}");
    }
}
