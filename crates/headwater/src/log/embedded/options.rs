//! How an embedded log is opened, and what it tells about itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::clock::{Clock, SystemClock};

/// Called with the time that each commit took to become durable.
pub type FsyncHook = Arc<dyn Fn(Duration) + Send + Sync>;

/// How an embedded log is opened.
#[derive(Clone)]
pub struct Options {
    /// Tells the time of appends, and what has expired.
    pub clock: Arc<dyn Clock>,
    /// The largest record, key, value and headers together.
    pub record_bytes_max: usize,
    /// The largest transaction, all its records together.
    pub transaction_bytes_max: usize,
    /// The size that the log may reach; without it, the disk is the limit.
    pub bytes_max: Option<u64>,
    /// How often topics are cleaned in the background; `None` leaves that to
    /// [`maintain`](super::EmbeddedLog::maintain).
    pub maintenance_every: Option<Duration>,
    /// Whether everything is read and verified in the background after an unclean stop.
    pub check_after_crash: bool,
    /// Told of every commit's sync.
    pub on_fsync: Option<FsyncHook>,
    /// Planted bugs and failing disks.
    #[cfg(any(test, feature = "testing"))]
    pub faults: super::testing::Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            record_bytes_max: 16 << 20,
            transaction_bytes_max: 64 << 20,
            bytes_max: None,
            maintenance_every: Some(Duration::from_secs(30)),
            check_after_crash: true,
            on_fsync: None,
            #[cfg(any(test, feature = "testing"))]
            faults: super::testing::Faults::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("record_bytes_max", &self.record_bytes_max)
            .field("transaction_bytes_max", &self.transaction_bytes_max)
            .field("bytes_max", &self.bytes_max)
            .field("maintenance_every", &self.maintenance_every)
            .field("check_after_crash", &self.check_after_crash)
            .finish_non_exhaustive()
    }
}

/// What a log has done since it was opened, and how large it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of the data file.
    pub file_bytes: u64,
    /// Bytes of the file up to its last used page.
    pub used_bytes: u64,
    /// Bytes of the pages that hold records and rows.
    pub leaf_bytes: u64,
    /// Pages within `used_bytes` that will be used again.
    pub free_pages: u64,
    /// Records appended.
    pub records: u64,
    /// Bytes of records appended.
    pub record_bytes: u64,
    /// Commits of the engine, each synced before anything in it was acknowledged.
    pub fsyncs: u64,
    /// Microseconds that these took.
    pub fsync_us: u64,
    /// Transactions and appends acknowledged.
    pub acknowledged: u64,
    /// Ranges of records found damaged.
    pub damaged_ranges: u64,
}
