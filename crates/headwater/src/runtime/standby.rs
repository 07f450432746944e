//! Who keeps a copy of which shard.
//!
//! Every instance computes the same answer from the table of instances, and follows the shards that are its own: nobody
//! hands out anything. The answer is a pure function of who lives and who owns what:
//!
//! - a copy is never on the shard's owner, and no two copies of a shard are on one instance;
//! - copies are spread evenly over the instances, as far as the owners allow;
//! - each shard likes the instances in an order of its own (rendezvous hashing), so that an instance that comes or goes
//!   moves few copies besides its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_core::topic::Partition;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::instances::{InstanceRecord, Routes, Table};
use super::membership::Standbys;
use super::start::TopologyStatus;
use crate::digest::digest;

/// How long changes of the table gather before copies are assigned anew.
const SETTLE: Duration = Duration::from_millis(250);

/// Which instances keep a copy of each shard of a topology, where each shall have so many.
///
/// An owner that is not among `instances` is one that is about to be given up; a shard without an owner gets its copies
/// all the same.
pub(crate) fn assign<'a>(
    topology: &str,
    shards: u32,
    copies: usize,
    owners: &BTreeMap<Partition, &str>,
    instances: &BTreeSet<&'a str>,
) -> BTreeMap<Partition, Vec<&'a str>> {
    let fair = (shards as usize * copies).div_ceil(instances.len().max(1));
    let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
    let of_shard = |shard: Partition| {
        let mut liked: Vec<&str> =
            instances.iter().copied().filter(|name| owners.get(&shard) != Some(name)).collect();
        liked.sort_by_cached_key(|name| {
            digest([topology.as_bytes(), &shard.0.to_be_bytes(), name.as_bytes()])
        });
        // Who has its fair share already comes after everybody who has not.
        liked
            .sort_by_key(|name| loads.get(name).copied().unwrap_or(0).saturating_sub(fair.saturating_sub(1)));
        liked.truncate(copies);
        liked.iter().for_each(|name| *loads.entry(name).or_default() += 1);
        (shard, liked)
    };
    (0..shards).map(Partition).map(of_shard).collect()
}

/// The copies that this instance is to keep, by topology.
#[derive(Clone, Default)]
pub(crate) struct StandbyBoard(Arc<Mutex<BTreeMap<String, watch::Sender<Arc<BTreeSet<Partition>>>>>>);

impl StandbyBoard {
    /// What is told of one topology, from now on.
    pub(crate) fn of(&self, topology: &str) -> Standbys {
        self.0.lock().entry(topology.to_owned()).or_default().subscribe()
    }

    /// Tells which shards of a topology are to be copied here.
    pub(crate) fn set(&self, topology: &str, shards: BTreeSet<Partition>) {
        self.0.lock().entry(topology.to_owned()).or_default().send_if_modified(|known| {
            let changes = **known != shards;
            if changes {
                *known = Arc::new(shards);
            }
            changes
        });
    }
}

/// Follows the table of instances, and tells the board which copies are ours, until `stop`.
pub(crate) async fn keep_assigned(
    routes: Arc<Routes>,
    board: StandbyBoard,
    topologies: Vec<TopologyStatus>,
    stop: CancellationToken,
) {
    let mut table = routes.watch();
    loop {
        {
            let table = table.borrow_and_update();
            for topology in topologies.iter().filter(|topology| topology.copies > 0) {
                board.set(
                    &format!("{}.{}", routes.app, topology.name),
                    ours(&table, topology, &routes.cluster.name),
                );
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = table.changed() => if changed.is_err() { return },
        }
        // Instances that start or stop together are one change.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SETTLE) => {}
        }
    }
}

/// The shards of a topology that `name` is to keep copies of.
fn ours(table: &Table, topology: &TopologyStatus, name: &str) -> BTreeSet<Partition> {
    let shards = u32::try_from(topology.cells.len()).expect("shards are counted in 32 bits");
    let runs_it = |(name, record): (_, &InstanceRecord)| record.roles.contains(topology.role).then_some(name);
    let instances: BTreeSet<&str> = table.instances().filter_map(runs_it).collect();
    let owner = |shard| Some((Partition(shard), table.owner(&topology.name, Partition(shard))?.0));
    let owners = (0..shards).filter_map(owner).collect();
    let copies = assign(&topology.name, shards, topology.copies, &owners, &instances);
    copies.into_iter().filter(|(_, on)| on.contains(&name)).map(|(shard, _)| shard).collect()
}

#[cfg(test)]
#[path = "standby_tests.rs"]
mod tests;
