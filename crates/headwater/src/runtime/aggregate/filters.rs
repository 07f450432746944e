//! Writing the ids of a shard's outcomes as filters, while it runs.
//!
//! The outcomes are read back from the log, a piece at a time beside the commands, whenever enough of them are in no
//! filter yet; the filter goes into the next transaction. So nothing of it has to outlive the shard: whoever goes on
//! reads the stretch again from its beginning.

use headwater_core::BoxFuture;
use headwater_core::clock::Timestamp;
use headwater_core::log::{Bounds, LogError, LogErrorKind, ReadBatch, ReadLimit, Wait};
use headwater_core::record::Record;
use headwater_core::topic::{Offset, TopicId, TopicPartition};

use crate::engine::outcome_filters::{FilterInMaking, Filtered};
use crate::runtime::shell::Shell;

/// Outcomes that are read between two looks at the mailbox.
const CHUNK: ReadLimit = ReadLimit { records: 2_000, bytes: 1 << 20 };
/// How often a filter is written until its stretch is full.
const PARTS: u64 = 5;

/// Outcomes that were read, and the bounds of their partition shortly before.
pub(super) type FilterRead = Result<(Bounds, ReadBatch), LogError>;

/// How far the filters of a shard have come.
pub(super) struct FilterWriting {
    /// The topic of the outcomes.
    of: TopicId,
    span: u64,
    /// Where outcomes have to end for the next filter to be written.
    due_at: Offset,
    making: Option<FilterInMaking>,
    pub(super) read: Option<BoxFuture<'static, FilterRead>>,
}

impl FilterWriting {
    /// Goes on behind what the head says is written.
    pub(super) fn behind(written: Option<Filtered>, of: TopicId, span: u64) -> Self {
        let mut writing = Self { of, span: span.max(1), due_at: Offset::ZERO, making: None, read: None };
        writing.due_behind(writing.known(written).map_or(Offset::ZERO, |written| written.until));
        writing
    }

    /// What is written of these outcomes, and of no others.
    fn known(&self, written: Option<Filtered>) -> Option<Filtered> {
        written.filter(|written| written.of == self.of)
    }

    fn due_behind(&mut self, until: Offset) {
        self.due_at = Offset(until.0 + (self.span / PARTS).max(1));
    }

    /// Begins to read what is missing, if that is enough.
    pub(super) fn begin_reading(
        &mut self,
        shell: &Shell,
        outcomes: &TopicPartition,
        outcomes_next: Offset,
        written: Option<Filtered>,
    ) {
        if outcomes_next < self.due_at || self.read.is_some() {
            return;
        }
        let begin = self.known(written).map_or(Offset::ZERO, |written| written.until);
        let next = self.making.get_or_insert_with(|| FilterInMaking::containing(begin, self.span)).until();
        let (log, at) = (shell.log.clone(), outcomes.clone());
        self.read = Some(Box::pin(async move {
            let bounds = log.bounds(&at).await?;
            let read = log.read(&at, next.max(bounds.start), CHUNK, Wait::No).await?;
            Ok((bounds, read))
        }));
    }

    /// Takes what was read; answers the records to be written, and what the head is to say then, if there is enough.
    pub(super) fn take(
        &mut self,
        read: FilterRead,
        outcomes_next: Offset,
        written: Option<Filtered>,
        now: Timestamp,
    ) -> Option<(Vec<Record>, Filtered)> {
        let mut making = self.making.take()?;
        let (bounds, read) = match read {
            Ok(read) => read,
            Err(error) => {
                // Nobody waits for a filter: it is tried again once there are more outcomes.
                if !matches!(error.kind(), LogErrorKind::Unavailable | LogErrorKind::OutOfRange(_)) {
                    tracing::warn!(%error, "outcomes cannot be read, and their ids are not kept in a filter");
                }
                self.due_behind(outcomes_next);
                return None;
            }
        };
        if making.end() <= bounds.start {
            making = FilterInMaking::containing(bounds.start, self.span);
        }
        making.take(&read.records, read.next);
        let is_full = making.until() == making.end();
        let told = (is_full || making.until() >= self.due_at).then(|| {
            self.due_behind(making.until());
            making.records(self.of, self.known(written), bounds.start, now)
        });
        let next = making.end();
        self.making = Some(if is_full { FilterInMaking::containing(next, self.span) } else { making });
        told
    }
}
