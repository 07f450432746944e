//! The names of the metrics that only this app records.

headwater::metric_names! {
    REDIRECTS = Counter "shortener_redirects_total", "requests", ["outcome"],
        "Visits asked for, by outcome: redirected, unknown, expired, exhausted, deleted or failed.";
}

/// Tells the exporter of this process what they mean.
pub(crate) fn describe() {
    for metric in ALL {
        metrics::describe_counter!(metric.name, metric.help);
    }
}
