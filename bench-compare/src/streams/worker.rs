//! Headwater's side of the comparison: one app in one process, which the comparison starts, asks and kills.
//!
//! It speaks the lines that `kafka-streams/Worker.java` describes, and two more for commands: `send KEY`, answered by
//! `accepted` or `waiting WHY`, and `fill COUNT`, answered by `filled` once each of so many aggregates has an event.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use headwater::Windowed;
use headwater::core::codec::{Raw, Text};
use headwater::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::traffic::PARTITIONS;
use crate::headwater::{Account, on_kafka};
use crate::peer::Deposit;

/// Commands that `fill` keeps going at a time.
const FILL_CALLERS: usize = 1_000;
/// Repartitions of "hops", one behind the other; as many as Kafka Streams' worker has.
pub(super) const HOPS: usize = 3;

/// What one worker does, as its command line says.
#[derive(Args)]
pub(crate) struct WorkerOptions {
    /// One of `count`, `rebuild`, `window`, `join`, `map`, `hops`, `read` and `commands`.
    work: String,
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    input: String,
    /// The second topic of a join.
    #[arg(long)]
    other: Option<String>,
    #[arg(long)]
    output: Option<String>,
    #[arg(long)]
    group: String,
    #[arg(long)]
    data: PathBuf,
}

struct Worker {
    running: Running,
    asked: Asked,
    processed: Arc<AtomicU64>,
}

/// What can be asked for, or sent to.
enum Asked {
    Rows(View<String, u64>),
    Windows(View<Windowed<String>, u64>),
    Accounts(Aggregates<Account>),
    Nothing,
}

/// Runs until its input ends.
///
/// # Errors
///
/// A log that cannot be opened, or an app that does not start.
pub(crate) async fn run(options: WorkerOptions) -> anyhow::Result<()> {
    let config = on_kafka(&options.bootstrap, options.data.clone());
    let processed = Arc::new(AtomicU64::new(0));
    let (app, asked) = app(&options, &processed)?;
    let running = Headwater::open(&config).await?.start(app).await?;
    let worker = Worker { running, asked, processed };
    tokio::select! {
        answered = worker.answer() => answered?,
        told = worker.tell() => told?,
    }
    worker.running.stop(Duration::from_secs(10)).await;
    Ok(())
}

fn app(options: &WorkerOptions, processed: &Arc<AtomicU64>) -> anyhow::Result<(App, Asked)> {
    let mut app = App::new(options.group.clone());
    if options.work == "commands" {
        let accounts = app.aggregate::<Account>();
        return Ok((app, Asked::Accounts(accounts)));
    }
    let mut app = app.with(|options| options.partitions = PARTITIONS);
    let input = app.stream(topic(&options.input));
    let counted = processed.clone();
    let seen = move || {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let output = || options.output.as_ref().context("it needs --output").map(|name| topic(name));
    let asked = match options.work.as_str() {
        "count" => Asked::Rows(app.view(count(&input, seen))),
        "rebuild" => Asked::Rows(app.view(count(&input, seen).version(2))),
        "window" => Asked::Windows(app.view(windows(&input, seen))),
        "join" => {
            let other = app.stream(topic(options.other.as_ref().context("a join needs --other")?));
            Asked::Rows(app.view(join(&input, &other, seen)))
        }
        "map" => {
            let changed = input.map_values(move |value| {
                seen();
                mapped(value.value)
            });
            app.emitter(changed.to(output()?));
            Asked::Nothing
        }
        "hops" => {
            app.emitter(hopped(&input, HOPS).to(output()?));
            Asked::Nothing
        }
        "read" => {
            app.observer(input.for_each("seen", move |_| seen()));
            Asked::Nothing
        }
        other => return Err(anyhow!("there is no work {other:?}")),
    };
    Ok((app, asked))
}

type Input = Stream<String, Bytes>;

fn count(input: &Input, seen: impl Fn() + Send + Sync + 'static) -> Table<String, u64> {
    input.group_by_key().fold(Store::named("counts"), move |sum: &mut u64, _| {
        seen();
        *sum += 1;
    })
}

fn windows(input: &Input, seen: impl Fn() + Send + Sync + 'static) -> Table<Windowed<String>, u64> {
    let second = input.group_by_key().window(Tumbling::of(seconds(1)).grace(hours(1)));
    second.fold(Store::named("counts"), move |sum: &mut u64, _| {
        seen();
        *sum += 1;
    })
}

/// The rows of two topics under one key, as bytes of both.
fn join(left: &Input, right: &Input, seen: impl Fn() + Clone + Send + Sync + 'static) -> Table<String, u64> {
    let rows = |stream: &Input, name: &str| {
        let seen = seen.clone();
        // A row is what its value would be, so that both sides keep as much.
        let text = stream.map_values(move |value| {
            seen();
            String::from_utf8_lossy(value.value).into_owned()
        });
        text.to_table(Store::named(name))
    };
    let (left, right) = (rows(left, "left"), rows(right, "right"));
    left.join(&right, |one, other| (one.len() + other.len()) as u64).stored(Store::named("counts"))
}

/// The same values, so many repartitions later.
pub(super) fn hopped(input: &Input, hops: usize) -> Input {
    let first = input.map_values(|value| value.value.to_vec());
    let hopped = (1..=hops).fold(first, |hopped, hop| hopped.repartition(format!("hop-{hop}")));
    hopped.map_values(|value| Bytes::from(value.value.clone()))
}

pub(super) fn topic(name: &str) -> Topic<String, Bytes> {
    Topic::with(name, Text, Raw)
}

/// Changes the last byte, as Kafka Streams' worker does.
fn mapped(value: &[u8]) -> Bytes {
    let mut changed = value.to_vec();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    changed.into()
}

impl Worker {
    async fn tell(&self) -> anyhow::Result<()> {
        let mut told = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.processed.load(Ordering::Relaxed);
            if now != told {
                say(&format!("processed {now}")).await?;
                told = now;
            }
        }
    }

    async fn answer(&self) -> anyhow::Result<()> {
        let mut questions = BufReader::new(tokio::io::stdin()).lines();
        while let Some(question) = questions.next_line().await? {
            let answer = match question.split_once(' ') {
                Some(("get" | "sum", key)) => self.get(key).await,
                Some(("send", key)) => self.send(key).await.map(|()| "accepted".to_owned()),
                Some(("fill", count)) => self.fill(count.parse()?).await.map(|()| "filled".to_owned()),
                _ => Err(anyhow!("what is {question:?}?")),
            };
            let waiting = |error: anyhow::Error| format!("waiting {error:#}").replace('\n', " ");
            say(&answer.unwrap_or_else(waiting)).await?;
        }
        Ok(())
    }

    async fn get(&self, key: &str) -> anyhow::Result<String> {
        let key = key.to_owned();
        let count = match &self.asked {
            Asked::Rows(view) => self.running.view(view)?.within(Duration::ZERO).get(&key).await?.value,
            Asked::Windows(view) => {
                let windows = self.running.view(view)?.within(Duration::ZERO).windows(&key, ..).await?.value;
                Some(windows.iter().map(|(_, count)| count).sum()).filter(|sum| *sum > 0)
            }
            _ => return Err(anyhow!("there is no view")),
        };
        Ok(format!("value {}", count.map_or("none".to_owned(), |count| count.to_string())))
    }

    async fn send(&self, key: &str) -> anyhow::Result<()> {
        let Asked::Accounts(accounts) = &self.asked else { return Err(anyhow!("there are no accounts")) };
        let deposit = Deposit::random(&mut fastrand::Rng::new());
        match self.running.send(accounts, &key.to_owned(), deposit).await? {
            Accepted(_) => {
                self.processed.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            other => Err(anyhow!("the deposit was not accepted: {other:?}")),
        }
    }

    async fn fill(&self, count: u32) -> anyhow::Result<()> {
        let one = |n| async move {
            // A shard that is not here yet, or whose mailbox is full, is asked again.
            for _ in 0..1_000 {
                match self.send(&format!("account-{n}")).await {
                    Ok(()) => return Ok(()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
            self.send(&format!("account-{n}")).await
        };
        stream::iter(0..count).map(one).buffer_unordered(FILL_CALLERS).try_collect().await
    }
}

async fn say(line: &str) -> std::io::Result<()> {
    let mut out = tokio::io::stdout();
    out.write_all(format!("{line}\n").as_bytes()).await?;
    out.flush().await
}
