//! What the runtime tells an operator: metrics, by the names of [`crate::metric_names`].

use crate::metric_names::STATE_FLUSH_DURATION;
use crate::store::FlushReport;

/// A store was flushed, or could not be.
pub(crate) fn flushed(report: &FlushReport<'_>) {
    match report.error {
        None => metrics::histogram!(STATE_FLUSH_DURATION.name, "store" => report.store.to_owned())
            .record(report.took_ms as f64 / 1_000.0),
        Some(error) => {
            tracing::warn!(store = report.store, %error, "a flush of state failed and will be tried again");
        }
    }
}
