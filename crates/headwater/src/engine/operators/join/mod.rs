//! Joins: values of one side with what is known of the other.
//!
//! What a table knows is asked for by a [`Getter`], as Kafka's `KTableValueGetter`: of a table that is kept, the row in
//! its store; of one that is made of others, what they make of their rows at that moment. So a join of tables keeps
//! nothing itself.

mod foreign_key;
mod global;
mod stream_stream;
mod stream_table;
mod table_table;
mod waiting;

use std::sync::Arc;

use headwater_core::clock::Timestamp;

use crate::engine::flow::{Flow, ProcessError};
use crate::engine::row::Row;

pub(crate) use foreign_key::{
    Answers, ForeignKey, JoinForeign, Response, Responses, Subscribe, Subscription, Subscriptions,
};
pub(crate) use global::{AppendToAll, GlobalJoin, NamesKey};
pub(crate) use stream_stream::{Closeness, JoinSides, STREAM_JOIN_TABLES, StreamJoinSide, StreamJoinState};
pub(crate) use stream_table::{JoinValues, StreamTableJoin};
pub(crate) use table_table::{JoinRows, TableJoinSide, join_of_rows};
pub(crate) use waiting::{WAITING_TABLES, Waiting};

/// Answers the row of a table under a key, with the time of its last update: as it is now, or, of a table that keeps
/// versions, as of a time.
pub(crate) type Getter<K, V> =
    Arc<dyn Fn(&K, Option<Timestamp>, &mut Flow<'_>) -> Result<Row<V>, ProcessError> + Send + Sync>;
