//! A fold stops at what it cannot fold, and goes on as was decided: at once, after a restart, and on every rebuild.

use bytes::Bytes;
use headwater::StoppedFold;
use headwater::core::log::{ReadLimit, Wait};
use headwater::core::topic::Offset;
use headwater::letters::LetterError;

use super::*;

struct Sums {
    app: App,
    total: View<String, u64>,
}

/// Sums per key; whoever adds 13 panics.
fn sums() -> Sums {
    let mut app = App::new("bank").with(|options| options.partitions = PARTITIONS);
    let paid = app.stream::<String, u64>("paid");
    let total = paid.group_by_key().fold(Store::named("total"), |sum: &mut u64, paid| {
        assert_ne!(*paid.value, 13, "nobody adds 13");
        *sum += paid.value;
    });
    let total = app.view(total);
    Sums { app, total }
}

async fn sum(running: &Running, view: &View<String, u64>, key: &str) -> Option<u64> {
    running.view(view).ok()?.get(&key.to_owned()).await.ok()?.value
}

async fn until_sum(running: &Running, view: &View<String, u64>, key: &str, wanted: u64) {
    until(&format!("{key} is {wanted}"), async || {
        (sum(running, view, key).await == Some(wanted)).then_some(())
    })
    .await;
}

async fn until_stopped(running: &Running) -> StoppedFold {
    until("a fold stops", async || running.stopped_folds().pop()).await
}

/// What stops the sums, and the reason that is told.
const POISONS: [(&str, &str); 3] =
    [("no number", "its value"), ("13", "nobody adds 13"), ("{\"amount\":7}", "its value")];

#[tokio::test]
async fn a_skipped_record_is_left_out_at_once_and_on_every_rebuild() {
    for (poison, why) in POISONS {
        let log = memory();
        make(&*log, "paid").await;
        produce(&*log, "paid", &[("a", "1"), ("a", "2"), ("a", poison), ("a", "4")]).await;
        let stores = MemoryStores::new();
        let Sums { app, total } = sums();
        let running = start(&log, &stores, app).await;
        let stopped = until_stopped(&running).await;
        let place = format!("paid-{}", partition("a"));
        assert_eq!(stopped.id, id(format!("total/{place}@2")));
        assert!(
            stopped.reason.contains(&format!("view \"total\" stopped at {place} offset 2: ")),
            "{stopped:?}"
        );
        assert!(stopped.reason.contains(why), "{stopped:?}");
        assert_eq!(sum(&running, &total, "a").await, None, "it never caught up");
        let made = running.dead_letters().skip(&stopped.id).by("alice").note("a test").await.unwrap();
        assert_eq!((made.verdict.as_str(), made.by.as_deref()), ("skip", Some("alice")));
        until_sum(&running, &total, "a", 7).await;
        running.ready(WITHIN).await.unwrap();
        assert_eq!(running.stopped_folds(), []);
        assert!(running.stop(WITHIN).await);
        for stores in [stores, MemoryStores::new()] {
            let Sums { app, total } = sums();
            let running = start(&log, &stores, app).await;
            running.ready(WITHIN).await.unwrap();
            assert_eq!(sum(&running, &total, "a").await, Some(7));
            assert_eq!(running.dead_letters().decisions().await.unwrap(), std::slice::from_ref(&made));
            assert!(running.stop(WITHIN).await);
        }
    }
}

#[tokio::test]
async fn the_first_replacement_that_can_be_folded_counts() {
    let log = memory();
    make(&*log, "paid").await;
    produce(&*log, "paid", &[("a", "1"), ("b", "10"), ("a", "none"), ("a", "4"), ("b", "20")]).await;
    let Sums { app, total } = sums();
    let running = start(&log, &MemoryStores::new(), app).await;
    let stopped = until_stopped(&running).await;
    let letters = running.dead_letters();
    letters.replace(&stopped.id, Some(Bytes::from_static(b"13"))).await.unwrap();
    until("the replacement fails, too", async || {
        let folds = running.stopped_folds();
        folds.first().filter(|fold| fold.reason.contains("nobody adds 13")).map(|_| ())
    })
    .await;
    letters.replace(&stopped.id, Some(Bytes::from_static(b"2"))).await.unwrap();
    // What comes too late changes nothing, here or in a rebuild.
    letters.replace(&stopped.id, Some(Bytes::from_static(b"99"))).await.unwrap();
    until_sum(&running, &total, "a", 7).await;
    assert!(running.stop(WITHIN).await);
    let Sums { app, total } = sums();
    let running = start(&log, &MemoryStores::new(), app).await;
    running.ready(WITHIN).await.unwrap();
    assert_eq!(sum(&running, &total, "a").await, Some(7));
    assert_eq!(sum(&running, &total, "b").await, Some(30));
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn one_after_another_is_decided_and_what_comes_first_is_folded_once() {
    let log = memory();
    make(&*log, "paid").await;
    let values: Vec<String> =
        (0..200).map(|n| if n % 50 == 49 { "x".to_owned() } else { n.to_string() }).collect();
    let records: Vec<_> = values.iter().map(|value| ("a", value.as_str())).collect();
    produce(&*log, "paid", &records).await;
    let Sums { app, total } = sums();
    // The code panics at 13, the others cannot be read.
    let running = start(&log, &MemoryStores::new(), app).await;
    for offset in [13, 49, 99, 149, 199] {
        let stopped = until("the next stops it", async || {
            running.stopped_folds().pop().filter(|fold| fold.id.offset.0 == offset)
        })
        .await;
        running.dead_letters().skip(&stopped.id).await.unwrap();
    }
    let expected = (0..200).filter(|n| n % 50 != 49 && *n != 13).sum();
    until_sum(&running, &total, "a", expected).await;
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn a_decision_that_makes_no_sense_is_refused_before_it_is_written() {
    let log = memory();
    make(&*log, "paid").await;
    produce(&*log, "paid", &[("a", "1")]).await;
    let running = start(&log, &MemoryStores::new(), sums().app).await;
    running.ready(WITHIN).await.unwrap();
    let place = partition("a");
    let cases = [
        (format!("nobody/paid-{place}@0"), "there is no topology \"nobody\": there are total"),
        (format!("total/visits-{place}@0"), "\"total\" does not read visits"),
        ("total/paid-2@0".to_owned(), "\"total\" does not read paid-2: it reads paid, of 2 partitions each"),
        (format!("total/paid-{place}@1"), "holds no record at offset 1"),
    ];
    for (about, why) in cases {
        let refused = running.dead_letters().skip(&id(about)).await.unwrap_err();
        assert!(matches!(refused, LetterError::NoSuch(_)) && refused.to_string().contains(why), "{refused}");
    }
    let at = topic("bank.decisions").partition(place);
    let written = log.read(&at, Offset::ZERO, ReadLimit::default(), Wait::No).await.unwrap();
    assert_eq!(written.records, []);
    assert!(running.stop(WITHIN).await);
}
