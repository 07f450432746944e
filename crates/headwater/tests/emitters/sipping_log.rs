//! A log that answers few records at once, so that what is made of many takes many transactions.

use std::sync::Arc;

use headwater::core::conformance::log::wrapper::{Answer, LogWrapper, Read};
use headwater::core::log::{Log, ReadBatch, ReadLimit};

/// Records that one read answers at most.
const RECORDS: usize = 3;

/// Another log, sip by sip.
pub(crate) struct SippingLog(pub(crate) Arc<dyn Log>);

impl LogWrapper for SippingLog {
    fn inner(&self) -> &dyn Log {
        &*self.0
    }

    fn read<'a>(&'a self, read: Read<'a>) -> Answer<'a, ReadBatch> {
        let limit = ReadLimit { records: read.limit.records.min(RECORDS), ..read.limit };
        Read { limit, ..read }.of(self.inner())
    }
}
