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
use headwater::core::codec::{Raw, Text};
use headwater::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::traffic::PARTITIONS;
use crate::headwater::{Account, on_kafka};
use crate::peer::Deposit;

/// Commands that `fill` keeps going at a time.
const FILL_CALLERS: usize = 1_000;

/// What one worker does, as its command line says.
#[derive(Args)]
pub(crate) struct WorkerOptions {
    /// One of `count`, `map`, `read` and `commands`.
    work: String,
    #[arg(long)]
    bootstrap: String,
    #[arg(long)]
    input: String,
    #[arg(long)]
    output: Option<String>,
    #[arg(long)]
    group: String,
    #[arg(long)]
    data: PathBuf,
}

struct Worker {
    running: Running,
    counts: Option<View<String, u64>>,
    accounts: Option<Aggregates<Account>>,
    processed: Arc<AtomicU64>,
}

/// Runs until its input ends.
///
/// # Errors
///
/// A log that cannot be opened, or an app that does not start.
pub(crate) async fn run(options: WorkerOptions) -> anyhow::Result<()> {
    let config = on_kafka(&options.bootstrap, options.data.clone());
    let processed = Arc::new(AtomicU64::new(0));
    let (app, counts, accounts) = app(&options, &processed)?;
    let running = Headwater::open(&config).await?.start(app).await?;
    let worker = Worker { running, counts, accounts, processed };
    tokio::select! {
        answered = worker.answer() => answered?,
        told = worker.tell() => told?,
    }
    worker.running.stop(Duration::from_secs(10)).await;
    Ok(())
}

type Built = (App, Option<View<String, u64>>, Option<Aggregates<Account>>);

fn app(options: &WorkerOptions, processed: &Arc<AtomicU64>) -> anyhow::Result<Built> {
    let mut app = App::new(options.group.clone());
    if options.work == "commands" {
        let accounts = app.aggregate::<Account>();
        return Ok((app, None, Some(accounts)));
    }
    let mut app = app.with(|options| options.partitions = PARTITIONS);
    let input = app.stream(topic(&options.input));
    let counted = processed.clone();
    let count = move || counted.fetch_add(1, Ordering::Relaxed);
    let mut counts = None;
    match options.work.as_str() {
        "count" => {
            let table = input.group_by_key().fold(Store::named("counts"), move |sum: &mut u64, _| {
                count();
                *sum += 1;
            });
            counts = Some(app.view(table));
        }
        "map" => {
            let output = options.output.as_ref().context("a map needs --output")?;
            let changed = input.map_values(move |value| {
                count();
                mapped(value.value)
            });
            app.emitter(changed.to(topic(output)));
        }
        "read" => app.observer(input.for_each("seen", move |_| {
            count();
        })),
        other => return Err(anyhow!("there is no work {other:?}")),
    }
    Ok((app, counts, None))
}

fn topic(name: &str) -> Topic<String, Bytes> {
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
                Some(("get", key)) => self.get(key).await,
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
        let view = self.counts.as_ref().context("there is no view")?;
        let count = self.running.view(view)?.within(Duration::ZERO).get(&key.to_owned()).await?.value;
        Ok(format!("value {}", count.map_or("none".to_owned(), |count| count.to_string())))
    }

    async fn send(&self, key: &str) -> anyhow::Result<()> {
        let accounts = self.accounts.as_ref().context("there are no accounts")?;
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
