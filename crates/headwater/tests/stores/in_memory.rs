//! Stores that are kept in memory alone: made again at each start, equal in everything else, and bounded.

use std::collections::BTreeMap;

use headwater::core::clock::Timestamp;
use headwater::core::topic::TopicName;
use headwater::{Phase, Receipt, Windowed};

use super::*;

type Answers = (Vec<(String, u64)>, Vec<(Windowed<String>, u64)>, Vec<(String, u64)>);

/// A fold, windows, and what reads two topics and so keeps state behind a changelog: on disk, or in memory.
struct Kept {
    app: App,
    counted: View<String, u64>,
    sessions: View<Windowed<String>, u64>,
    sums: View<String, u64>,
}

fn visits() -> Topic<String, u64> {
    "visits".into()
}

fn clicks() -> Topic<String, u64> {
    "clicks".into()
}

fn kept(in_memory: bool) -> Kept {
    let store = |name: &str| {
        let store = Store::named(name);
        if in_memory { store.in_memory() } else { store }
    };
    let mut app = App::new("web").with(|options| options.partitions = 2);
    let (visits, clicks) = (app.stream(visits()), app.stream(clicks()));
    let counted = app.view(visits.group_by_key().count(store("counted")));
    let sessions = visits.group_by_key().window(Session::gap(Duration::from_millis(10)));
    let sessions = app.view(sessions.count(store("sessions")));
    let sums = visits.merge(&clicks).group_by_key();
    let sums = app.view(sums.fold(store("sums"), |sum: &mut u64, n| *sum += n.value));
    Kept { app, counted, sessions, sums }
}

/// The last receipt of each partition.
type Receipts = BTreeMap<(TopicName, u32), Receipt>;

async fn publish(running: &Running, numbers: std::ops::Range<u64>, receipts: &mut Receipts) {
    for n in numbers {
        let topic = if n.is_multiple_of(3) { clicks() } else { visits() };
        let publish = running.publish(&topic, &format!("k{}", n % 7), &n).at(Timestamp(n as i64 * 4));
        let receipt = publish.await.unwrap();
        receipts.insert((receipt.topic.clone(), receipt.partition.0), receipt);
    }
}

/// Every row of every view, of a state that includes all that was published.
async fn answers(running: &Running, kept: &Kept, receipts: &Receipts) -> Answers {
    let Kept { counted, sessions, sums, .. } = kept;
    for receipt in receipts.values() {
        running.view(counted).unwrap().after(receipt).within(WITHIN).count().await.unwrap();
        running.view(sessions).unwrap().after(receipt).within(WITHIN).count().await.unwrap();
        running.view(sums).unwrap().after(receipt).within(WITHIN).count().await.unwrap();
    }
    let all = (
        running.view(counted).unwrap().scan(1_000, None).await.unwrap().value.rows,
        running.view(sessions).unwrap().scan(1_000, None).await.unwrap().value.rows,
        running.view(sums).unwrap().scan(1_000, None).await.unwrap().value.rows,
    );
    assert!(!all.0.is_empty() && !all.1.is_empty() && all.2.len() == 7, "{all:?}");
    all
}

/// The stores on disk.
fn on_disk(dir: &Path) -> Vec<String> {
    let stores = LmdbStores::new(dir, LmdbOptions::default()).unwrap();
    stores.names().unwrap()
}

#[tokio::test]
async fn what_is_in_memory_is_made_again_and_equal() {
    let mut outcomes = Vec::new();
    for in_memory in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut seen, mut receipts) = (Vec::new(), Receipts::new());
        for life in 0..3 {
            let running = started(&embedded(dir.path()), kept(in_memory).app).await;
            if life < 2 {
                publish(&running, life * 60..(life + 1) * 60, &mut receipts).await;
            }
            seen.push(answers(&running, &kept(in_memory), &receipts).await);
            stop([running]).await;
        }
        let stores = on_disk(dir.path());
        assert_eq!(stores.is_empty(), in_memory, "{stores:?}");
        outcomes.push(seen);
    }
    assert_eq!(outcomes[0], outcomes[1], "on disk and in memory");
    assert_eq!(outcomes[1][1], outcomes[1][2], "a life that nothing was published in");
}

#[tokio::test]
async fn a_store_may_go_from_disk_to_memory_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut seen, mut receipts) = (Vec::new(), Receipts::new());
    for (life, in_memory) in [false, true, false].into_iter().enumerate() {
        let running = started(&embedded(dir.path()), kept(in_memory).app).await;
        if life == 0 {
            publish(&running, 0..60, &mut receipts).await;
        }
        seen.push(answers(&running, &kept(in_memory), &receipts).await);
        stop([running]).await;
        assert_eq!(on_disk(dir.path()).is_empty(), in_memory);
    }
    assert!(seen.windows(2).all(|two| two[0] == two[1]), "{seen:?}");
}

#[test]
fn one_topology_keeps_its_stores_alike() {
    let mut app = App::new("web");
    let once = headwater::Once::within(minutes(5));
    let visits = app.stream(visits()).deduplicate(Store::named("seen").in_memory(), once);
    app.view(visits.group_by_key().count(Store::named("counted")));
    let mistake = app.check().unwrap_err().to_string();
    let wanted =
        "\"counted\" keeps \"seen\" in memory and \"counted\" on disk: what one topology keeps is kept alike";
    assert!(mistake.contains(wanted), "{mistake}");

    // The copy of a global table goes with what is joined with it.
    let mut app = App::new("web");
    let names = app.global_table::<String, String>("all-names", "names");
    let visits = app.stream(self::visits()).deduplicate(Store::named("seen").in_memory(), once);
    let named = visits.join_global(&names, |visit| Some(visit.key.clone()), |_, name| name.clone());
    app.emitter(named.to("named"));
    app.check().unwrap();
}

/// Records of a kibibyte each, under keys of their own: kept in memory by a fold and an emitter, and counted on disk.
struct Heavy {
    app: App,
    last: View<u64, String>,
    count: View<u64, u64>,
}

fn heavy() -> Heavy {
    let mut app = App::new("web").with(|options| options.partitions = 1);
    let notes = app.stream::<u64, String>("notes");
    let last = app.view(notes.to_table(Store::named("last").in_memory()));
    let once = notes.deduplicate(Store::named("seen").in_memory(), headwater::Once::within(days(1)));
    app.emitter(once.to("once"));
    let count = app.view(notes.group_by_key().count(Store::named("count")));
    Heavy { app, last, count }
}

async fn publish_notes(running: &Running, numbers: std::ops::Range<u64>) {
    let notes: Topic<u64, String> = "notes".into();
    for n in numbers {
        running.publish(&notes, &n, &"x".repeat(1_000)).at(Timestamp(n as i64)).await.unwrap();
    }
}

fn reason(running: &Running, topology: &str) -> Option<String> {
    let report = running.report().into_iter().find(|report| report.name == topology).unwrap();
    report.shards.into_iter().find_map(|shard| match shard.phase {
        Phase::Stopped { reason } => Some(reason),
        _ => None,
    })
}

#[tokio::test]
async fn a_store_over_the_memory_budget_stops_by_name_and_nothing_is_lost() {
    const FITS: usize = 256 << 10;
    let dir = tempfile::tempdir().unwrap();
    let Heavy { app, last, count } = heavy();
    let running = started(&embedded(dir.path()).store_memory(FITS), app).await;
    let mut written = 0;
    let stopped = async {
        loop {
            publish_notes(&running, written..written + 50).await;
            written += 50;
            running.flush_states();
            if let (Some(fold), Some(emitter)) = (reason(&running, "last"), reason(&running, "once")) {
                return [fold, emitter];
            }
        }
    };
    let reasons = tokio::time::timeout(WITHIN, stopped).await.expect("they stop in time");
    let wanted = [r#"view "last" stopped at notes-0 offset "#, r#""once" stopped at notes-0 offset "#];
    for (reason, wanted) in reasons.iter().zip(wanted) {
        assert!(reason.starts_with(wanted), "{reason}");
        assert!(reason.contains("keep it on disk, or let them take more"), "{reason}");
    }
    let trouble = running.troubles().join("; ");
    assert!(trouble.contains("last: shard 0: stopped"), "{trouble}");
    // Whatever is on disk goes on, and what was kept in memory is still told.
    let counted = async {
        while running.view(&count).unwrap().count().await.unwrap().value < written {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(WITHIN, counted).await.unwrap();
    assert!(running.view(&last).unwrap().get(&0).await.unwrap().value.is_some());
    stop([running]).await;

    let running = started(&embedded(dir.path()), heavy().app).await;
    assert_eq!(running.view(&last).unwrap().count().await.unwrap().value, written);
    assert_eq!(reason(&running, "once"), None);
    stop([running]).await;
}

#[tokio::test]
async fn shards_that_moved_away_leave_their_memory_to_those_that_stay() {
    let app = || {
        let mut app = App::new("web").with(|options| options.partitions = 2);
        let notes = app.stream::<u64, String>("notes");
        let last = app.view(notes.to_table(Store::named("last").in_memory()));
        (app, last)
    };
    let (board, log) = (Switchboard::new(), Arc::new(memory_log()));
    let first = started(&among(&board, log.clone(), "first").store_memory(320 << 10), app().0).await;
    let publish = async |running: &Running, wanted: Option<u32>, numbers: std::ops::Range<u64>| {
        let (notes, mut receipts) = ("notes".into(), BTreeMap::new());
        for n in numbers {
            let partition = headwater::core::partitioner::partition_of(n.to_string().as_bytes(), 2).0;
            if wanted.is_none_or(|wanted| wanted == partition) {
                let receipt = running.publish::<u64, String>(&notes, &n, &"x".repeat(1_000)).await.unwrap();
                receipts.insert(receipt.partition.0, receipt);
            }
        }
        for receipt in receipts.values() {
            let view = running.view(&app().1).unwrap().within(WITHIN).after(receipt);
            view.get(&0).await.unwrap();
        }
        running.flush_states();
    };
    publish(&first, None, 0..200).await;
    let second = started(&among(&board, log.clone(), "second"), app().0).await;
    let phases = || {
        let report = first.report().into_iter().find(|report| report.name == "last").unwrap();
        report.shards.into_iter().map(|shard| shard.phase).collect::<Vec<_>>()
    };
    let moved = async {
        loop {
            let stays: Vec<_> = (0..2).filter(|at| phases()[*at as usize] == Phase::Running).collect();
            if let [stays] = stays[..] {
                return stays;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let stays = tokio::time::timeout(WITHIN, moved).await.expect("a shard moves");
    // Some 130 more in the shard that stays: with what it had less than there may be, with the other's more.
    for from in (200..460).step_by(20) {
        publish(&first, Some(stays), from..from + 20).await;
    }
    assert_eq!(reason(&first, "last"), None);
    assert_eq!(phases()[stays as usize], Phase::Running);
    stop([first, second]).await;
}
