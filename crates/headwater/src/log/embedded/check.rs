//! Reading everything, to find damage before anybody needs what is damaged.
//!
//! After an unclean stop the whole log is read in the background, and what does not verify is quarantined: named by
//! topic, partition and offsets in [`EmbeddedLog::damage`](super::EmbeddedLog::damage), and answered as corrupt. Meanwhile
//! everything is served, since every read verifies what it answers; opening itself has checked the meta pages, the
//! branches, the free list, the rows, and the end of every partition.
//!
//! The walk runs in a child process, so that neither its memory nor its end is the service's. The library cannot know
//! what its program does when started again, so the program has to say that it may be: call [`check_if_asked`] first
//! in `main`. Without it the walk runs on a thread of this process.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_core::log::LogError;
use headwater_core::topic::{Offset, Partition, TopicName, TopicPartition};

use super::Options;
use super::catalogue::{self, Catalogue};
use super::directory::Directory;
use super::engine::Engine;
use super::error::{OpenError, OpenErrorKind};
use super::format::Commit;
use super::reader::{Fault, scan};

/// Asks a process to check the data directory that it names, and to end.
const ASK: &str = "HEADWATER_CHECK";

static MAY_ASK: AtomicBool = AtomicBool::new(false);

/// Records that are damaged, and are not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRange {
    /// Where.
    pub partition: TopicPartition,
    /// The first offset.
    pub first: Offset,
    /// The last offset.
    pub last: Offset,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for DamagedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, first, last, what } = self;
        write!(f, "{partition}@{first}")?;
        if last > first {
            write!(f, " to {last}")?;
        }
        write!(f, " is damaged and not served: {what}; restore it from a copy")
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Records and stubs that verify.
    pub entries: u64,
    /// Everything else.
    pub damaged: Vec<DamagedRange>,
}

/// Does a check if this process was started for one, and does not return then.
///
/// Call it first in `main`. It also says that this program may be started again for a check, by its own executable
/// with an environment variable; without it a check runs in the process itself.
pub fn check_if_asked() {
    let Some(dir) = std::env::var_os(ASK) else {
        MAY_ASK.store(true, Ordering::Relaxed);
        return;
    };
    end_with_parent();
    let code = match check_beside(Path::new(&dir)).map(|report| print(&report)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => complain(&error),
        Err(error) => complain(&error),
    };
    std::process::exit(code)
}

/// Has this process killed when the one that asked for the check ends, as that may itself be: nobody reads the report then.
fn end_with_parent() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
    {
        // It ends by itself, later.
        tracing::debug!(%error, "the check may outlive whoever asked for it");
    }
}

fn complain(error: &dyn std::error::Error) -> i32 {
    let _ = writeln!(std::io::stderr(), "{error}");
    1
}

/// Reads and verifies everything in a data directory that nobody has open.
///
/// # Errors
///
/// What cannot even be walked: the directory is in use or not ours, or its roots are damaged.
pub fn check(dir: impl AsRef<Path>) -> Result<CheckReport, OpenError> {
    let directory = Directory::hold(dir.as_ref())?;
    let options = Options { maintenance_every: None, check_after_crash: false, ..Options::default() };
    let (engine, commit) = Engine::open(&directory.log(), &options)?;
    let catalogue = load(&engine, Some(commit), dir.as_ref())?;
    walk(&engine, &catalogue, &|| false).map_err(|error| cannot_check(dir.as_ref(), &error))
}

/// The same for a directory that the parent process has open.
fn check_beside(dir: &Path) -> Result<CheckReport, OpenError> {
    let engine = Engine::open_beside(&dir.join("log"))?;
    let catalogue = load(&engine, None, dir)?;
    walk(&engine, &catalogue, &|| false).map_err(|error| cannot_check(dir, &error))
}

/// The catalogue as of one moment; without `commit`, as of the last one then.
fn load(engine: &Engine, commit: Option<Commit>, dir: &Path) -> Result<Catalogue, OpenError> {
    let snapshot = engine.snapshot().map_err(|error| cannot_check(dir, &error))?;
    let commit = commit.map_or_else(|| snapshot.commit(), Ok);
    commit
        .and_then(|commit| catalogue::load(&mut snapshot.cursor(), &commit))
        .map_err(|damage| OpenError::damaged(&dir.join("log"), &damage))
}

fn cannot_check(dir: &Path, error: &LogError) -> OpenError {
    OpenError::new(OpenErrorKind::Unavailable, format!("cannot check {}: {error}", dir.display()))
}

/// Reads every record of every topic until told to stop.
pub(super) fn walk(
    engine: &Engine,
    catalogue: &Catalogue,
    stop: &dyn Fn() -> bool,
) -> Result<CheckReport, LogError> {
    let mut report = CheckReport::default();
    let topics: Vec<_> = catalogue.topics.read().values().cloned().collect();
    for topic in &topics {
        for partition in 0..topic.partition_count() {
            let bounds = topic.partitions[partition as usize].bounds();
            let CheckReport { entries, damaged } = &mut report;
            let mut note = |range: std::ops::Range<u64>, fault: &Fault| {
                damaged.push(DamagedRange {
                    partition: topic.place(partition),
                    first: Offset(range.start),
                    last: Offset(range.end - 1),
                    what: fault.to_string(),
                });
                Ok::<(), LogError>(())
            };
            scan(engine, (topic, partition), bounds.start.0..bounds.end.0, &mut note, &mut |_| {
                *entries += 1;
                !stop()
            })?;
        }
    }
    Ok(report)
}

/// Checks in a child process, if the program said that it may be started for that; `None` otherwise.
///
/// `watch` is given the child, and may end it.
pub(super) fn ask_child(dir: &Path, watch: impl FnOnce(&mut Child)) -> Option<std::io::Result<CheckReport>> {
    MAY_ASK.load(Ordering::Relaxed).then(|| run_child(dir, watch))
}

fn run_child(dir: &Path, watch: impl FnOnce(&mut Child)) -> std::io::Result<CheckReport> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(ASK, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let out = child.stdout.take();
    let reading = std::thread::spawn(move || out.map(|out| parse(BufReader::new(out))).unwrap_or_default());
    watch(&mut child);
    let status = child.wait()?;
    let report = reading.join().map_err(|_| std::io::Error::other("the check's report cannot be read"))?;
    match report {
        Some(report) if status.success() => Ok(report),
        _ => Err(std::io::Error::other(format!("the check ended with {status}"))),
    }
}

/// One line for each damaged range, and a last one that says how much verified.
fn print(report: &CheckReport) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for DamagedRange { partition, first, last, what } in &report.damaged {
        writeln!(out, "damaged\t{}\t{}\t{first}\t{last}\t{what}", partition.topic, partition.partition)?;
    }
    writeln!(out, "verified\t{}", report.entries)?;
    out.flush()
}

/// The report in the child's lines; `None` if its end is missing. Other lines are not the check's.
fn parse(lines: impl BufRead) -> Option<CheckReport> {
    let mut damaged = Vec::new();
    for line in lines.lines() {
        let line = line.ok()?;
        if let Some(entries) = line.strip_prefix("verified\t") {
            return Some(CheckReport { entries: entries.parse().ok()?, damaged });
        }
        damaged.extend(line.strip_prefix("damaged\t").and_then(parse_range));
    }
    None
}

fn parse_range(fields: &str) -> Option<DamagedRange> {
    let mut fields = fields.splitn(5, '\t');
    let topic = TopicName::new(fields.next()?).ok()?;
    let mut number = || fields.next()?.parse::<u64>().ok();
    let partition = Partition(u32::try_from(number()?).ok()?);
    let (first, last) = (Offset(number()?), Offset(number()?));
    let partition = TopicPartition { topic, partition };
    Some(DamagedRange { partition, first, last, what: fields.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_way_to_the_parent() {
        let partition = TopicName::new("orders").unwrap().partition(3);
        let range =
            DamagedRange { partition, first: Offset(7), last: Offset(9), what: "page 4: torn".into() };
        let lines = "noise\ndamaged\torders\t3\t7\t9\tpage 4: torn\nverified\t12\n";
        assert_eq!(parse(lines.as_bytes()), Some(CheckReport { entries: 12, damaged: vec![range] }));
        assert_eq!(parse("damaged\torders\t3\t7\t9\tpage 4: torn\n".as_bytes()), None);
    }
}
