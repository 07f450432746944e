//! Joins: values of one side with what is known of the other.
//!
//! What a table knows is asked for by a [`Getter`], as Kafka's `KTableValueGetter`: of a table that is kept, the row in
//! its store; of one that is made of others, what they make of their rows at that moment. So a join of tables keeps
//! nothing itself.

mod stream_stream;
mod stream_table;
mod table_table;

use std::sync::Arc;

use crate::engine::flow::{Flow, ProcessError};
use crate::engine::row::Row;

pub(crate) use stream_stream::{Closeness, JoinSides, STREAM_JOIN_TABLES, StreamJoinSide, StreamJoinState};
pub(crate) use stream_table::{JoinValues, StreamTableJoin};
pub(crate) use table_table::{JoinRows, TableJoinSide, join_of_rows};

/// Answers the row of a table under a key, with the time of its last update.
pub(crate) type Getter<K, V> = Arc<dyn Fn(&K, &mut Flow<'_>) -> Result<Row<V>, ProcessError> + Send + Sync>;
