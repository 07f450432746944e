//! The benches, each of which prints its lines of the table.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::contender::{Contender, Job, Memory, Progress, Side};
use super::table::{Better, Table, mebibytes, micros, millis, per_second, seconds};
use super::traffic::{Filled, Traffic};
use super::{Ground, Options};
use crate::drive::{self, Figures, Schedule, Workload};
use crate::headwater::OnKafka;

/// The rows of the table that can be asked for. B4 and B5 are measured with B1, and a part of B8.
pub(super) const ROWS: [&str; 12] =
    ["B1", "B2", "B3", "B4", "B5", "B6", "B8", "B9", "B12", "join", "window", "hops"];
/// How long one bench may take, whatever happens.
const BENCH_MAX: Duration = Duration::from_secs(900);
/// Records a second of B3.
const STEADY: u32 = 5_000;
/// How long B3 runs before it is measured: the time that a JVM needs to compile what is hot.
const WARM_UP: Duration = Duration::from_secs(6);
/// Records that tell B3 that a contender runs.
const FIRST: u64 = 10;
/// How long a contender may take until it serves again.
const SERVING_MAX: Duration = Duration::from_secs(300);
/// How long a contender settles before its idle memory is read.
const SETTLE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
const MANY_KEYS: u32 = 1_000_000;
pub(super) const FEW_KEYS: u32 = 100_000;

/// Runs every bench that is asked for. One that fails does not keep the others from running.
pub(super) async fn run_all(ground: &Ground, options: &Options, table: &mut Table) {
    macro_rules! bench {
        ($rows:expr, $name:literal, $run:expr) => {
            if options.asks_for(&$rows) {
                eprintln!("{} ...", $name);
                let late = Err(anyhow!("it took longer than {} s", BENCH_MAX.as_secs()));
                if let Err(error) = timeout(BENCH_MAX, $run).await.unwrap_or(late) {
                    table.failed($name, &error);
                }
            }
        };
    }
    let bench = Bench { ground, options, many: OnceCell::new(), few: OnceCell::new() };
    bench!(["B1", "B4", "B5", "B8"], "B1 1 M keys", bench.count(table, "1 M keys", MANY_KEYS, true));
    bench!(["B1"], "B1 100 k keys", bench.count(table, "100 k keys", FEW_KEYS, false));
    bench!(["B2"], "B2 map", bench.map(table));
    bench!(["B3"], "B3 latency", bench.latency(table));
    bench!(["B8"], "B8 idle", bench.idle(table));
    bench!(["B9"], "B9 read", bench.read(table));
    bench!(["join"], "table-table join", bench.join(table));
    bench!(["window"], "tumbling windows", bench.windows(table));
    bench!(["hops"], "hops", bench.hops(table));
    bench!(["B6"], "B6 commands", bench.commands(table));
    bench!(["B12"], "B12 takeover", bench.takeover(table));
}

impl Options {
    fn asks_for(&self, rows: &[&str]) -> bool {
        self.only.is_empty() || self.only.iter().any(|row| rows.contains(&row.as_str()))
    }
}

pub(super) struct Bench<'a> {
    pub(super) ground: &'a Ground,
    pub(super) options: &'a Options,
    /// The topic of many keys, once one was needed.
    many: OnceCell<Filled>,
    /// The topic of few keys, likewise.
    few: OnceCell<Filled>,
}

/// What B1 and B4 tell of one side.
struct Counted {
    progress: Progress,
    peak: Memory,
    /// From its start until it answered with every record.
    complete_s: f64,
    serving_s: Option<f64>,
}

impl Bench<'_> {
    pub(super) fn streams(&self) -> Side {
        Side::Streams { threads: self.options.threads, commit_ms: None }
    }

    pub(super) async fn traffic(&self) -> anyhow::Result<Traffic> {
        Traffic::connect(&self.ground.bootstrap).await
    }

    /// A topic of records with so many keys, filled when it is first asked for.
    pub(super) async fn filled(&self, keys: u32) -> anyhow::Result<&Filled> {
        let cell = if keys == MANY_KEYS { &self.many } else { &self.few };
        let fill = || async {
            self.traffic().await?.fill(&format!("keys-{keys}"), self.options.records(), keys).await
        };
        cell.get_or_try_init(fill).await
    }

    /// B1: counts per key into a queryable view. B8: its memory. B4: killed then, and asked again for all of it.
    async fn count(&self, table: &Table, what: &str, keys: u32, restart: bool) -> anyhow::Result<()> {
        let filled = self.filled(keys).await?;
        let theirs = self.count_with(self.streams(), filled, restart).await?;
        let ours = self.count_with(Side::Headwater, filled, restart).await?;
        let line = |name: &str, figure: fn(&Counted) -> f64, show, better, mark: &str| {
            table.both(&format!("{name}, {what}"), figure(&theirs), figure(&ours), show, better, mark);
        };
        line("B1 count per key", |c| c.progress.per_second(), per_second, Better::Higher, "≥ 5 ×");
        let cpu = |c: &Counted| c.progress.cpu_micros_per_record;
        line("B1 CPU of the process, a record", cpu, micros, Better::Lower, "");
        let anonymous = |c: &Counted| c.peak.anonymous_kib as f64;
        line("B8 anonymous memory in B1", anonymous, mebibytes, Better::Lower, "≤ 150 MiB");
        let resident = |c: &Counted| c.peak.resident_kib as f64;
        line("B8 resident memory in B1", resident, mebibytes, Better::Lower, "");
        if restart {
            let serving = |c: &Counted| c.serving_s.unwrap_or(f64::NAN);
            line("B4 serving after kill -9", serving, seconds, Better::Lower, "≤ 1 s");
            let rebuilt = self.rebuilt(filled).await?.as_secs_f64();
            let what = format!("B5 rebuilt from the log, {what}");
            table.both(&what, theirs.complete_s, rebuilt, seconds, Better::Lower, "≤ 10 s");
        }
        Ok(())
    }

    async fn count_with(&self, side: Side, filled: &Filled, restart: bool) -> anyhow::Result<Counted> {
        let name = format!("{}-{}", name_of(side), filled.topic);
        let job = Job {
            work: "count",
            input: filled.topic.clone(),
            other: None,
            output: None,
            data: name.clone(),
            name,
        };
        let mut contender = Contender::start(self.ground, side, &job)?;
        let progress = contender.processes(filled.records).await?;
        let complete_s = await_complete(&mut contender, filled, false).await?.as_secs_f64();
        let peak = contender.peak;
        contender.kill().await?;
        let serving_s = if restart { Some(self.serving_again(side, &job, filled).await?) } else { None };
        Ok(Counted { progress, peak, complete_s, serving_s })
    }

    async fn serving_again(&self, side: Side, job: &Job, filled: &Filled) -> anyhow::Result<f64> {
        let mut contender = Contender::start(self.ground, side, job)?;
        let took = await_complete(&mut contender, filled, false).await?;
        contender.kill().await?;
        Ok(took.as_secs_f64())
    }

    /// B2: maps a topic to a topic, exactly once.
    async fn map(&self, table: &Table) -> anyhow::Result<()> {
        let (traffic, filled) = (self.traffic().await?, self.filled(FEW_KEYS).await?);
        let mut rates = Vec::new();
        for side in [self.streams(), Side::Headwater] {
            let name = format!("{}-map", name_of(side));
            let output = format!("{name}-out");
            traffic.topic(&output).await?;
            let job = Job {
                work: "map",
                input: filled.topic.clone(),
                other: None,
                output: Some(output.clone()),
                data: name.clone(),
                name,
            };
            let mut contender = Contender::start(self.ground, side, &job)?;
            rates.push(contender.processes(filled.records).await?);
            let written = traffic.count(&output, super::traffic::PARTITIONS, filled.records).await?;
            ensure!(written == filled.records, "{written} records written of {}", filled.records);
            contender.kill().await?;
        }
        rate_lines(table, "B2 map topic to topic, exactly once", &rates, "≥ 1 ×");
        Ok(())
    }

    /// B3: from a record sent to its result read, at a steady rate.
    async fn latency(&self, table: &Table) -> anyhow::Result<()> {
        let tuned = Side::Streams { threads: self.options.threads, commit_ms: Some(10) };
        let theirs = self.latency_of(self.streams(), "default").await?;
        let theirs_tuned = self.latency_of(tuned, "tuned").await?;
        let ours = self.latency_of(Side::Headwater, "default").await?;
        for (what, theirs) in [("", theirs), (", Streams tuned to commit each 10 ms", theirs_tuned)] {
            let line = |quantile: &str, at: usize, mark: &str| {
                let what = format!("B3 end to end at {STEADY}/s, {quantile}{what}");
                table.both(&what, theirs[at], ours[at], millis, Better::Lower, mark);
            };
            line("p50", 0, "≤ 15 ms");
            line("p99", 1, "≤ 60 ms");
        }
        Ok(())
    }

    async fn latency_of(&self, side: Side, variant: &str) -> anyhow::Result<[f64; 2]> {
        self.latency_through(side, "map", variant, STEADY).await
    }

    /// At so many records a second through a piece of work.
    pub(super) async fn latency_through(
        &self,
        side: Side,
        work: &'static str,
        variant: &str,
        rate: u32,
    ) -> anyhow::Result<[f64; 2]> {
        let traffic = self.traffic().await?;
        let name = format!("{}-steady-{variant}", name_of(side));
        let (input, output) = (format!("{name}-in"), format!("{name}-out"));
        traffic.topic(&input).await?;
        traffic.topic(&output).await?;
        let job = Job {
            work,
            input: input.clone(),
            other: None,
            output: Some(output.clone()),
            data: name.clone(),
            name,
        };
        let contender = Contender::start(self.ground, side, &job)?;
        // It runs once the first result is there.
        traffic.send_steadily(&input, 10, FIRST).await?;
        let came = traffic.latencies(&output, 0, FIRST).await?.len();
        ensure!(came as u64 == FIRST, "{came} results of {FIRST} records came");
        let warm_up = self.options.size(None, WARM_UP, WARM_UP / 2);
        let records = u64::from(rate) * (warm_up.as_secs() + self.options.seconds());
        let (sent, latencies) = tokio::join!(
            traffic.send_steadily(&input, rate, records),
            traffic.latencies(&output, came, records)
        );
        let (_, latencies) = (sent?, latencies?);
        contender.kill().await?;
        ensure!(latencies.len() as u64 == records, "{} results of {records} records came", latencies.len());
        let warm = (warm_up.as_secs() * u64::from(rate)) as usize;
        let mut measured = latencies.get(warm..).context("nothing came after the warm-up")?.to_vec();
        Ok(quantiles(&mut measured))
    }

    /// B8: memory of a process that has nothing to do.
    async fn idle(&self, table: &Table) -> anyhow::Result<()> {
        self.traffic().await?.topic("idle").await?;
        let mut memory = Vec::new();
        for side in [self.streams(), Side::Headwater] {
            let name = format!("{}-idle", name_of(side));
            let job = Job {
                work: "count",
                input: "idle".into(),
                other: None,
                output: None,
                data: name.clone(),
                name,
            };
            let contender = Contender::start(self.ground, side, &job)?;
            tokio::time::sleep(SETTLE).await;
            memory.push(contender.memory()?);
            contender.stop().await?;
        }
        let line = |what, of: fn(&Memory) -> u64, mark| {
            let (theirs, ours) = (of(&memory[0]) as f64, of(&memory[1]) as f64);
            table.both(what, theirs, ours, mebibytes, Better::Lower, mark);
        };
        line("B8 resident memory, idle", |memory| memory.resident_kib, "≤ 30 MiB");
        line("B8 anonymous memory, idle", |memory| memory.anonymous_kib, "");
        Ok(())
    }

    /// B9: reads a topic into user code.
    async fn read(&self, table: &Table) -> anyhow::Result<()> {
        let filled = self.filled(FEW_KEYS).await?;
        let mut rates = Vec::new();
        for side in [self.streams(), Side::Headwater] {
            let name = format!("{}-read", name_of(side));
            let job = Job {
                work: "read",
                input: filled.topic.clone(),
                other: None,
                output: None,
                data: name.clone(),
                name,
            };
            let mut contender = Contender::start(self.ground, side, &job)?;
            rates.push(contender.processes(filled.records).await?);
            contender.kill().await?;
        }
        rate_lines(table, "B9 read into user code", &rates, "≥ 2 ×");
        Ok(())
    }

    /// B6: commands a second, each durable with version check and outcome.
    async fn commands(&self, table: &Table) -> anyhow::Result<()> {
        for (callers, mark) in [(1_000, "≥ 10 k/s, p99 ≤ 80 ms"), (1, "")] {
            let workload = Workload { name: "on Kafka", callers, accounts: self.options.aggregates() };
            let measured = Duration::from_secs(self.options.seconds());
            let schedule = Schedule { warm_up: Duration::from_secs(3), measured };
            let data = self.ground.scratch.path().join(format!("commands-{callers}"));
            let bank = format!("bank-{callers}");
            let accounts = OnKafka { bootstrap: &self.ground.bootstrap, app: &bank }.open(data).await?;
            let Figures { commands_per_second, p50_ms, p99_ms, events, .. } =
                drive::run(accounts, &workload, schedule).await?;
            let written = self.traffic().await?.count(&format!("{bank}.account.events"), 12, events).await?;
            ensure!(written == events, "{written} events for {events} acknowledged commands");
            let (p50, p99) = (p50_ms.unwrap_or(f64::NAN), p99_ms.unwrap_or(f64::NAN));
            let figure = format!("{commands_per_second:.0}/s, p50 {p50:.1} ms, p99 {p99:.1} ms");
            table.ours(&format!("B6 commands, {callers} callers"), figure, mark);
        }
        Ok(())
    }

    /// B12: from kill -9 to the next accepted command, by the same instance and by another.
    async fn takeover(&self, table: &Table) -> anyhow::Result<()> {
        let job = |data: &str| Job {
            work: "commands",
            input: String::new(),
            other: None,
            output: None,
            name: "takeover".into(),
            data: data.to_owned(),
        };
        let aggregates = self.options.aggregates().saturating_mul(10);
        let mut one = Contender::start(self.ground, Side::Headwater, &job("one"))?;
        one.fill(aggregates).await?;
        one.kill().await?;
        let killed = Instant::now();
        let mut one = Contender::start(self.ground, Side::Headwater, &job("one"))?;
        let same = await_accepted(&mut one, killed).await?;
        table.ours("B12 kill -9 to the next command, same instance", seconds(same.as_secs_f64()), "≤ 1 s");
        let mut other = Contender::start(self.ground, Side::Headwater, &job("other"))?;
        tokio::time::sleep(SETTLE).await;
        one.kill().await?;
        let killed = Instant::now();
        let another = await_accepted(&mut other, killed).await?;
        table.ours(
            "B12 kill -9 to the next command, another instance",
            seconds(another.as_secs_f64()),
            "≤ 8 s",
        );
        other.stop().await?;
        let filled = u64::from(aggregates);
        let written = self.traffic().await?.count("takeover.account.events", 12, filled).await?;
        ensure!(written >= filled, "{written} events for {filled} acknowledged commands");
        Ok(())
    }
}

/// The median and the 99th percentile, in milliseconds.
pub(super) fn quantiles(latencies: &mut [Duration]) -> [f64; 2] {
    latencies.sort_unstable();
    let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    [quantile(0.5), quantile(0.99)]
}

pub(super) fn rate_lines(table: &Table, what: &str, progress: &[Progress], mark: &str) {
    let line = |what: &str, of: fn(&Progress) -> f64, show, better, mark| {
        table.both(what, of(&progress[0]), of(&progress[1]), show, better, mark);
    };
    line(what, |p| p.per_second(), per_second, Better::Higher, mark);
    line(
        &format!("{what}: CPU of the process, a record"),
        |p| p.cpu_micros_per_record,
        micros,
        Better::Lower,
        "",
    );
}

pub(super) fn name_of(side: Side) -> &'static str {
    match side {
        Side::Streams { .. } => "streams",
        Side::Headwater => "headwater",
    }
}

/// Asks until every probe has the count that it must have; answers how long that took since the process was started.
pub(super) async fn await_complete(
    contender: &mut Contender,
    filled: &Filled,
    windows: bool,
) -> anyhow::Result<Duration> {
    let deadline = Instant::now() + SERVING_MAX;
    for (key, count) in &filled.probes {
        let expected = Some(*count).filter(|count| *count > 0);
        loop {
            let answer = contender.get(key, windows).await?;
            if answer == Some(expected) {
                break;
            }
            ensure!(Instant::now() < deadline, "{key} has {answer:?} where {expected:?} was counted");
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(contender.started.elapsed())
}

/// Sends a command to one aggregate of each of several shards until all have accepted one.
async fn await_accepted(contender: &mut Contender, since: Instant) -> anyhow::Result<Duration> {
    let deadline = Instant::now() + SERVING_MAX;
    for n in 0..40 {
        while !contender.send(&format!("account-{n}")).await? {
            ensure!(Instant::now() < deadline, "account-{n} accepts no command");
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(since.elapsed())
}
