//! The names of every metric this crate records, each with its kind, unit, labels and meaning.
//!
//! Recording happens through the `metrics` facade, so an application chooses its own exporter. Names are part of
//! the interface: dashboards and alerts hold them. `docs/metrics.md` lists them.

/// What kind of series a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution in buckets.
    Histogram,
}

/// One metric: its name and what is to be known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The name as exported.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// What one is one of.
    pub unit: &'static str,
    /// The labels of each series.
    pub labels: &'static [&'static str],
    /// What it tells, in one sentence.
    pub help: &'static str,
}

/// Declares metrics once: as constants, and as the list that documentation and exporters read.
#[macro_export]
macro_rules! metric_names {
    ($($constant:ident = $kind:ident $name:literal, $unit:literal, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: $crate::metric_names::Metric = $crate::metric_names::Metric {
                name: $name,
                kind: $crate::metric_names::MetricKind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// Every metric of this crate.
        pub const ALL: &[$crate::metric_names::Metric] = &[$($constant),*];
    };
}

metric_names! {
    COMMANDS = Counter "headwater_commands_total", "commands", ["aggregate", "outcome"],
        "Commands answered, by outcome: accepted, rejected, unknown, id_conflict, version_conflict, overloaded, panicked, invalid, expired, unavailable, full, moving or not_running.";
    COMMAND_DURATION = Histogram "headwater_command_duration_seconds", "seconds", ["aggregate"],
        "Time from a command's arrival to its answer, which is after the commit.";
    LOG_TRANSACTIONS = Counter "headwater_log_transactions_total", "transactions", ["log", "outcome"],
        "Transactions given to the log, by outcome: written, not_written, fenced or unknown.";
    LOG_RECORDS_APPENDED = Counter "headwater_log_records_appended_total", "records", ["log"],
        "Records appended to the log.";
    LOG_BYTES_APPENDED = Counter "headwater_log_bytes_appended_total", "bytes", ["log"],
        "Bytes of keys, values and headers appended to the log.";
    LOG_COMMIT_DURATION = Histogram "headwater_log_commit_duration_seconds", "seconds", ["log"],
        "Time from giving a transaction to the log to its answer.";
    LOG_FSYNC_DURATION = Histogram "headwater_log_fsync_duration_seconds", "seconds", ["log"],
        "Time of one engine commit with its fsync, which may carry many transactions.";
    LOG_SIZE = Gauge "headwater_log_size_bytes", "bytes", ["log"],
        "Size of the log on disk.";
    LOG_FREE = Gauge "headwater_log_free_bytes", "bytes", ["log"],
        "Part of the log's size that holds nothing and will be used again.";
    VIEW_LAG_RECORDS = Gauge "headwater_view_lag_records", "records", ["topology", "shard"],
        "Committed records of its input that a view, or a topology that feeds one, has not processed yet.";
    VIEW_LAG_SECONDS = Gauge "headwater_view_lag_seconds", "seconds", ["topology", "shard"],
        "Age of the oldest committed record that a view, or a topology that feeds one, has not processed yet.";
    RESTORE_LEFT_RECORDS = Gauge "headwater_restore_left_records", "records", ["topology", "shard"],
        "Records that a shard which came to this instance has still to read before it is as new as the log was then.";
    RESTORE_LEFT_SECONDS = Gauge "headwater_restore_left_seconds", "seconds", ["topology", "shard"],
        "Time that it takes to read what is left to restore at the pace so far; NaN until there is one.";
    TOPOLOGY_RECORDS = Counter "headwater_topology_records_total", "records", ["topology", "source"],
        "Records that a topology has processed, by the topic that they came from.";
    DROPPED_RECORDS = Counter "headwater_topology_dropped_records_total", "records", ["topology", "operator", "reason"],
        "Records that an operator went on without, as its declaration says.";
    DECIDED_RECORDS = Counter "headwater_decided_records_total", "records", ["topology", "decision"],
        "Records that a fold went on without (skip) or folded with another value (replace), as somebody decided; a rebuild counts them again.";
    LETTERS = Gauge "headwater_dead_letters", "records", ["topology"],
        "Records that an emitter has set aside and that wait for a decision, of the shards of this instance.";
    LETTERS_BYTES = Gauge "headwater_dead_letters_bytes", "bytes", ["topology"],
        "Bytes that these records hold in memory, with their errors and what they were edited to.";
    LETTERS_PARKED = Counter "headwater_dead_letters_parked_total", "records", ["topology", "reason"],
        "Records set aside, by reason: undecodable, unencodable, panicked, bad_time, key_too_long, too_large, failed, or behind another of their key.";
    LETTERS_DECIDED = Counter "headwater_dead_letters_decided_total", "records", ["topology", "outcome"],
        "Dead letters that were retried or discarded as somebody decided, by outcome: processed, failed or discarded.";
    TOPOLOGY_LATENCY = Histogram "headwater_topology_latency_seconds", "seconds", ["topology"],
        "Time from a record's own time to the commit of what was made of it; of each batch its earliest and its latest record.";
    VIEW_RECORDS = Counter "headwater_view_records_total", "records", ["view"],
        "Records that a view has folded.";
    VIEW_READS = Counter "headwater_view_reads_total", "reads", ["view"],
        "Queries that a view has answered.";
    STATE_CHANGES = Counter "headwater_state_changes_total", "rows", ["topology", "table"],
        "Rows that a topology has written or removed in each of its tables.";
    STATE_SIZE = Gauge "headwater_state_size_bytes", "bytes", ["store"],
        "Size of a state store on disk.";
    STATE_FLUSH_DURATION = Histogram "headwater_state_flush_duration_seconds", "seconds", ["store"],
        "Time of one flush of sorted changes with its fsync.";
    STATES_QUARANTINED = Counter "headwater_states_quarantined_total", "states", ["store"],
        "Shards' states that were not of this log, or stood outside it, and are kept aside.";
    STATES_TAKEN = Counter "headwater_states_taken_total", "states", ["store", "outcome"],
        "Shards' states asked of another instance, by outcome: taken or not_taken.";
    USER_CODE_PANICS = Counter "headwater_user_code_panics_total", "panics", ["topology"],
        "Panics of the application's own code that were contained.";
    SHARDS_GAINED = Counter "headwater_shards_gained_total", "shards", ["group"],
        "Shards that came to this instance, at its start or by a move.";
    FORWARDED = Counter "headwater_forwarded_total", "questions", ["question", "outcome"],
        "Questions sent to the instance that owns a shard (send, outcome, state, query, changes, reach), by outcome: answered, moved, not_sent or lost.";
    FORWARD_DURATION = Histogram "headwater_forward_duration_seconds", "seconds", ["question"],
        "Time from sending a question to another instance to its answer; a question for changes waits for some.";
    PEER_QUESTIONS = Counter "headwater_peer_questions_total", "questions", ["question"],
        "Questions of other instances that arrived here.";
    SHARDS_STOPPED = Gauge "headwater_shards_stopped", "shards", ["topology"],
        "Shards that stopped on an error and wait to be understood.";
    SHARDS_REFUSED = Gauge "headwater_shards_refused", "shards", ["topology"],
        "Shards of this instance whose writer the log refuses; opening it is tried again.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut seen = HashSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert!(metric.name.starts_with("headwater_"), "{}", metric.name);
            let is_counter = metric.kind == MetricKind::Counter;
            assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
            let base_unit = ["seconds", "bytes"].contains(&metric.unit);
            assert!(!base_unit || metric.name.contains(metric.unit), "{} lacks its unit", metric.name);
        }
    }
}
