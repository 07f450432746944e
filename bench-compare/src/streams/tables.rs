//! Tables beside tables: a join of two, counts in windows, and a view made again from its log.

use std::time::Duration;

use anyhow::ensure;

use super::benches::{Bench, FEW_KEYS, await_complete, name_of, rate_lines};
use super::contender::{Contender, Job, Progress, Side};
use super::table::Table;
use super::traffic::{Filled, VALUE_BYTES};

impl Bench<'_> {
    /// B5: another version of B1's view, made of the whole log beside the old one.
    ///
    /// Kafka Streams makes a view again under another application's name, which is what B1 was.
    pub(super) async fn rebuilt(&self, filled: &Filled) -> anyhow::Result<Duration> {
        let name = format!("{}-{}", name_of(Side::Headwater), filled.topic);
        let input = filled.topic.clone();
        let job = Job { work: "rebuild", input, other: None, output: None, data: name.clone(), name };
        let mut contender = Contender::start(self.ground, Side::Headwater, &job)?;
        contender.processes(filled.records).await?;
        let took = await_complete(&mut contender, filled, false).await?;
        contender.kill().await?;
        Ok(took)
    }

    /// Two tables, of which one changes ten times as often, joined into a view.
    pub(super) async fn join(&self, table: &Table) -> anyhow::Result<()> {
        let left = self.filled(FEW_KEYS).await?;
        let right = self.traffic().await?.fill("rows", self.options.records() / 10, FEW_KEYS).await?;
        // Each row of the join tells how long both values are.
        let probes = left.probes.iter().zip(&right.probes).map(|((key, one), (_, other))| {
            let joined = *one > 0 && *other > 0;
            (key.clone(), if joined { 2 * VALUE_BYTES as u64 } else { 0 })
        });
        let records = left.records + right.records;
        let expected = Filled { topic: left.topic.clone(), records, probes: probes.collect() };
        let mut rates = Vec::new();
        for side in [self.streams(), Side::Headwater] {
            rates.push(self.kept(side, "join", &expected, Some(&right.topic)).await?);
        }
        rate_lines(table, "join of two tables into a view, 100 k keys", &rates, "");
        Ok(())
    }

    /// Counts per key and second.
    pub(super) async fn windows(&self, table: &Table) -> anyhow::Result<()> {
        let filled = self.filled(FEW_KEYS).await?;
        let mut rates = Vec::new();
        for side in [self.streams(), Side::Headwater] {
            rates.push(self.kept(side, "window", filled, None).await?);
        }
        rate_lines(table, "count per key and tumbling second, 100 k keys", &rates, "");
        Ok(())
    }

    async fn kept(
        &self,
        side: Side,
        work: &'static str,
        filled: &Filled,
        other: Option<&str>,
    ) -> anyhow::Result<Progress> {
        let name = format!("{}-{work}", name_of(side));
        let (input, other) = (filled.topic.clone(), other.map(str::to_owned));
        let job = Job { work, input, other, output: None, data: name.clone(), name };
        let mut contender = Contender::start(self.ground, side, &job)?;
        let progress = contender.processes(filled.records).await?;
        ensure!(progress.records > 0, "all of it was done before the first report: ask for more records");
        await_complete(&mut contender, filled, work == "window").await?;
        contender.kill().await?;
        Ok(progress)
    }
}
