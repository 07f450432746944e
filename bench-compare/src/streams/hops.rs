//! What a repartition adds to the way of a record: through three of them, and through none, at a low rate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use headwater::core::clock::Timestamp;
use headwater::core::codec::{Raw, Text};
use headwater::core::log::Log;
use headwater::core::record::{Append, Record};
use headwater::core::topic::TopicName;
use headwater::log::embedded::{EmbeddedLog, Options};
use headwater::prelude::*;
use headwater::store::lmdb::{LmdbOptions, LmdbStores};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::benches::{Bench, quantiles};
use super::contender::Side;
use super::table::{Better, Table, fine_millis};
use super::traffic::{latencies_of, now_micros};
use super::worker::{HOPS, hopped};

/// Records a second: so few that none waits for another.
const RATE: u32 = 200;
const WITHIN: Duration = Duration::from_secs(30);

/// The median and the 99th percentile of both ways, in milliseconds.
struct Ways {
    direct: [f64; 2],
    hopped: [f64; 2],
}

impl Bench<'_> {
    /// On Kafka beside Kafka Streams, and on the embedded log.
    pub(super) async fn hops(&self, table: &Table) -> anyhow::Result<()> {
        let theirs = self.ways(self.streams()).await?;
        let ours = self.ways(Side::Headwater).await?;
        let embedded =
            Ways { direct: self.embedded_latency(0).await?, hopped: self.embedded_latency(HOPS).await? };
        for (at, quantile) in ["p50", "p99"].into_iter().enumerate() {
            let line = |what: &str, figure: fn(&Ways, usize) -> f64| {
                let what = format!("{what} at {RATE}/s, {quantile}");
                let (theirs, ours) = (figure(&theirs, at), figure(&ours, at));
                table.both(&what, theirs, ours, fine_millis, Better::Lower, "");
                table.ours(&format!("{what}, embedded log"), fine_millis(figure(&embedded, at)), "");
            };
            line("from topic to topic", |ways, at| ways.direct[at]);
            line("the same through three repartitions", |ways, at| ways.hopped[at]);
            line("one repartition's share", |ways, at| (ways.hopped[at] - ways.direct[at]) / HOPS as f64);
        }
        Ok(())
    }

    async fn ways(&self, side: Side) -> anyhow::Result<Ways> {
        let direct = self.latency_through(side, "map", "direct", RATE).await?;
        let hopped = self.latency_through(side, "hops", "hops", RATE).await?;
        Ok(Ways { direct, hopped })
    }

    async fn embedded_latency(&self, hops: usize) -> anyhow::Result<[f64; 2]> {
        let dir = self.ground.scratch.path().join(format!("hops-{hops}"));
        std::fs::create_dir_all(&dir)?;
        let log = EmbeddedLog::open(&dir, Options::default())?;
        let stores = LmdbStores::new(&dir, LmdbOptions::default())?;
        let mut app = App::new("hops").with(|options| options.partitions = 1);
        let topic = |name| Topic::<String, Bytes>::with(name, Text, Raw);
        app.emitter(hopped(&app.stream(topic("in")), hops).to(topic("out")));
        let running = Headwater::on(log.clone(), Arc::new(stores)).start(app).await?;
        let troubles = running.ready(WITHIN).await.err().unwrap_or_default();
        ensure!(troubles.is_empty(), "{}", troubles.join("; "));
        let records = u64::from(RATE) * self.options.seconds();
        let came = watch::Sender::new(0);
        let out = TopicName::new("out")?.partition(0);
        let (sent, latencies) = tokio::join!(send(&*log, records), latencies_of(&*log, out, &came, records));
        sent?;
        let mut latencies: Vec<_> = latencies?.into_iter().map(|(_, latency)| latency).collect();
        running.stop(WITHIN).await;
        ensure!(latencies.len() as u64 == records, "{} results of {records} records came", latencies.len());
        // The first ones meet what is not warm yet.
        let warm = latencies.len() / 10;
        let measured = latencies.get_mut(warm..).context("nothing came after the warm-up")?;
        Ok(quantiles(measured))
    }
}

/// Appends records that hold the time of their sending, one at a time.
async fn send(log: &dyn Log, records: u64) -> anyhow::Result<()> {
    let to = TopicName::new("in")?.partition(0);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..records {
        ticks.tick().await;
        let now = now_micros();
        let value = now.to_be_bytes().to_vec();
        let record = Record::new(format!("key-{n}"), value, Timestamp((now / 1_000) as i64));
        log.append(vec![Append { to: to.clone(), record }]).await?;
    }
    Ok(())
}
