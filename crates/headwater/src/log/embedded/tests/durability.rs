//! What is acknowledged is durable; what cannot be written is not, and is said so.

use headwater_core::log::{AppendError, CommitError, LogErrorKind, Membership};

use super::*;

struct Rig {
    dir: tempfile::TempDir,
    image: tempfile::NamedTempFile,
    faults: Faults,
}

impl Rig {
    fn new() -> Self {
        let rig = Self {
            dir: tempfile::tempdir().unwrap(),
            image: tempfile::NamedTempFile::new().unwrap(),
            faults: Faults::default(),
        };
        rig.faults.keep_image(rig.image.path().to_owned());
        rig
    }

    fn open(&self) -> Arc<EmbeddedLog> {
        EmbeddedLog::open(self.dir.path(), with_faults(&self.faults)).unwrap()
    }

    /// How many of the acknowledged records a loss of power would leave, read back whole.
    async fn after_power_loss(&self, from: &TopicPartition) -> Result<u64, String> {
        let dir = directory_of_image(self.image.path());
        let log = EmbeddedLog::open(dir.path(), options()).map_err(|error| error.to_string())?;
        if log.describe(&from.topic).await.unwrap().is_none() {
            return Ok(0);
        }
        let records = read_all(&log, from).await;
        assert!(records.iter().all(|(offset, found)| *found == record(*offset, 200)));
        Ok(records.len() as u64)
    }
}

/// Commits one record after another, and after some of the answers asks what a loss of power would leave.
async fn lost_acknowledgements(rig: &Rig) -> u64 {
    let log = rig.open();
    create(&log, "events", TopicSettings::kept(1)).await;
    let events = at("events", 0);
    let (_member, Opened { mut writer, .. }) = writer(&log, "app.x").await;
    let mut lost = 0;
    for n in 0..60 {
        writer.commit(transaction(vec![append(&events, n, 200)], (&events, n), "")).await.unwrap();
        if n % 7 == 0 {
            lost += n + 1 - rig.after_power_loss(&events).await.unwrap_or(0);
        }
    }
    lost
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_loss_of_power() {
    let rig = Rig::new();
    assert_eq!(lost_acknowledgements(&rig).await, 0);
    assert!(rig.faults.syncs() >= 60);
}

#[tokio::test]
async fn a_planted_commit_without_sync_is_found() {
    let rig = Rig::new();
    drop(rig.open());
    rig.faults.skip_syncs();
    assert_ne!(lost_acknowledgements(&rig).await, 0, "acknowledged without a sync, and nothing was lost");
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_reads_on_and_recovers_when_space_returns() {
    let rig = Rig::new();
    let log = rig.open();
    create(&log, "events", TopicSettings::kept(1)).await;
    let events = at("events", 0);
    let (_member, Opened { mut writer, .. }) = writer(&log, "app.x").await;
    rig.faults.fill_disk(true);
    let mut written = 0;
    let refused = loop {
        assert!(written < 100_000, "the disk is full and nothing was refused");
        let appends = (written..written + 50).map(|n| append(&events, n, 200)).collect();
        match writer.commit(transaction(appends, (&events, written), "")).await {
            Ok(_) => written += 50,
            Err(error) => break error,
        }
    };
    let CommitError::NotWritten { retry: true, error } = refused else { panic!("{refused}") };
    assert_eq!(error.kind(), LogErrorKind::Full);
    assert!(error.to_string().contains("no space") && error.to_string().contains("free some"), "{error}");
    let appended = log.append((0..500).map(|n| append(&events, n, 200)).collect()).await;
    assert!(matches!(appended, Err(AppendError::NotWritten(e)) if e.kind() == LogErrorKind::Full));
    assert_eq!(read_all(&log, &events).await.len() as u64, written);
    assert_eq!(rig.after_power_loss(&events).await.unwrap(), written);

    rig.faults.fill_disk(false);
    let appends = (written..written + 50).map(|n| append(&events, n, 200)).collect();
    writer.commit(transaction(appends, (&events, written), "")).await.unwrap();
    assert_eq!(rig.after_power_loss(&events).await.unwrap(), written + 50);
}

#[tokio::test]
async fn a_size_limit_is_full_at_once_and_frees_up_by_expiry() {
    use headwater_core::log::Cleanup;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { bytes_max: Some(4 << 20), ..options() };
    let log = EmbeddedLog::open(dir.path(), options).unwrap();
    create(&log, "events", TopicSettings::kept(1).cleanup(Cleanup::Expire { after_ms: 10 })).await;
    let events = at("events", 0);
    let mut written = 0;
    let refused = loop {
        assert!(written < 100_000, "the limit is passed and nothing was refused");
        match log.append((written..written + 50).map(|n| append(&events, n, 200)).collect()).await {
            Ok(_) => written += 50,
            Err(error) => break error,
        }
    };
    let AppendError::NotWritten(error) = refused else { panic!("{refused}") };
    assert_eq!(error.kind(), LogErrorKind::Full);
    assert!(log.stats().used_bytes <= 4 << 20);
    assert_eq!(read_all(&log, &events).await.len() as u64, written);
    let late = Timestamp(1_000 + written as i64 * 2);
    let (expiring, expired) = (log.clone(), written);
    let done = tokio::task::spawn_blocking(move || expiring.maintain(late)).await.unwrap().unwrap();
    assert_eq!(done.expired, expired);
    fill(&log, &events, written..written + 1_000, 200).await;
}

#[tokio::test]
async fn a_failed_sync_leaves_the_outcome_unknown_until_the_log_is_opened_again() {
    let rig = Rig::new();
    let log = rig.open();
    create(&log, "events", TopicSettings::kept(1)).await;
    let events = at("events", 0);
    let (member, Opened { mut writer, .. }) = writer(&log, "app.x").await;
    let commit = |n| transaction(vec![append(&events, n, 200)], (&events, n), "note");
    writer.commit(commit(0)).await.unwrap();
    rig.faults.fail_syncs(true);
    let unknown = writer.commit(commit(1)).await;
    assert!(matches!(unknown, Err(CommitError::Unknown(_))), "{unknown:?}");
    rig.faults.fail_syncs(false);
    assert!(matches!(writer.commit(commit(2)).await, Err(CommitError::Fenced)), "its writer is dead");
    let refused = log.append(vec![append(&events, 3, 200)]).await;
    assert!(
        matches!(&refused, Err(AppendError::NotWritten(e)) if e.kind() == LogErrorKind::Closed),
        "{refused:?}"
    );
    assert_eq!(log.bounds(&events).await.unwrap().end, Offset(1), "what is unknown is not shown");
    let closed: Box<dyn Membership> = member;
    drop((closed, writer, log));

    let log = rig.open();
    let (_member, Opened { mut writer, head }) = super::writer(&log, "app.x").await;
    let position = head.unwrap().positions.get(&events).unwrap();
    let end = log.bounds(&events).await.unwrap().end;
    assert_eq!(end, position.next(), "records and head are of the same transaction");
    writer.commit(commit(end.0)).await.unwrap();
    assert_eq!(read_all(&log, &events).await.len() as u64, end.0 + 1);
}

#[tokio::test]
async fn compacting_keeps_everything_but_the_free_pages() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    create(&log, "events", TopicSettings::kept(2)).await;
    create(&log, "gone", TopicSettings::kept(1)).await;
    fill(&log, &at("events", 1), 0..500, 300).await;
    fill(&log, &at("gone", 0), 0..5_000, 300).await;
    let (member, Opened { mut writer, .. }) = writer(&log, "app.x").await;
    writer.commit(transaction(vec![], (&at("events", 1), 7), "n")).await.unwrap();
    log.delete(&topic("gone")).await.unwrap();
    let purging = log.clone();
    let purged = tokio::task::spawn_blocking(move || purging.maintain(Timestamp(0))).await.unwrap();
    assert_eq!(purged.unwrap().purged, 1);
    let before = log.stats();
    assert!(before.free_pages * 4_096 > 1_000_000, "{before:?}");
    let id = log.id();
    drop((member, writer, log));
    EmbeddedLog::compact(dir.path()).unwrap();
    for round in 0..2 {
        let log = open(dir.path());
        let after = log.stats();
        assert!(after.used_bytes < before.used_bytes / 2, "{before:?} {after:?}");
        assert_eq!(log.id(), id);
        assert_eq!(read_all(&log, &at("events", 1)).await.len(), 500 + round);
        assert_eq!(log.committed("app.x").await.unwrap().get(&at("events", 1)), Some(Offset(7)));
        fill(&log, &at("events", 1), 0..1, 300).await;
    }
}
