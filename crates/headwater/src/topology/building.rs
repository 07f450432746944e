//! Putting a shard's operators together, from the end of a topology back to its sources.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use headwater_core::store::TableId;
use headwater_core::topic::{Partition, TopicPartition};

use super::node::{Node, table_name};
use super::topic::TopicRef;
use crate::engine::flow::OperatorId;
use crate::engine::operators::{Counted, Fan, Next, RecordSink, Task, TickSink};

/// Attaches what follows a stream or a table to what leads to it.
pub(crate) type Attach<K, V> = Arc<dyn Fn(&mut Building<'_>, Next<K, V>) + Send + Sync>;

/// Where a shard's operators read and write.
pub(crate) struct ShardPlace {
    pub(crate) shard: Partition,
    /// The partitions of each topic that an emitter appends to.
    pub(crate) targets: Arc<[Arc<[TopicPartition]>]>,
}

/// A shard's operators, half put together.
pub(crate) struct Building<'a> {
    place: &'a ShardPlace,
    sources: &'a [TopicRef],
    tables: &'a [String],
    heads: Vec<Vec<Box<dyn RecordSink>>>,
    ticks: Vec<Box<dyn TickSink>>,
    /// The names of operators, by their ids.
    operators: Vec<Arc<str>>,
    /// The followers of each operator that was put together already, by its node.
    fans: HashMap<*const Node, Box<dyn Any>>,
    /// The operators that are there once for each that follows them, and of which one counts.
    counting: HashSet<*const Node>,
}

impl<'a> Building<'a> {
    pub(crate) fn new(place: &'a ShardPlace, sources: &'a [TopicRef], tables: &'a [String]) -> Self {
        let heads = sources.iter().map(|_| Vec::new()).collect();
        let (ticks, operators) = (Vec::new(), Vec::new());
        let (fans, counting) = (HashMap::new(), HashSet::new());
        Self { place, sources, tables, heads, ticks, operators, fans, counting }
    }

    pub(crate) fn finish(self) -> Task {
        Task::new(self.heads, self.ticks, self.operators)
    }

    /// The shard that is put together.
    pub(crate) fn shard(&self) -> Partition {
        self.place.shard
    }

    /// The partitions of the emitter's topic of this index.
    pub(crate) fn target(&self, index: usize) -> Arc<[TopicPartition]> {
        self.place.targets[index].clone()
    }

    /// The table of a store.
    ///
    /// # Panics
    ///
    /// If the node that asks did not declare it.
    pub(crate) fn table(&self, store: &str, table: &str) -> TableId {
        let name = table_name(store, table);
        let index = self.tables.iter().position(|known| *known == name);
        let index = index.expect("a node declares the tables that it uses");
        TableId(u8::try_from(index).expect("a topology has at most 256 tables"))
    }

    /// Adds what takes the records of a source.
    pub(crate) fn feed(&mut self, topic: &TopicRef, head: Box<dyn RecordSink>) {
        let index = self.sources.iter().position(|known| known == topic);
        self.heads[index.expect("a node's sources are those of its topology")].push(head);
    }

    /// Adds what is told the time on the wall.
    pub(crate) fn on_tick(&mut self, tick: Box<dyn TickSink>) {
        self.ticks.push(tick);
    }

    /// An operator, counted under its name; those of one name are counted together, as the two sides of a join are.
    pub(crate) fn counted<T>(&mut self, name: &str, operator: T) -> Box<Counted<T>> {
        let known = self.operators.iter().position(|known| **known == *name);
        let id = known.unwrap_or_else(|| {
            self.operators.push(name.into());
            self.operators.len() - 1
        });
        Box::new(Counted::new(OperatorId(id), operator))
    }

    /// Whether the operator of a node is put together for the first of those that follow it: that one counts, since all see
    /// the same.
    pub(crate) fn is_first(&mut self, node: &Arc<Node>) -> bool {
        self.counting.insert(Arc::as_ptr(node))
    }

    /// Attaches `next` to the operator of a node, which `build` puts together where nothing follows it yet: what keeps
    /// state is there once, however many follow it.
    pub(crate) fn once<K: 'static, V: 'static>(
        &mut self,
        node: &Arc<Node>,
        next: Next<K, V>,
        build: impl FnOnce(&mut Self, Next<K, V>),
    ) {
        match self.fans.get(&Arc::as_ptr(node)).map(|fan| fan.downcast_ref::<Fan<K, V>>()) {
            Some(fan) => fan.expect("a node has one type of output").add(next),
            None => {
                let fan = Fan::new(next);
                self.fans.insert(Arc::as_ptr(node), Box::new(fan.clone()));
                build(self, Box::new(fan));
            }
        }
    }
}
