//! The table of ratios, a line as soon as it is known.

use std::fmt::Display;

/// Which of two figures is the better one.
#[derive(Clone, Copy)]
pub(super) enum Better {
    Higher,
    Lower,
}

/// Prints lines, and counts the benches that have none.
pub(super) struct Table {
    failures: usize,
}

impl Table {
    /// Prints the head.
    pub(super) fn begin() -> Self {
        println!("| what | Kafka Streams | Headwater | Headwater's advantage | mark |");
        println!("|---|--:|--:|--:|---|");
        Self { failures: 0 }
    }

    /// Prints a line of two figures.
    pub(super) fn both(&self, what: &str, theirs: f64, ours: f64, show: Show, better: Better, mark: &str) {
        let ratio = match better {
            Better::Higher => ours / theirs,
            Better::Lower => theirs / ours,
        };
        println!("| {what} | {} | {} | {ratio:.1} × | {mark} |", show(theirs), show(ours));
    }

    /// Prints a line of Headwater's alone.
    pub(super) fn ours(&self, what: &str, figure: impl Display, mark: &str) {
        println!("| {what} | – | {figure} | – | {mark} |");
    }

    /// Prints why a bench has no figures.
    pub(super) fn failed(&mut self, what: &str, error: &anyhow::Error) {
        self.failures += 1;
        println!("| {what} | not measured: {} | | | |", format!("{error:#}").replace(['\n', '|'], " "));
    }

    pub(super) fn failures(&self) -> usize {
        self.failures
    }
}

/// How a figure is written.
pub(super) type Show = fn(f64) -> String;

pub(super) fn per_second(figure: f64) -> String {
    format!("{:.0} k/s", figure / 1e3)
}

pub(super) fn micros(figure: f64) -> String {
    format!("{figure:.1} µs")
}

pub(super) fn seconds(figure: f64) -> String {
    format!("{figure:.2} s")
}

pub(super) fn millis(figure: f64) -> String {
    format!("{figure:.0} ms")
}

pub(super) fn fine_millis(figure: f64) -> String {
    format!("{figure:.2} ms")
}

pub(super) fn mebibytes(kib: f64) -> String {
    format!("{:.0} MiB", kib / 1024.0)
}
