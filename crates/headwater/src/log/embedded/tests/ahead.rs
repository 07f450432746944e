//! Space that is written before it is used: where it lies, and that nothing depends on it.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::*;

/// Waits until the committer has nothing more to write ahead; answers from where to where it has.
fn settled(log: &EmbeddedLog) -> std::ops::Range<u64> {
    let engine = &log.shared.engine;
    let deadline = Instant::now() + Duration::from_secs(20);
    while engine.wants_ahead() {
        assert!(Instant::now() < deadline, "the committer does not come to rest");
        std::thread::sleep(Duration::from_millis(1));
    }
    engine.used_bytes()..engine.written_bytes()
}

async fn log_of(options: Options, records: u64) -> (tempfile::TempDir, Arc<EmbeddedLog>) {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), options).unwrap();
    create(&log, "events", TopicSettings::kept(1)).await;
    fill(&log, &at("events", 0), 0..records, 2_000).await;
    (dir, log)
}

#[tokio::test]
async fn zeros_are_written_behind_the_used_part_as_it_grows() {
    let (dir, log) = log_of(options(), 1).await;
    let mut ends = Vec::new();
    for round in 0..8 {
        let ahead = settled(&log);
        assert!(ahead.end > ahead.start, "{ahead:?}");
        let file = std::fs::File::open(dir.path().join("log/data.mdb")).unwrap();
        assert!(file.metadata().unwrap().len() >= ahead.end);
        let mut bytes = vec![1; (ahead.end - ahead.start) as usize];
        file.read_exact_at(&mut bytes, ahead.start).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
        ends.push(ahead.end);
        fill(&log, &at("events", 0), 1 + round * 500..1 + (round + 1) * 500, 2_000).await;
    }
    assert!(ends.is_sorted() && ends.first() < ends.last(), "{ends:?}");
    drop(log);
    let log = open(dir.path());
    let found = read_all(&log, &at("events", 0)).await;
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(n, (offset, found))| *offset == n as u64 && *found == record(n as u64, 2_000))
    );
    assert_eq!(found.len(), 4_001);
}

#[tokio::test]
async fn on_a_full_disk_the_committer_rests_and_commits_into_what_there_is() {
    let faults = Faults::default();
    let (_dir, log) = log_of(with_faults(&faults), 10).await;
    faults.fill_disk(true);
    let mut written = 10;
    loop {
        settled(&log);
        let appends = (written..written + 10).map(|n| append(&at("events", 0), n, 2_000)).collect();
        let Ok(_) = log.append(appends).await else { break };
        written += 10;
        assert!(written < 100_000, "the disk is full and nothing was refused");
    }
    assert!(written > 10);
    faults.fill_disk(false);
    fill(&log, &at("events", 0), written..written + 1_000, 2_000).await;
    let ahead = settled(&log);
    assert!(ahead.end > ahead.start, "{ahead:?}");
    assert_eq!(read_all(&log, &at("events", 0)).await.len() as u64, written + 1_000);
}

#[tokio::test]
async fn a_size_limit_is_not_passed() {
    let max = 4 << 20;
    let (dir, log) = log_of(Options { bytes_max: Some(max), ..options() }, 10).await;
    let mut written = 10;
    loop {
        settled(&log);
        let len = std::fs::metadata(dir.path().join("log/data.mdb")).unwrap().len();
        assert!(len <= max, "{len}");
        let Ok(_) = log.append(vec![append(&at("events", 0), written, 2_000)]).await else { break };
        written += 1;
        assert!(written < 100_000, "the limit is passed and nothing was refused");
    }
}
