//! The comparison as a markdown table or as JSON, with each figure's ratio to Headwater's.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::drive::Figures;
use crate::machine::Machine;

/// The row that the others are measured against.
const BASELINE: &str = "Headwater";

/// A figure's own column is followed by Headwater's advantage in it.
const COLUMNS: [&str; 10] = [
    "workload",
    "peer",
    "commands/s",
    "Headwater",
    "p50 ms",
    "Headwater",
    "p99 ms",
    "conflicts",
    "abandoned",
    "view updates lost",
];

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where.
    pub machine: Machine,
    /// Length of each measured window.
    pub seconds: u64,
    /// One row for each workload and peer.
    pub rows: Vec<Row>,
}

/// One peer under one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The workload's name.
    pub workload: &'static str,
    /// The peer's name.
    pub peer: &'static str,
    /// What was measured, or why nothing was.
    pub outcome: Result<Figures, String>,
    /// How Headwater compares; absent without a row of Headwater's.
    pub ratios: Option<Ratios>,
}

/// Headwater beside a peer: more than 1 is in Headwater's favour.
#[derive(Debug, Serialize)]
pub(crate) struct Ratios {
    /// Headwater's commands per second to the peer's.
    pub commands_per_second: f64,
    /// The peer's median latency to Headwater's.
    pub p50: f64,
}

impl Report {
    /// Puts Headwater's ratios into the rows of the workloads that it ran.
    pub(crate) fn compare(&mut self) {
        let ratios: Vec<_> = self.rows.iter().map(|row| self.ratios(row)).collect();
        for (row, ratios) in self.rows.iter_mut().zip(ratios) {
            row.ratios = ratios;
        }
    }

    fn ratios(&self, row: &Row) -> Option<Ratios> {
        let ours = self.rows.iter().find(|other| other.peer == BASELINE && other.workload == row.workload)?;
        let (ours, theirs) = (ours.outcome.as_ref().ok()?, row.outcome.as_ref().ok()?);
        Some(Ratios {
            commands_per_second: ours.commands_per_second / theirs.commands_per_second,
            p50: theirs.p50_ms? / ours.p50_ms?,
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Machine { cores, fdatasync_ms } = self.machine;
        writeln!(f, "{cores} cores, fdatasync {fdatasync_ms:.2} ms, {} s a run\n", self.seconds)?;
        writeln!(f, "| {} |", COLUMNS.join(" | "))?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} |", self.workload, self.peer)?;
        let figures = match &self.outcome {
            Ok(figures) => figures,
            Err(reason) => return write!(f, " failed: {} | | | | | | | |", reason.replace(['\n', '|'], " ")),
        };
        let ratios = self.ratios.as_ref();
        write!(
            f,
            " {:.0} | {} |",
            figures.commands_per_second,
            times(ratios.map(|r| r.commands_per_second))
        )?;
        write!(f, " {} | {} |", millis(figures.p50_ms), times(ratios.map(|r| r.p50)))?;
        write!(f, " {} | {} | {} |", millis(figures.p99_ms), figures.conflicts, figures.abandoned)?;
        write!(f, " {} |", figures.view_updates_lost.map_or("–".into(), |lost| lost.to_string()))
    }
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or("–".into(), |ratio| format!("{ratio:.1} ×"))
}

fn millis(millis: Option<f64>) -> String {
    millis.map_or("–".into(), |millis| format!("{millis:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workload: &'static str, peer: &'static str, rate: f64, p50: f64) -> Row {
        let figures = Figures {
            commands_per_second: rate,
            p50_ms: Some(p50),
            p99_ms: None,
            conflicts: 3,
            abandoned: 0,
            events: 9,
            view_updates_lost: Some(7),
        };
        Row { workload, peer, outcome: Ok(figures), ratios: None }
    }

    fn report(rows: Vec<Row>) -> String {
        let machine = Machine { cores: 2, fdatasync_ms: 0.18 };
        let mut report = Report { machine, seconds: 10, rows };
        report.compare();
        report.to_string()
    }

    #[test]
    fn ratios_are_those_of_the_same_workload_and_favour_the_faster() {
        let shown = report(vec![
            row("hot", BASELINE, 100.0, 1.0),
            row("hot", "peer", 40.0, 5.0),
            row("wide", "peer", 40.0, 5.0),
        ]);
        assert!(
            shown.contains("| hot | Headwater | 100 | 1.0 × | 1.00 | 1.0 × | – | 3 | 0 | 7 |"),
            "{shown}"
        );
        assert!(shown.contains("| hot | peer | 40 | 2.5 × | 5.00 | 5.0 × |"), "{shown}");
        assert!(shown.contains("| wide | peer | 40 | – | 5.00 | – |"), "{shown}");
    }

    #[test]
    fn a_failure_keeps_its_row() {
        let failed = Row { workload: "hot", peer: "peer", outcome: Err("no\nserver".into()), ratios: None };
        let shown = report(vec![failed]);
        assert!(shown.contains("| hot | peer | failed: no server |"), "{shown}");
    }
}
