//! The language of topologies: tables that keep versions of their rows.

use std::sync::Arc;
use std::time::Duration;

use headwater_core::clock::Timestamp;
use headwater_core::key::Key;

use super::Value;
use super::building::Building;
use super::node::{Node, StoreSpec};
use super::store::Store;
use super::stream::Stream;
use super::table::{Table, updates_topic};
use super::windows::Lengths;
use crate::engine::flow::Flow;
use crate::engine::operators::join::Getter;
use crate::engine::operators::{MaterialiseVersions, VERSIONED_TABLES, VersionedTables};
use crate::engine::row::RowFormat;

/// A table of the last value of each key that also answers which value there was at a time.
pub(super) fn versioned_table<K: Key, V: Value, P: 'static>(
    stream: &Stream<K, Option<V>, P>,
    store: Store,
    history: Duration,
) -> Table<K, V> {
    let mut lengths = Lengths::default();
    let history_ms = lengths.positive(&format!("the table \"{}\"", store.name), "history", history);
    let input =
        Node::mistaken(Node::stateless("versions", vec![stream.node.clone()]), lengths.into_mistakes());
    let spec = StoreSpec { has_versions: true, ..StoreSpec::of(&store, &VERSIONED_TABLES) };
    let (name, rows, attach) = (store.name.clone(), store.rows, stream.attach.clone());
    let again = {
        let (stream, store) = (stream.clone(), store.clone());
        Arc::new(move || stream.repartition(updates_topic(&store.name)).to_table_with_deletes(store.clone()))
    };
    let build = move |building: &mut Building<'_>, name: &str, next: Option<_>| {
        let format = if next.is_some() { RowFormat::Timed } else { rows };
        let (tables, due) = (versioned_tables(building, name, history_ms), building.table(name, "due"));
        let keep = MaterialiseVersions::new(name.into(), tables, due, format, next);
        let keep = building.counted(name, keep);
        attach(building, keep);
    };
    let table = Table::kept("versioned table", store, spec, &[&input], stream.route.clone(), build);
    let last = table.look.clone();
    let look = move |building: &Building<'_>| {
        let (last, tables) = (last(building), versioned_tables(building, &name, history_ms));
        let getter = move |key: &K, as_of: Option<Timestamp>, flow: &mut Flow<'_>| match as_of {
            None => last(key, None, flow),
            Some(time) => tables.as_of(key, time, flow),
        };
        Arc::new(getter) as Getter<K, V>
    };
    table.remembering(history, Arc::new(look), again)
}

fn versioned_tables(building: &Building<'_>, name: &str, history_ms: i64) -> VersionedTables {
    VersionedTables {
        last: building.table(name, ""),
        versions: building.table(name, "versions"),
        time: building.table(name, "time"),
        history_ms,
    }
}
