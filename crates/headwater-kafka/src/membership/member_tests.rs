//! Lives of members in words: at a time (in ms) it hears something, and this is what is to be done.
//!
//! `m@2` is the place of the id `m` in generation 2, `-` no id. What is heard: `tick`, `joined m@2`, `joined m@2 lead
//! m@1:0,1 n@-1:` (a leader among members and their claims), `share 0,1`, `beat`, `released 1`, `leave`, and
//! `join!`, `sync!`, `beat!` with a refusal.

use super::*;

const SESSION: Duration = Duration::from_secs(6);

fn rules() -> Rules {
    Rules {
        shards: 4,
        beat_every: Duration::from_millis(500),
        pause: Duration::from_millis(200),
        release_within: Duration::from_secs(20),
        stray_for: Duration::from_secs(30),
        join_heard_within: SESSION / 3,
        stays: false,
    }
}

fn shards(text: &str) -> BTreeSet<Partition> {
    let texts = text.split(',').filter(|shard| !shard.is_empty());
    texts.map(|shard| Partition(shard.parse().unwrap())).collect()
}

fn place(text: &str) -> Place {
    let (id, generation) = text.split_once('@').unwrap();
    Place { id: id.to_owned(), generation: generation.parse().unwrap() }
}

fn claimant(text: &str) -> Claimant {
    let (who, owned) = text.split_once(':').unwrap();
    let Place { id, generation } = place(who);
    Claimant { name: id.clone(), id, takes_part: true, generation, owned: shards(owned) }
}

fn joined(text: &str) -> Joined {
    let mut words = text.split_whitespace();
    let place = place(words.next().unwrap());
    let lead = words.next().map(|lead| {
        assert_eq!(lead, "lead");
        words.map(claimant).collect()
    });
    Joined { place, lead }
}

fn refusal(text: &str) -> Refusal {
    match text {
        "elsewhere" => Refusal::Elsewhere,
        "loading" => Refusal::Loading,
        "rebalancing" => Refusal::Rebalancing,
        "unknown" => Refusal::UnknownMember,
        "old" => Refusal::OldGeneration,
        "fenced" => Refusal::Fenced,
        "no-answer" => Refusal::NoAnswer,
        "final" => Refusal::Final,
        "other" => Refusal::Other,
        id => Refusal::TakeId(id.strip_prefix("take:").expect("a refusal").to_owned()),
    }
}

fn input(text: &str) -> Input {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    match verb {
        "tick" => Input::Tick,
        "joined" => Input::Joined(Ok(joined(rest))),
        "join!" => Input::Joined(Err(refusal(rest))),
        "share" => Input::Synced(Ok(shards(rest))),
        "sync!" => Input::Synced(Err(refusal(rest))),
        "beat" => Input::Beaten(Ok(())),
        "beat!" => Input::Beaten(Err(refusal(rest))),
        "released" => Input::Released(Partition(rest.parse().unwrap())),
        "leave" => Input::Leave,
        _ => panic!("{text}"),
    }
}

fn listed(shards: &BTreeSet<Partition>) -> String {
    shards.iter().map(|shard| shard.0.to_string()).collect::<Vec<_>>().join(",")
}

fn named(id: &str) -> &str {
    if id.is_empty() { "-" } else { id }
}

fn told(output: &Output) -> String {
    match output {
        Output::Join(Presence { id, generation, owned }) => {
            format!("join {}@{generation}:{}", named(id), listed(owned))
        }
        Output::Sync(Place { id, generation }, shares) => {
            let share = |(id, share): (&String, &BTreeSet<Partition>)| format!(" {id}:{}", listed(share));
            format!("sync {id}@{generation}{}", shares.iter().map(share).collect::<String>())
        }
        Output::Beat(Place { id, generation }) => format!("beat {id}@{generation}"),
        Output::Leave(id) => format!("leave {}", named(id)),
        Output::FindAnew => "find".to_owned(),
        Output::Gain(shard) => format!("gain {}", shard.0),
        Output::Revoke(shard) => format!("revoke {}", shard.0),
        Output::Take(shard) => format!("take {}", shard.0),
        Output::Lose(shard) => format!("lose {}", shard.0),
        Output::End(end) => format!("end {end:?}"),
    }
}

/// Lives through steps: when, what is heard, what is to be done.
fn live(what: &str, rules: Rules, steps: &[(u64, &str, &str)]) -> Member {
    let mut member = Member::new(rules);
    for (at, heard, expected) in steps {
        let outputs = member.hear(Duration::from_millis(*at), input(heard));
        let outputs: Vec<String> = outputs.iter().map(told).collect();
        assert_eq!(outputs.join("; "), *expected, "{what}: at {at} ms, hearing {heard:?}");
    }
    member
}

/// A member that has shards 0 and 1 in the first generation, its next heartbeat due at 60.5 s.
const SETTLED: [(u64, &str, &str); 3] =
    [(0, "tick", "join -@-1:"), (60_000, "joined m@1", "sync m@1"), (60_000, "share 0,1", "gain 0; gain 1")];

/// The same, with a heartbeat under way since 60.5 s.
const BEATING: [(u64, &str, &str); 1] = [(60_500, "tick", "beat m@1")];

fn settled(what: &str, steps: &[(u64, &str, &str)]) -> Member {
    live(what, rules(), &[&SETTLED[..], &BEATING, steps].concat())
}

#[test]
fn a_member_joins_gets_its_share_and_beats() {
    live(
        "a first member",
        rules(),
        &[
            (0, "tick", "join -@-1:"),
            (10, "joined m@1", "sync m@1"),
            (20, "share 0,1", "gain 0; gain 1"),
            (509, "tick", ""),
            (510, "tick", "beat m@1"),
            (520, "beat", ""),
            (1_010, "tick", "beat m@1"),
            (1_600, "tick", ""),
            (1_700, "beat", "beat m@1"),
        ],
    );
    live(
        "a leader shares out",
        rules(),
        &[
            (0, "tick", "join -@-1:"),
            (10, "joined m@1 lead m@-1: n@-1:", "sync m@1 m:0,2 n:1,3"),
            (20, "share 0,2", "gain 0; gain 2"),
        ],
    );
    live(
        "a member that is given its id first",
        rules(),
        &[(0, "tick", "join -@-1:"), (5, "join! take:m", "join m@-1:"), (9, "joined m@1", "sync m@1")],
    );
}

#[test]
fn shards_stay_through_a_round_and_only_what_moves_is_given_up() {
    settled(
        "another one joins",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_600, "joined m@2", "sync m@2"),
            (60_610, "share 0", "revoke 1"),
            (61_000, "released 1", "join m@2:0"),
            (61_010, "joined m@3", "sync m@3"),
            (61_020, "share 0", ""),
        ],
    );
    settled(
        "it joins again once the last one is given up",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_600, "joined m@2", "sync m@2"),
            (60_610, "share 2", "revoke 0; revoke 1; gain 2"),
            (60_700, "released 0", ""),
            (60_800, "released 1", "join m@2:2"),
        ],
    );
    settled(
        "who does not give up in time is not asked any more",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_600, "joined m@2", "sync m@2"),
            (60_610, "share 0", "revoke 1"),
            (80_609, "tick", "beat m@2"),
            (80_610, "tick", "take 1; join m@2:0"),
            (80_700, "released 1", ""),
        ],
    );
    settled(
        "a shard that comes back while it is given up is gained anew",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_600, "joined m@2", "sync m@2"),
            (60_610, "share 0", "revoke 1"),
            (61_100, "tick", "beat m@2"),
            (61_110, "beat! rebalancing", "join m@2:0,1"),
            (61_120, "joined m@3", "sync m@3"),
            (61_130, "share 0,1", ""),
            (61_140, "released 1", "gain 1"),
        ],
    );
    settled(
        "a shard that is given up during a round is reported by another one",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_600, "joined m@2", "sync m@2"),
            (60_610, "share 0", "revoke 1"),
            (61_100, "tick", "beat m@2"),
            (61_110, "beat! rebalancing", "join m@2:0,1"),
            (61_115, "released 1", ""),
            (61_120, "joined m@3", "sync m@3"),
            (61_130, "share 0", "join m@3:0"),
        ],
    );
}

#[test]
fn what_an_overtaken_heartbeat_is_answered_counts_for_nothing() {
    for answer in ["beat", "beat! rebalancing", "beat! old", "beat! unknown", "beat! fenced", "beat! loading"]
    {
        settled(
            answer,
            &[
                (60_510, "beat! rebalancing", "join m@1:0,1"),
                (61_000, "tick", "beat m@1"),
                (61_010, answer, ""),
                (61_500, "tick", "beat m@1"),
                (61_510, "joined m@2", "sync m@2"),
                (61_520, answer, ""),
                (62_010, "tick", "beat m@2"),
                (62_020, answer, ""),
                (62_030, "share 0,1", ""),
            ],
        );
    }
}

/// What happens, by what is answered and what the member then does.
type Case = (&'static str, &'static [(u64, &'static str, &'static str)]);

/// It is told that the group went on without it, or is about to.
const LEFT_BEHIND: [Case; 5] = [
    (
        "its session ended",
        &[(60_510, "beat! unknown", "lose 0; lose 1"), (60_709, "tick", ""), (60_710, "tick", "join -@-1:")],
    ),
    (
        "the group went on without it",
        &[(60_510, "beat! old", "lose 0; lose 1"), (60_710, "tick", "join m@-1:")],
    ),
    (
        "the group went on without it, as a share says",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_600, "joined m@2", "sync m@2"),
            (60_610, "sync! old", "lose 0; lose 1"),
            (60_810, "tick", "join m@-1:"),
        ],
    ),
    (
        "its session ended while it joined",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_520, "join! unknown", "lose 0; lose 1"),
            (60_720, "tick", "join -@-1:"),
        ],
    ),
    (
        "the generation ends before it is shared out",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_600, "joined m@2", "sync m@2"),
            (60_610, "sync! rebalancing", "join m@1:0,1"),
        ],
    ),
];

/// Its coordinator cannot serve it, or not now, or never.
const NOT_SERVED: [Case; 7] = [
    (
        "the coordinator moves",
        &[
            (60_510, "beat! elsewhere", "find"),
            (61_000, "tick", "beat m@1"),
            (61_010, "beat! loading", ""),
            (61_500, "tick", "beat m@1"),
            (61_510, "beat", ""),
        ],
    ),
    (
        "the coordinator moves during a round",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (60_520, "join! elsewhere", "find"),
            (60_720, "tick", "join m@1:0,1"),
            (60_730, "join! loading", ""),
            (60_930, "tick", "join m@1:0,1"),
            (60_940, "joined m@2", "sync m@2"),
            (60_950, "sync! elsewhere", "find"),
            (61_150, "tick", "join m@1:0,1"),
        ],
    ),
    (
        "a request has no answer",
        &[
            (60_510, "beat! no-answer", "find"),
            (61_000, "tick", "beat m@1"),
            (61_010, "beat! rebalancing", "join m@1:0,1"),
            (61_020, "join! no-answer", "find"),
            (61_220, "tick", "join m@1:0,1"),
        ],
    ),
    (
        "a join is lost on its way, as a group at rest tells",
        &[
            (60_510, "beat! rebalancing", "join m@1:0,1"),
            (62_500, "tick", "beat m@1"),
            (62_501, "beat", ""),
            (63_000, "tick", "beat m@1"),
            (63_001, "beat", "join m@1:0,1"),
        ],
    ),
    ("its name is another's", &[(60_510, "beat! fenced", "lose 0; lose 1; end Fenced")]),
    ("it may not be a member", &[(60_510, "beat! final", "lose 0; lose 1; end Refused")]),
    ("something else", &[(60_510, "beat! other", ""), (61_000, "tick", "beat m@1")]),
];

#[test]
fn what_the_group_refuses_is_taken_as_kafka_means_it() {
    for (what, steps) in LEFT_BEHIND.into_iter().chain(NOT_SERVED) {
        settled(what, steps);
    }
}

#[test]
fn a_request_that_was_never_answered_may_take_the_name_from_the_member_itself() {
    live(
        "one of the life before",
        rules(),
        &[
            (0, "tick", "join -@-1:"),
            (10, "joined m@1", "sync m@1"),
            (20, "share 0", "gain 0"),
            (510, "tick", "beat m@1"),
            (520, "beat! fenced", "lose 0"),
            (720, "tick", "join -@-1:"),
            (730, "joined n@2", "sync n@2"),
            (740, "share 0", "gain 0"),
            (1_230, "tick", "beat n@2"),
            (1_240, "beat! fenced", "lose 0; end Fenced"),
            (9_000, "tick", ""),
        ],
    );
    live(
        "one of its own",
        rules(),
        &[
            (0, "tick", "join -@-1:"),
            (35_000, "join! no-answer", "find"),
            (35_200, "tick", "join -@-1:"),
            (35_210, "joined m@1", "sync m@1"),
            (35_220, "sync! fenced", ""),
            (35_420, "tick", "join -@-1:"),
            (35_430, "join! fenced", "end Fenced"),
        ],
    );
}

#[test]
fn a_member_that_leaves_gives_everything_up_and_says_so_unless_it_comes_back() {
    let left = settled("leaving", &[(60_600, "leave", "take 0; take 1; leave m"), (70_000, "tick", "")]);
    assert_eq!((left.wake(), left.place()), (None, None));
    live("before it is known", rules(), &[(0, "tick", "join -@-1:"), (5, "leave", "leave -")]);
    let stays = Rules { stays: true, ..rules() };
    live("coming back", stays, &[&SETTLED[..], &[(60_001, "leave", "take 0; take 1")]].concat());
}

#[test]
fn the_place_is_the_newest_that_the_group_gave_as_long_as_it_knows_the_member() {
    let mut member = Member::new(rules());
    let steps = [
        ("tick", None),
        ("joined m@1", Some("m@1")),
        ("share 0,1", Some("m@1")),
        ("beat! rebalancing", Some("m@1")),
        ("joined m@2", Some("m@2")),
        ("share 0", Some("m@2")),
        ("released 1", Some("m@2")),
        ("join! unknown", None),
    ];
    for (n, (heard, expected)) in steps.into_iter().enumerate() {
        // A second apart, so that a heartbeat is always under way.
        member.hear(Duration::from_secs(n as u64), input(heard));
        assert_eq!(member.place(), expected.map(place), "after {heard:?}");
    }
}
