//! The Prometheus exporter: `/metrics`, with every name described.

use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use headwater::metric_names::{self as core_names, Metric, MetricKind};
use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::time::{MissedTickBehavior, interval};

use crate::metric_names as http_names;

/// The buckets of every duration, in seconds: fine where an embedded commit lies, coarse up to long polls.
pub const DURATION_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    30.0,
];

/// How often recorded samples are put into their buckets, so that they do not pile up between two scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Every metric that a Headwater process may export.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    core_names::ALL.iter().chain(http_names::ALL)
}

/// The process's metrics.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Records this process's metrics from now on; once per process, within the runtime.
    ///
    /// # Errors
    ///
    /// When metrics are already recorded.
    pub fn install() -> Result<Self, BuildError> {
        let handle = builder()?.install_recorder()?;
        all().for_each(describe);
        tokio::spawn(upkeep(handle.clone()));
        Ok(Self(handle))
    }

    /// The route `/metrics`.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let handle = self.0.clone();
        let scrape =
            move || async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render()) };
        Router::new().route("/metrics", get(scrape))
    }

    /// All series, in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &DURATION_BUCKETS)
}

fn describe(metric: &Metric) {
    let unit = match metric.unit {
        "seconds" => Unit::Seconds,
        "bytes" => Unit::Bytes,
        _ => Unit::Count,
    };
    match metric.kind {
        MetricKind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
        MetricKind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
        MetricKind::Histogram => metrics::describe_histogram!(metric.name, unit, metric.help),
    }
}

async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn row(metric: &Metric) -> String {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        format!("| `{}` | {kind} | {} | {labels} | {} |", metric.name, metric.unit, metric.help)
    }

    #[test]
    fn the_page_lists_every_metric_as_it_is() {
        let page = include_str!("../../../docs/metrics.md");
        let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let recorded: Vec<String> = all().map(row).collect();
        assert_eq!(listed, recorded, "docs/metrics.md and the constants differ");
    }

    #[test]
    fn the_operators_page_says_of_every_metric_when_to_look_and_names_no_other() {
        let page = include_str!("../../../docs/operations.md");
        let words = page.split('`').filter(|word| word.starts_with("headwater_"));
        let named: BTreeSet<&str> = words.collect();
        let recorded: BTreeSet<&str> = all().map(|metric| metric.name).collect();
        assert_eq!(named, recorded, "docs/operations.md and the constants differ");
    }

    #[test]
    fn series_are_exported_with_help_and_buckets() {
        let recorder = builder().expect("the buckets are not empty").build_recorder();
        metrics::with_local_recorder(&recorder, || {
            all().for_each(describe);
            metrics::histogram!(http_names::HTTP_REQUEST_DURATION.name, "route" => "/").record(0.003);
            metrics::counter!(core_names::COMMANDS.name, "outcome" => "accepted").increment(2);
        });
        let text = recorder.handle().render();
        for line in [
            "# TYPE headwater_http_request_duration_seconds histogram",
            "headwater_http_request_duration_seconds_bucket{route=\"/\",le=\"0.005\"} 1",
            "headwater_http_request_duration_seconds_bucket{route=\"/\",le=\"0.0025\"} 0",
            "# HELP headwater_commands_total Commands answered",
            "headwater_commands_total{outcome=\"accepted\"} 2",
        ] {
            assert!(text.contains(line), "no `{line}` in:\n{text}");
        }
    }
}
