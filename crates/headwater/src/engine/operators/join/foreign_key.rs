//! A table with a table that its rows name: a join by a foreign key (KIP-213).
//!
//! The left side subscribes to the rows that its own name, where those lie; that shard answers with the row, now and
//! whenever it changes; the left side joins an answer with its own row, if that is still the one that asked. As Kafka's
//! `SubscriptionSendProcessorSupplier`, `SubscriptionReceiveProcessorSupplier`, `SubscriptionJoinProcessorSupplier`,
//! `ForeignTableJoinProcessorSupplier` and `ResponseJoinProcessorSupplier`.
//!
//! ```text
//! <name>.subscriptions   key: the foreign key as text, null where a row names none; in the partition of the right row
//!                        value: {"key": primary key, "hash": of the left row, or null, "instruction": see below,
//!                        "partition": of the left row}
//! <name>.responses       key: the primary key as text; in the partition of the left row
//!                        value: {"hash": as it was asked with, "value": the right row, or null}
//! store of the right side: foreign key, primary key -> {"hash", "partition"}
//! ```
//!
//! A hash is of the row as canonical JSON. An answer whose hash is not that of the row as it is now is stale: a later
//! subscription was sent, and its answer follows.

use std::sync::Arc;

use bytes::Bytes;
use headwater_core::codec::{Codec, Json};
use headwater_core::key::{Key, decode_ordered, ordered, text};
use headwater_core::partitioner::partition_of;
use headwater_core::record::{Append, Record};
use headwater_core::store::{KeyRange, TableId};
use headwater_core::topic::{Partition, TopicPartition};
use serde::{Deserialize, Serialize};

use super::Getter;
use crate::digest::{digest, hex};
use crate::engine::flow::{DropReason, Flow, Keyed, ProcessError, RecordMeta};
use crate::engine::operators::stateless::pass_on;
use crate::engine::operators::{Change, Next, Sink};
use crate::engine::row::Row;
use crate::topology::{Route, Sent};

/// What a row of the left side asks of the row that it names, or no longer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Instruction {
    /// Subscribe, and answer if the row is there.
    AnswerIfThere,
    /// Subscribe, and answer in any case: something may have to be taken back.
    Answer,
    /// No longer subscribe.
    Leave,
    /// No longer subscribe, and answer that there is nothing.
    LeaveAndAnswer,
}

/// The value of a record of subscriptions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Subscription<K> {
    key: K,
    hash: Option<String>,
    instruction: Instruction,
    partition: u32,
}

/// What is kept of a subscription.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Subscriber {
    hash: Option<String>,
    partition: u32,
}

/// The value of a record of responses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Response<W> {
    hash: Option<String>,
    value: Option<W>,
}

/// The foreign key that a row names, if any.
pub(crate) type ForeignKey<K, V, L> = Arc<dyn Fn(&K, &V) -> Option<L> + Send + Sync>;

fn hash_of<V: Serialize>(value: Option<&V>) -> Result<Option<String>, ProcessError> {
    let Some(value) = value else { return Ok(None) };
    // By way of a `Value`, whose maps are sorted: a row that was kept and read again has the same hash.
    let canonical = serde_json::to_value(value).map_err(ProcessError::record)?.to_string();
    Ok(Some(hex(digest([canonical.as_bytes()]))))
}

fn send(
    to: TopicPartition,
    key: Option<Bytes>,
    value: &impl Serialize,
    meta: &RecordMeta,
    flow: &mut Flow<'_>,
) -> Result<(), ProcessError> {
    let value = serde_json::to_vec(value).map_err(ProcessError::record)?;
    let record =
        Record { key, value: Some(value.into()), headers: meta.headers.clone(), timestamp: meta.timestamp };
    flow.emit(Append { to, record });
    Ok(())
}

/// Subscribes the rows of the left side to those that they name.
pub(crate) struct Subscribe<K, V, L> {
    /// Whether a row makes a result without the other.
    pub(crate) left: bool,
    pub(crate) key_of: ForeignKey<K, V, L>,
    /// What rows of an inner join are counted under that name none.
    pub(crate) operator: Arc<str>,
    pub(crate) shard: Partition,
    pub(crate) route: Route<L>,
    pub(crate) to: Arc<[TopicPartition]>,
}

impl<K: Key, V: Serialize, L: Key> Subscribe<K, V, L> {
    fn tell(
        &self,
        foreign: Option<&L>,
        instruction: Instruction,
        item: Keyed<'_, K, Change<V>>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let hash = hash_of(item.value.new.as_ref())?;
        let partition = self.shard.0;
        let subscription = Subscription { key: item.key, hash, instruction, partition };
        let (to, key) = match foreign {
            // Nobody keeps it: whoever reads it answers.
            None => (partition as usize % self.to.len(), None),
            Some(foreign) => {
                let part = self.route.of(foreign).map_err(ProcessError::Record)?;
                let to = partition_of(&part, self.to.len() as u32).0 as usize;
                (to, Some(text(foreign).map_err(ProcessError::record)?))
            }
        };
        send(self.to[to].clone(), key, &subscription, item.meta, flow)
    }

    /// Every change is answered, so that the result is told; a row that is gone subscribes to nothing.
    fn tell_left(
        &self,
        (old, new): (Option<L>, Option<L>),
        item: Keyed<'_, K, Change<V>>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        if old.is_some() && old != new {
            self.tell(old.as_ref(), Instruction::Leave, item, flow)?;
        }
        self.tell(new.as_ref(), Instruction::Answer, item, flow)
    }

    fn tell_inner(
        &self,
        (old, new): (Option<L>, Option<L>),
        item: Keyed<'_, K, Change<V>>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        if item.value.new.is_some() && new.is_none() {
            flow.drop_record(&self.operator, DropReason::NullKey);
        }
        match (old, new) {
            (None, None) => Ok(()),
            (Some(old), None) => self.tell(Some(&old), Instruction::LeaveAndAnswer, item, flow),
            (Some(old), Some(new)) if old != new => {
                self.tell(Some(&old), Instruction::Leave, item, flow)?;
                self.tell(Some(&new), Instruction::Answer, item, flow)
            }
            // If the row is not there, it was not before: there is nothing to take back.
            (_, Some(new)) => self.tell(Some(&new), Instruction::AnswerIfThere, item, flow),
        }
    }
}

impl<K: Key, V: Serialize, L: Key> Sink<K, Change<V>> for Subscribe<K, V, L> {
    fn push(&mut self, item: Keyed<'_, K, Change<V>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        if item.value.is_void() {
            return Ok(());
        }
        let foreign = |value: &Option<V>| value.as_ref().and_then(|value| (self.key_of)(item.key, value));
        let keys = (foreign(&item.value.old), foreign(&item.value.new));
        if self.left { self.tell_left(keys, item, flow) } else { self.tell_inner(keys, item, flow) }
    }

    fn close(&mut self, _: &mut Flow<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn abort(&mut self) {}
}

/// Takes subscriptions to the rows of the right side, and answers them.
pub(crate) struct Subscriptions<L, W> {
    pub(crate) table: TableId,
    pub(crate) rows: Getter<L, W>,
    pub(crate) to: Arc<[TopicPartition]>,
}

impl<K: Key, L: Key, W: Sent> Sink<Option<L>, Subscription<K>> for Subscriptions<L, W> {
    fn push(
        &mut self,
        item: Keyed<'_, Option<L>, Subscription<K>>,
        flow: &mut Flow<'_>,
    ) -> Result<(), ProcessError> {
        let Subscription { key, hash, instruction, partition } = item.value;
        let (stays, answers) = match instruction {
            Instruction::AnswerIfThere | Instruction::Answer => (true, true),
            Instruction::Leave => (false, false),
            Instruction::LeaveAndAnswer => (false, true),
        };
        let mut row = Row::NONE;
        if let Some(foreign) = item.key {
            let subscriber = Subscriber { hash: hash.clone(), partition: *partition };
            let place = ordered(&(foreign, key)).map_err(ProcessError::key)?;
            let subscriber = Json.encode(&subscriber).map_err(ProcessError::record)?;
            flow.put(self.table, place, stays.then_some(subscriber));
            row = (self.rows)(foreign, None, flow)?;
        }
        if !answers || (*instruction == Instruction::AnswerIfThere && row.value.is_none()) {
            return Ok(());
        }
        let meta = item.meta.at(item.meta.timestamp.max(row.time));
        let value = row.value.filter(|_| stays);
        respond(&self.to, key, *partition, &Response { hash: hash.clone(), value }, &meta, flow)
    }

    fn close(&mut self, _: &mut Flow<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn abort(&mut self) {}
}

fn respond<K: Key>(
    to: &[TopicPartition],
    key: &K,
    partition: u32,
    response: &Response<impl Serialize>,
    meta: &RecordMeta,
    flow: &mut Flow<'_>,
) -> Result<(), ProcessError> {
    let unknown =
        || ProcessError::record(format!("it is to be answered in partition {partition}, which is not there"));
    let to = to.get(partition as usize).ok_or_else(unknown)?.clone();
    send(to, Some(text(key).map_err(ProcessError::record)?), response, meta, flow)
}

/// Answers every subscriber of a row of the right side that changes.
pub(crate) struct Answers<K> {
    pub(crate) table: TableId,
    pub(crate) to: Arc<[TopicPartition]>,
    pub(crate) keys: std::marker::PhantomData<fn() -> K>,
}

impl<K: Key, L: Key, W: Serialize + Clone> Sink<L, Change<W>> for Answers<K> {
    fn push(&mut self, item: Keyed<'_, L, Change<W>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let prefix = ordered(item.key).map_err(ProcessError::key)?;
        for (row, subscriber) in flow.rows(self.table, &KeyRange::prefix(&prefix))? {
            let (_, key): (L, K) = decode_ordered(&row).map_err(ProcessError::record)?;
            let Subscriber { hash, partition } = Json.decode(&subscriber).map_err(ProcessError::record)?;
            let response = Response { hash, value: item.value.new.as_ref() };
            respond(&self.to, &key, partition, &response, item.meta, flow)?;
        }
        Ok(())
    }

    fn close(&mut self, _: &mut Flow<'_>) -> Result<(), ProcessError> {
        Ok(())
    }

    fn abort(&mut self) {}
}

/// Makes a row of a row and the one that it names.
pub(crate) type JoinForeign<V, W, R> = Arc<dyn Fn(&V, Option<&W>) -> R + Send + Sync>;

/// Joins answers with the rows of the left side that asked.
pub(crate) struct Responses<K, V, W, R> {
    pub(crate) left: bool,
    pub(crate) rows: Getter<K, V>,
    pub(crate) join: JoinForeign<V, W, R>,
    pub(crate) next: Next<K, Option<R>>,
}

impl<K, V: Serialize, W, R> Sink<K, Response<W>> for Responses<K, V, W, R> {
    fn push(&mut self, item: Keyed<'_, K, Response<W>>, flow: &mut Flow<'_>) -> Result<(), ProcessError> {
        let Response { hash, value } = item.value;
        let mine = (self.rows)(item.key, None, flow)?.value;
        if hash_of(mine.as_ref())? != *hash {
            return Ok(());
        }
        let is_row = self.left || value.is_some();
        let result = mine.filter(|_| is_row).map(|mine| (self.join)(&mine, value.as_ref()));
        self.next.push(Keyed { key: item.key, value: &result, meta: item.meta }, flow)
    }

    pass_on!();
}
