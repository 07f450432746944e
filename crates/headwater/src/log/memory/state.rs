//! The whole of a memory log behind its lock: what it keeps, who may write, who has which shard.

use std::collections::BTreeMap;

use headwater_core::clock::Timestamp;
use headwater_core::log::{
    AppendError, CommitError, Head, LogError, LogErrorKind, TopicDescription, TopicSettings, Transaction,
};
use headwater_core::record::Append;
use headwater_core::topic::{Offset, TopicId, TopicName};

use super::data::Data;
use crate::log::groups::{Groups, ShardId, Term};
use super::seed::Seed;

/// Which writer of a shard; only the last one opened may commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Epoch(u64);

pub(super) struct State {
    pub(super) data: Data,
    pub(super) groups: Groups,
    /// Which life of the log; handles of an earlier one are closed.
    pub(super) life: u64,
    epochs: BTreeMap<ShardId, Epoch>,
    seed: Seed,
}

impl State {
    pub(super) fn new(seed: Seed) -> Self {
        let (data, groups, epochs) = (Data::default(), Groups::default(), BTreeMap::new());
        Self { data, groups, life: 0, epochs, seed }
    }

    pub(super) fn create(
        &mut self,
        name: &TopicName,
        settings: TopicSettings,
    ) -> Result<TopicDescription, LogError> {
        let id = TopicId(self.seed.wide());
        self.data.create(name, id, settings)
    }

    pub(super) fn append(
        &mut self,
        appends: Vec<Append>,
        now: Timestamp,
    ) -> Result<Vec<Offset>, AppendError> {
        self.data.check_appends(&appends).map_err(AppendError::NotWritten)?;
        Ok(self.data.append(appends, now))
    }

    pub(super) fn commit(
        &mut self,
        of: &ShardId,
        epoch: Epoch,
        transaction: Transaction,
        now: Timestamp,
    ) -> Result<Vec<Offset>, CommitError> {
        if self.epochs.get(of) != Some(&epoch) {
            self.data.abort(&transaction);
            return Err(CommitError::Fenced);
        }
        let refused = |error| CommitError::NotWritten { retry: false, error };
        self.data.check(&transaction).map_err(refused)?;
        Ok(self.data.commit(of, transaction, now))
    }

    /// Opens a shard's writer, which is then the only one.
    pub(super) fn open(&mut self, of: &ShardId, term: Term) -> Result<(Epoch, Option<Head>), LogError> {
        if !self.groups.holds(of, term) {
            let message = format!("shard {} of group {} is another member's", of.shard, of.group);
            return Err(LogError::new(LogErrorKind::Fenced, message));
        }
        Ok((self.fence(of), self.data.head(of).cloned()))
    }

    /// Starts a new epoch of a shard: every writer opened before is dead.
    pub(super) fn fence(&mut self, of: &ShardId) -> Epoch {
        let epoch = self.epochs.entry(of.clone()).or_default();
        epoch.0 += 1;
        *epoch
    }

    /// Ends this life of the log: memberships, writers and waiting readers.
    pub(super) fn end_life(&mut self) {
        self.life += 1;
        self.groups.clear();
        self.epochs.values_mut().for_each(|epoch| epoch.0 += 1);
        self.data.wake_all();
    }
}
