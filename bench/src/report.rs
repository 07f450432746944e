//! Figures beside their marks.

use std::fmt;

/// A figure, and what it should be.
struct Row {
    name: String,
    figure: f64,
    unit: &'static str,
    mark: Mark,
}

/// What a figure should be.
pub(crate) enum Mark {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// It is told, not judged.
    Told,
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    pub(crate) fn add(&mut self, name: impl Into<String>, figure: f64, unit: &'static str, mark: Mark) {
        let row = Row { name: name.into(), figure, unit, mark };
        eprintln!("  {}: {} {}", row.name, number(row.figure), row.unit);
        self.0.push(row);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| figure | measured | mark | reached |")?;
        writeln!(f, "|---|---|---|---|")?;
        for Row { name, figure, unit, mark } in &self.0 {
            let (mark, reached) = match mark {
                Mark::AtLeast(least) => (format!("≥ {} {unit}", number(*least)), yes_no(figure >= least)),
                Mark::AtMost(most) => (format!("≤ {} {unit}", number(*most)), yes_no(figure <= most)),
                Mark::Told => ("".to_owned(), ""),
            };
            writeln!(f, "| {name} | {} {unit} | {mark} | {reached} |", number(*figure))?;
        }
        Ok(())
    }
}

fn yes_no(reached: bool) -> &'static str {
    if reached { "yes" } else { "no" }
}

fn number(figure: f64) -> String {
    match figure {
        f if f >= 10_000.0 => format!("{:.0} k", f / 1_000.0),
        f if f >= 100.0 => format!("{f:.0}"),
        f => format!("{f:.2}"),
    }
}

/// The value below which this part of the sorted samples lies.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> u64 {
    let index = ((sorted.len() as f64 - 1.0) * part).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}
