//! One side in a process of its own: started, listened to, asked, measured and killed.
//!
//! Both sides speak the same lines, which `kafka-streams/Worker.java` describes. Memory is read from `/proc`, so that
//! it is measured alike.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::Ground;

/// How long a contender may say nothing at all.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const HEAP: &str = "-Xmx1g";

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Kafka Streams with so many threads, and a commit interval of its own if one is given.
    Streams { threads: u32, commit_ms: Option<u32> },
    /// Headwater.
    Headwater,
}

/// What it is to do.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) work: &'static str,
    pub(super) input: String,
    /// The second topic of a join.
    pub(super) other: Option<String>,
    pub(super) output: Option<String>,
    /// Names its group: another name begins anew.
    pub(super) name: String,
    /// Names the directory of its local state.
    pub(super) data: String,
}

/// A process of one side.
pub(super) struct Contender {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    pub(super) started: Instant,
    pub(super) peak: Memory,
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) resident_kib: u64,
    pub(super) anonymous_kib: u64,
}

/// Records processed between the first and the last sample, which are told ten times a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) records: u64,
    pub(super) took: Duration,
    /// CPU time of the process for all its records, its start included.
    pub(super) cpu_micros_per_record: f64,
}

impl Progress {
    pub(super) fn per_second(self) -> f64 {
        self.records as f64 / self.took.as_secs_f64()
    }
}

enum Line {
    Processed(u64),
    Value(String),
    Waiting,
    Accepted,
    Filled,
}

impl Contender {
    pub(super) fn start(ground: &Ground, side: Side, job: &Job) -> anyhow::Result<Self> {
        let mut command = tokio::process::Command::from(command(ground, side, job)?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().context("cannot start a contender")?;
        let stdin = child.stdin.take().context("its input is piped")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, stdin, lines, started, peak: Memory::default() })
    }

    /// Listens until so many records are processed; remembers the most memory that it saw.
    pub(super) async fn processes(&mut self, records: u64) -> anyhow::Result<Progress> {
        let mut first = None;
        loop {
            if let Line::Processed(now) = self.line().await? {
                self.peak = self.peak.max(self.memory()?);
                let (began, before) = *first.get_or_insert((Instant::now(), now));
                if now >= records {
                    let cpu_micros_per_record = self.cpu()?.as_secs_f64() * 1e6 / now as f64;
                    return Ok(Progress {
                        records: now - before,
                        took: began.elapsed(),
                        cpu_micros_per_record,
                    });
                }
            }
        }
    }

    /// Asks for a key's row, or the sum of its windows; `None` while it cannot be asked.
    pub(super) async fn get(&mut self, key: &str, windows: bool) -> anyhow::Result<Option<Option<u64>>> {
        let what = if windows { "sum" } else { "get" };
        match self.ask(&format!("{what} {key}\n")).await? {
            Line::Value(value) => Ok(Some(value.parse().ok())),
            _ => Ok(None),
        }
    }

    /// Sends one command to an aggregate; answers whether it was accepted.
    pub(super) async fn send(&mut self, key: &str) -> anyhow::Result<bool> {
        Ok(matches!(self.ask(&format!("send {key}\n")).await?, Line::Accepted))
    }

    /// Sends a command to each of so many aggregates.
    pub(super) async fn fill(&mut self, aggregates: u32) -> anyhow::Result<()> {
        self.ask(&format!("fill {aggregates}\n")).await.map(drop)
    }

    async fn ask(&mut self, question: &str) -> anyhow::Result<Line> {
        self.stdin.write_all(question.as_bytes()).await?;
        loop {
            match self.line().await? {
                Line::Processed(_) => {}
                answer => return Ok(answer),
            }
        }
    }

    async fn line(&mut self) -> anyhow::Result<Line> {
        let line = tokio::time::timeout(SILENCE_MAX, self.lines.next_line());
        let line = line.await.context("a contender said nothing for too long")??;
        let line = line.context("a contender ended by itself")?;
        Ok(match line.split_once(' ').unwrap_or((&line, "")) {
            ("processed", records) => Line::Processed(records.parse()?),
            ("value", value) => Line::Value(value.to_owned()),
            ("waiting", _) => Line::Waiting,
            ("accepted", _) => Line::Accepted,
            ("filled", _) => Line::Filled,
            _ => bail!("a contender said {line:?}"),
        })
    }

    /// The CPU time that it has used.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let pid = self.child.id().context("a contender ended by itself")?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name in brackets, which may hold anything: user and system time are the 12th and 13th field.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Its memory now.
    pub(super) fn memory(&self) -> anyhow::Result<Memory> {
        let pid = self.child.id().context("a contender ended by itself")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
            line.and_then(|kib| kib.parse().ok()).unwrap_or(0)
        };
        Ok(Memory { resident_kib: field("VmRSS:"), anonymous_kib: field("RssAnon:") })
    }

    /// Ends it at once (`kill -9`).
    pub(super) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Ends its input, at which it ends in order.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        tokio::time::timeout(Duration::from_secs(30), child.wait()).await??;
        Ok(())
    }
}

impl Memory {
    fn max(self, other: Self) -> Self {
        Self {
            resident_kib: self.resident_kib.max(other.resident_kib),
            anonymous_kib: self.anonymous_kib.max(other.anonymous_kib),
        }
    }
}

fn command(ground: &Ground, side: Side, job: &Job) -> anyhow::Result<Command> {
    let data: PathBuf = ground.scratch.path().join(&job.data);
    let mut command = match side {
        Side::Headwater => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["worker", job.work]);
            command
        }
        Side::Streams { threads, commit_ms } => {
            let mut command = Command::new("java");
            let path = format!("{}:{}", ground.scratch.path().display(), ground.jars.class_path().display());
            command.args([HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &path]);
            command.args(["Worker", job.work, "--threads", &threads.to_string()]);
            if let Some(commit_ms) = commit_ms {
                command.args(["--commit-ms", &commit_ms.to_string()]);
            }
            command
        }
    };
    command.args(["--bootstrap", &ground.bootstrap, "--input", &job.input, "--group", &job.name]);
    command.arg("--data").arg(data);
    if let Some(other) = &job.other {
        command.args(["--other", other]);
    }
    if let Some(output) = &job.output {
        command.args(["--output", output]);
    }
    Ok(command)
}
