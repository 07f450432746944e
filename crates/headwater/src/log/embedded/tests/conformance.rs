//! The embedded log runs the suite that every log runs, crashes to the last sync included.

use std::time::Duration;

use headwater_core::BoxFuture;
use headwater_core::conformance::log::{Fault, Harness, run_all};

use super::*;

/// Logs in a directory each; the last is the current one. All are kept, since the suite may still hold some.
#[derive(Default)]
struct Embedded {
    opened: Mutex<Vec<Current>>,
}

struct Current {
    log: Arc<EmbeddedLog>,
    _dir: tempfile::TempDir,
    image: tempfile::NamedTempFile,
    faults: Faults,
}

impl Embedded {
    fn open_in(&self, dir: tempfile::TempDir) -> Arc<dyn Log> {
        let image = tempfile::NamedTempFile::new().unwrap();
        let faults = Faults::default();
        faults.keep_image(image.path().to_owned());
        let log = EmbeddedLog::open(dir.path(), with_faults(&faults)).unwrap();
        self.opened.lock().push(Current { log: log.clone(), _dir: dir, image, faults });
        log
    }
}

impl Embedded {
    fn current<T>(&self, with: impl FnOnce(&Current) -> T) -> T {
        with(self.opened.lock().last().expect("a log was opened"))
    }
}

impl Harness for Embedded {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async { self.open_in(tempfile::tempdir().unwrap()) })
    }

    fn patience(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_secs(120)))
    }

    fn moment(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(20)))
    }

    fn crash(&self, log: Arc<dyn Log>) -> BoxFuture<'_, Option<Arc<dyn Log>>> {
        drop(log);
        let dir = self.current(|crashed| directory_of_image(crashed.image.path()));
        Box::pin(async move { Some(self.open_in(dir)) })
    }

    fn clean<'a>(&'a self, _: &'a Arc<dyn Log>) -> BoxFuture<'a, bool> {
        let log = self.current(|current| current.log.clone());
        Box::pin(async move {
            let now = headwater_core::clock::SystemClock.now();
            tokio::task::spawn_blocking(move || log.maintain(now)).await.unwrap().unwrap();
            true
        })
    }

    fn inject(&self, _: &Arc<dyn Log>, fault: Fault) -> bool {
        let not_written = matches!(fault, Fault::CommitNotWritten | Fault::AppendNotWritten);
        if not_written {
            self.current(|current| current.faults.refuse_space_once());
        }
        not_written
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_log_keeps_every_rule() {
    let report = run_all(&Embedded::default()).await;
    // After an unknown outcome this log must be opened again; `durability` has the test of that.
    report.assert_kept(&["an_unknown_commit_ends_its_writer"]);
}
