//! Decisions of which the log refuses what would come: the shard comes past each of them, and the letter can be decided about
//! again.

use headwater::log::embedded::{EmbeddedLog, Options};

use super::emitters::{enlarged, records, told, until_letters};
use super::*;

/// A log that takes no record above 3,000 bytes, and an app that tells texts ten times as large.
async fn small(transaction_bytes_max: usize) -> (tempfile::TempDir, SharedLog, Running) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { record_bytes_max: 3_000, transaction_bytes_max, ..Options::default() };
    let log: SharedLog = EmbeddedLog::open(dir.path(), options).unwrap();
    make(&*log, "texts").await;
    let running = start(&log, &MemoryStores::new(), enlarged()).await;
    (dir, log, running)
}

fn text(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length))
}

async fn edit(running: &Running, id: &RecordId, length: usize) {
    running.dead_letters().edit(id, Some(text(length).into())).await.unwrap();
}

#[tokio::test]
async fn an_edit_that_no_letter_can_hold_is_refused_and_the_shard_goes_on() {
    let (_dir, log, running) = small(1 << 20).await;
    produce(&*log, "texts", &[("a", &text(2_000)), ("a", &text(2_000))]).await;
    let letters = until_letters(&running, 2).await;
    for letter in &letters {
        edit(&running, &letter.record.id, 1_500).await;
        let is_refused = async || {
            let now = running.dead_letters().letter(&letter.record.id).await.unwrap();
            now.error.contains("its edit was refused").then_some(now)
        };
        let refused = until("the edit is refused", is_refused).await;
        assert_eq!((&refused.record, refused.edited, refused.reason), (&letter.record, None, letter.reason));
    }
    for letter in &letters {
        edit(&running, &letter.record.id, 1).await;
    }
    running.dead_letters().retry_all(&letters[1].record.id).await.unwrap();
    until_letters(&running, 0).await;
    assert_eq!(told(&*log, "out").await["a"], [text(10), text(10)]);
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn a_letter_that_can_grow_no_more_stays_as_it_is() {
    let (_dir, log, running) = small(1 << 20).await;
    produce(&*log, "texts", &[("a", &text(2_400))]).await;
    let first = until_letters(&running, 1).await[0].record.id.clone();
    let written = records(&*log, "web.out.letters").await[0].record.clone();
    let room = 2_960 - written.key.unwrap().len() - written.value.unwrap().len();
    running.dead_letters().discard(&first).await.unwrap();
    until_letters(&running, 0).await;

    produce(&*log, "texts", &[("a", &text(2_400 + room))]).await;
    let letters = until_letters(&running, 1).await;
    edit(&running, &letters[0].record.id, 1_500).await;
    produce(&*log, "texts", &[("a", "\"y\"")]).await;
    let both = until_letters(&running, 2).await;
    assert_eq!(both[0], letters[0]);
    edit(&running, &letters[0].record.id, 1).await;
    until_letters(&running, 1).await;
    assert_eq!(told(&*log, "out").await["a"], [text(10)]);
    assert!(running.stop(WITHIN).await);
}

#[tokio::test]
async fn a_line_too_large_for_one_transaction_is_retried_one_letter_at_a_time() {
    let (_dir, log, running) = small(4_000).await;
    produce(&*log, "texts", &[("a", &text(400)), ("a", &text(250)), ("a", &text(250))]).await;
    let letters = until_letters(&running, 3).await;
    running.dead_letters().discard(&letters[0].record.id).await.unwrap();
    for (letter, left) in [(&letters[1], 1), (&letters[2], 0)] {
        until_letters(&running, left + 1).await;
        running.dead_letters().retry_all(&letter.record.id).await.unwrap();
        until_letters(&running, left).await;
    }
    assert_eq!(told(&*log, "out").await["a"], [text(2_500), text(2_500)]);
    assert!(running.stop(WITHIN).await);
}
