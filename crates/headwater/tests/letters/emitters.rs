//! An emitter that parks: a key's records wait in order behind the one that cannot be processed, others go on, and what
//! somebody decides is done once.

use std::collections::BTreeMap;

use bytes::Bytes;
use headwater::OnFailure;
use headwater::core::codec::BigEndian;
use headwater::core::log::{ReadLimit, Wait};
use headwater::core::record::StoredRecord;
use headwater::core::topic::Offset;
use headwater::letters::{DeadLetter, LetterError, LetterReason};
use headwater::log::embedded::{EmbeddedLog, Options};

use super::*;

/// Counts visits per key and tells each count; whoever visits for 13 panics.
pub(super) fn counts(on_failure: OnFailure) -> App {
    let mut app = App::new("web").with(|options| {
        options.partitions = PARTITIONS;
        options.on_failure = on_failure;
    });
    let visits = app.stream::<String, u64>("visits").map_values(|visit| {
        assert_ne!(*visit.value, 13, "nobody visits for 13");
        *visit.value
    });
    let seen = visits.group_by_key().fold(Store::named("seen"), |seen: &mut Vec<u64>, visit| {
        seen.push(*visit.value);
    });
    app.emitter(seen.updates().to("seen"));
    app
}

/// Every record of a topic.
pub(super) async fn records(log: &dyn Log, name: &str) -> Vec<StoredRecord> {
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let at = topic(name).partition(partition);
        let (mut next, end) = (Offset::ZERO, log.bounds(&at).await.unwrap().end);
        while next < end {
            let batch = log.read(&at, next, ReadLimit::default(), Wait::No).await.unwrap();
            next = batch.next;
            all.extend(batch.records);
        }
    }
    all
}

/// The values of each key in a topic, in order.
pub(super) async fn told(log: &dyn Log, name: &str) -> BTreeMap<String, Vec<String>> {
    let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let mut told = BTreeMap::<_, Vec<_>>::new();
    for StoredRecord { record, .. } in records(log, name).await {
        told.entry(text(record.key)).or_default().push(text(record.value));
    }
    told
}

async fn until_told(log: &dyn Log, key: &str, last: &str) {
    until(&format!("{key} ends with {last}"), async || {
        (told(log, "seen").await.get(key)?.last()? == last).then_some(())
    })
    .await;
}

pub(super) async fn until_letters(running: &Running, count: usize) -> Vec<DeadLetter> {
    until(&format!("{count} letters"), async || {
        let page = running.dead_letters().list(None, 1_000, None).await.unwrap();
        (page.letters.len() == count).then_some(page.letters)
    })
    .await
}

fn offsets(letters: &[DeadLetter]) -> Vec<u64> {
    letters.iter().map(|letter| letter.record.id.offset.0).collect()
}

#[tokio::test]
async fn a_key_waits_behind_its_letter_and_others_go_on() {
    let log = memory();
    make(&*log, "visits").await;
    // "a" and "c" share a partition, so that one of them has to be passed by.
    let other = ["b", "c", "d", "e"].into_iter().find(|key| partition(key) == partition("a")).unwrap();
    let visits = [("a", "1"), (other, "1"), ("a", "x"), (other, "2"), ("a", "3"), ("a", "4"), (other, "3")];
    produce(&*log, "visits", &visits).await;
    let stores = MemoryStores::new();
    let running = start(&log, &stores, counts(OnFailure::park())).await;
    running.ready(WITHIN).await.unwrap();
    until_told(&*log, other, "[1,2,3]").await;
    let letters = until_letters(&running, 3).await;
    assert_eq!(offsets(&letters), [2, 4, 5]);
    let first = &letters[0];
    assert_eq!(first.record.id, id(format!("seen/visits-{}@2", partition("a"))));
    assert_eq!((first.reason, first.attempts), (LetterReason::Undecodable, 1));
    assert!(first.error.contains("its value"), "{first:?}");
    assert_eq!(first.record.value.as_deref(), Some(&b"x"[..]));
    assert_eq!((letters[1].reason, letters[1].attempts), (LetterReason::Behind, 0));
    assert_eq!(told(&*log, "seen").await["a"], ["[1]"]);
    assert!(running.stop(WITHIN).await);

    // They are there in the next life, also without a store, and what comes of the key waits, too.
    let running = start(&log, &MemoryStores::new(), counts(OnFailure::park())).await;
    produce(&*log, "visits", &[("a", "5")]).await;
    let letters = until_letters(&running, 4).await;
    let dead = running.dead_letters();
    let (first, second) = (&letters[0].record.id, &letters[1].record.id);
    let refused = dead.retry(second).await.unwrap_err();
    assert!(
        matches!(&refused, LetterError::Invalid(why) if why.contains("waits behind others")),
        "{refused}"
    );
    dead.retry(first).by("bob").await.unwrap();
    let again =
        until("it fails again", async || dead.letter(first).await.ok().filter(|letter| letter.attempts == 2))
            .await;
    assert_eq!(again.reason, LetterReason::Undecodable);
    dead.edit(first, Some(Bytes::from_static(b"13"))).await.unwrap();
    let edited = until("the edited one panics", async || {
        dead.letter(first).await.ok().filter(|letter| letter.attempts == 3)
    })
    .await;
    assert_eq!(edited.reason, LetterReason::Panicked);
    assert_eq!(edited.record.value.as_deref(), Some(&b"x"[..]), "its own value is kept");
    dead.edit(first, Some(Bytes::from_static(b"2"))).await.unwrap();
    until_told(&*log, "a", "[1,2]").await;
    dead.discard(second).await.unwrap();
    let letters = until_letters(&running, 2).await;
    dead.retry_all(&letters[1].record.id).await.unwrap();
    until_told(&*log, "a", "[1,2,4,5]").await;
    until_letters(&running, 0).await;
    produce(&*log, "visits", &[("a", "6")]).await;
    until_told(&*log, "a", "[1,2,4,5,6]").await;
    assert_eq!(told(&*log, "seen").await["a"], ["[1]", "[1,2]", "[1,2,4]", "[1,2,4,5]", "[1,2,4,5,6]"]);
    let decided: Vec<_> = dead.decisions().await.unwrap().into_iter().map(|made| made.verdict).collect();
    assert_eq!(decided, ["retry", "edit", "edit", "discard", "retry_all"]);
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn letters_are_listed_in_pages() {
    let log = memory();
    make(&*log, "visits").await;
    let keys: Vec<String> = (0..7).map(|n| format!("k{n}")).collect();
    let visits: Vec<_> = keys.iter().map(|key| (key.as_str(), "x")).collect();
    produce(&*log, "visits", &visits).await;
    let running = start(&log, &MemoryStores::new(), counts(OnFailure::park())).await;
    let all = until_letters(&running, 7).await;
    let (mut pages, mut next) = (Vec::new(), None);
    loop {
        let page = running.dead_letters().list(Some("seen"), 3, next.as_ref()).await.unwrap();
        assert!(page.letters.len() <= 3);
        pages.extend(page.letters);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(pages, all);
    let unknown = running.dead_letters().list(Some("nobody"), 3, None).await.unwrap_err();
    assert!(matches!(unknown, LetterError::NoSuch(_)), "{unknown}");
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn one_letter_too_many_stops_the_shard_and_parking_no_more_does_not_pass_them_by() {
    let log = memory();
    make(&*log, "visits").await;
    produce(&*log, "visits", &[("a", "x"), ("a", "2"), ("a", "3"), ("a", "4")]).await;
    let place = format!("visits-{}", partition("a"));
    let two = OnFailure::Park { at_most: 2, bytes_max: 1 << 20 };
    let cases = [
        (
            two,
            format!(
                "\"seen\" stopped at {place} offset 2: it waits behind a dead letter of its key; and 2 dead letters"
            ),
        ),
        (OnFailure::Stop, format!("2 dead letters wait in web.seen.letters-{}", partition("a"))),
        (two, format!("\"seen\" stopped at {place} offset 2: ")),
    ];
    for (on_failure, told) in cases {
        let running = start(&log, &MemoryStores::new(), counts(on_failure)).await;
        let troubles = running.ready(WITHIN).await.unwrap_err().join("; ");
        assert!(troubles.contains(&told), "{troubles}");
        assert!(running.stop(WITHIN).await);
    }
    let running = start(&log, &MemoryStores::new(), counts(OnFailure::park())).await;
    let letters = until_letters(&running, 4).await;
    running.dead_letters().discard_all(&letters[1].record.id).await.unwrap();
    running.dead_letters().discard(&letters[0].record.id).await.unwrap();
    until_letters(&running, 0).await;
    assert!(running.stop(WITHIN).await);
    let running = start(&log, &MemoryStores::new(), counts(OnFailure::Stop)).await;
    produce(&*log, "visits", &[("a", "5")]).await;
    until_told(&*log, "a", "[5]").await;
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn letters_of_too_many_bytes_stop_the_shard_until_some_are_gone_or_more_may_wait() {
    let log = memory();
    make(&*log, "visits").await;
    let large = "x".repeat(400);
    produce(&*log, "visits", &[("a", &large), ("a", "2"), ("a", &large), ("a", "4")]).await;
    let place = format!("\"seen\" stopped at visits-{} offset", partition("a"));
    let within = |bytes_max| OnFailure::Park { at_most: 10, bytes_max };
    let stops = async |bytes_max, offset| {
        let running = start(&log, &MemoryStores::new(), counts(within(bytes_max))).await;
        let troubles = running.ready(WITHIN).await.unwrap_err().join("; ");
        let more =
            format!("is more than the {bytes_max} that a shard may have (`bytes_max` of `OnFailure::Park`)");
        for told in [format!("{place} {offset}: "), more] {
            assert!(troubles.contains(&told), "{told} is not in {troubles}");
        }
        running
    };
    // The first is too large already; with more room two wait, and the third is too much, here and with less room again.
    for (bytes_max, offset) in [(300, 0), (700, 2), (300, 2)] {
        assert!(stops(bytes_max, offset).await.stop(WITHIN).await);
    }
    let running = stops(700, 2).await;
    let letters = until_letters(&running, 2).await;
    running.dead_letters().discard_all(&letters[0].record.id).await.unwrap();
    assert!(running.stop(WITHIN).await);
    let running = start(&log, &MemoryStores::new(), counts(within(700))).await;
    until("there is room for the others", async || {
        let page = running.dead_letters().list(None, 10, None).await.unwrap();
        (offsets(&page.letters) == [2, 3]).then_some(())
    })
    .await;
    running.ready(WITHIN).await.unwrap();
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn a_letter_never_takes_the_place_of_another_of_its_name() {
    let log = memory();
    make(&*log, "visits").await;
    produce(&*log, "visits", &[("a", "x")]).await;
    let running = start(&log, &MemoryStores::new(), counts(OnFailure::park())).await;
    let first = until_letters(&running, 1).await.remove(0).record.id;
    assert!(running.stop(WITHIN).await);
    // As a letter of another log, where more records lay before its own.
    let mut moved = records(&*log, "web.seen.letters").await.remove(0).record;
    let written = String::from_utf8(moved.value.unwrap().to_vec()).unwrap();
    let last = RecordId { offset: Offset(1), ..first.clone() };
    moved.key = Some(last.to_string().into());
    moved.value = Some(written.replace("\"line\":0", "\"line\":1").into());
    let to = topic("web.seen.letters").partition(partition("a"));
    log.append(vec![Append { to, record: moved }]).await.unwrap();

    produce(&*log, "visits", &[("a", "2")]).await;
    let running = start(&log, &MemoryStores::new(), counts(OnFailure::park())).await;
    let troubles = running.ready(WITHIN).await.unwrap_err().join("; ");
    assert!(troubles.contains(&format!("another dead letter is named {last}")), "{troubles}");
    let letters = running.dead_letters();
    assert_eq!(letters.letter(&last).await.unwrap().record.value.as_deref(), Some(&b"x"[..]));
    letters.discard(&last).await.unwrap();
    assert!(running.stop(WITHIN).await);

    let running = start(&log, &MemoryStores::new(), counts(OnFailure::park())).await;
    let is_set_aside = async || {
        let letter = running.dead_letters().letter(&last).await.ok()?;
        (letter.record.value.as_deref() == Some(b"2")).then_some(())
    };
    until("the record has its name", is_set_aside).await;
    assert_eq!(offsets(&until_letters(&running, 2).await), [0, 1]);
    assert!(running.stop(WITHIN).await);
}

/// What goes wrong with one record of a stream, and the reason under which it is set aside.
struct Case {
    app: fn() -> App,
    topic: &'static str,
    record: fn() -> Record,
    reason: LetterReason,
    error: &'static str,
}

fn parking(name: &str) -> App {
    App::new(name).with(|options| {
        options.partitions = PARTITIONS;
        options.on_failure = OnFailure::park();
    })
}

fn numbered() -> App {
    let mut app = parking("web");
    let by_number = Topic::<i64, u64>::with("numbered", BigEndian, headwater::core::codec::Json);
    app.emitter(app.stream(by_number).to("out"));
    app
}

/// Hands on what its record says, so many times as large.
pub(super) fn enlarged() -> App {
    let mut app = parking("web");
    let texts = app.stream::<String, String>("texts");
    app.emitter(texts.map_values(|text| text.repeat(10)).to("out"));
    app
}

/// Makes of one text what JSON has no words for.
fn unwritable() -> App {
    let mut app = parking("web");
    let texts = app.stream::<String, String>("texts");
    let tuples = texts.map_values(|text| {
        let pair = (*text.value == "x").then(|| ((0_u8, 1_u8), text.value.clone()));
        pair.into_iter().collect::<BTreeMap<_, _>>()
    });
    app.emitter(tuples.to("out"));
    app
}

fn not_ahead() -> App {
    enlarged().with(|options| options.times_ahead_max = Some(Duration::from_secs(24 * 60 * 60)))
}

fn visiting() -> App {
    counts(OnFailure::park())
}

/// So long that no store takes it.
fn long_key() -> Record {
    Record::new("k".repeat(2_000), "1", Timestamp(0))
}

const YEAR_2099: i64 = 4_070_908_800_000;

const CASES: [Case; 9] = [
    Case {
        app: visiting,
        topic: "visits",
        record: || Record::new("a", "{\"other\":\"schema\"}", Timestamp(0)),
        reason: LetterReason::Undecodable,
        error: "its value",
    },
    Case {
        app: numbered,
        topic: "numbered",
        record: || Record::new("abc", "1", Timestamp(0)),
        reason: LetterReason::Undecodable,
        error: "its key",
    },
    Case {
        app: visiting,
        topic: "visits",
        record: || Record { key: None, ..Record::new("", "1", Timestamp(0)) },
        reason: LetterReason::Undecodable,
        error: "it has no key",
    },
    Case {
        app: visiting,
        topic: "visits",
        record: || Record::new("a", "13", Timestamp(0)),
        reason: LetterReason::Panicked,
        error: "nobody visits for 13",
    },
    Case {
        app: unwritable,
        topic: "texts",
        record: || Record::new("a", "\"x\"", Timestamp(0)),
        reason: LetterReason::Unencodable,
        error: "key must be a string",
    },
    Case {
        app: visiting,
        topic: "visits",
        record: long_key,
        reason: LetterReason::KeyTooLong,
        error: "the longest a store can hold is 1900",
    },
    Case {
        app: enlarged,
        topic: "texts",
        record: || Record::new("a", format!("\"{}\"", "x".repeat(400)), Timestamp(0)),
        reason: LetterReason::TooLarge,
        error: "3000",
    },
    Case {
        app: enlarged,
        topic: "texts",
        record: || Record::new("a", "\"x\"", Timestamp(-5)),
        reason: LetterReason::BadTime,
        error: "its time, -5 ms, lies before 1970",
    },
    Case {
        app: not_ahead,
        topic: "texts",
        record: || Record::new("a", "\"x\"", Timestamp(YEAR_2099)),
        reason: LetterReason::BadTime,
        error: "further ahead of the clock",
    },
];

#[tokio::test]
async fn each_bad_record_is_set_aside_with_its_reason_and_its_bytes_and_stops_where_nothing_is() {
    for Case { app, topic: name, record, reason, error } in CASES {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { record_bytes_max: 3_000, check_after_crash: false, ..Options::default() };
        let log: SharedLog = EmbeddedLog::open(dir.path(), options).unwrap();
        make(&*log, name).await;
        let key = record().key.unwrap_or_default();
        let to = topic(name).partition(partition_of(&key, PARTITIONS).0);
        let good = match name {
            "texts" => "\"good\"",
            _ => "7",
        };
        // Neighbours that can be processed, before and behind it.
        let neighbour = |key: &[u8]| Record::new(key.to_vec(), good, Timestamp(9));
        let keys =
            (0_u64..).map(|n| n.to_be_bytes()).filter(|key| partition_of(key, PARTITIONS) == to.partition);
        let keys: Vec<_> = keys.filter(|key| name == "numbered" || key.is_ascii()).take(4).collect();
        let records =
            [neighbour(&keys[0]), neighbour(&keys[1]), record(), neighbour(&keys[2]), neighbour(&keys[3])];
        log.append(records.map(|record| Append { to: to.clone(), record }).into()).await.unwrap();
        let out = if name == "visits" { "seen" } else { "out" };

        let running = start(&log, &MemoryStores::new(), app().with(|o| o.on_failure = OnFailure::Stop)).await;
        let troubles = running.ready(WITHIN).await.unwrap_err().join("; ");
        assert!(
            troubles.contains(&format!("\"{out}\" stopped at {to} offset 2: ")),
            "{reason:?}: {troubles}"
        );
        assert!(running.stop(WITHIN).await);
        assert_eq!(records_of(&*log, out).await, 2, "{reason:?}: what came before is there");

        let running = start(&log, &MemoryStores::new(), app()).await;
        let letters = until_letters(&running, 1).await;
        let letter = &letters[0];
        assert_eq!((letter.reason, letter.record.id.offset), (reason, Offset(2)), "{letter:?}");
        assert!(letter.error.contains(error), "{reason:?}: {}", letter.error);
        let Record { key, value, timestamp, .. } = record();
        assert_eq!((&letter.record.key, &letter.record.value), (&key, &value));
        assert_eq!(letter.record.timestamp, timestamp);
        until("the others go on", async || (records_of(&*log, out).await == 4).then_some(())).await;
        assert!(running.stop(WITHIN).await);
    }
}

async fn records_of(log: &dyn Log, name: &str) -> usize {
    records(log, name).await.len()
}
