//! Who has which shard: the coordinator of the groups of a log of one process, as a state machine.
//!
//! Shards go round robin to members in the order in which they joined. A shard that moves is revoked first and gained
//! by the next member only when the old one has let go of it, or has left. Every gain has a term of its own; a claim
//! is valid as long as the shard's term is the claim's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use headwater_core::log::{Group, LogError, LogErrorKind};
use headwater_core::topic::Partition;
use tokio::sync::Notify;

/// One shard of one group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ShardId {
    pub(super) group: Arc<str>,
    pub(super) shard: Partition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId(u64);

/// Which gain of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Term(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Gained(Partition, Term),
    Revoked(Partition),
    Lost(Partition),
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<Arc<str>, GroupState>,
    joined: u64,
}

#[derive(Debug, Default)]
struct GroupState {
    members: BTreeMap<MemberId, Member>,
    shards: Vec<Shard>,
}

#[derive(Debug, Default)]
struct Member {
    changes: VecDeque<Change>,
    wake: Arc<Notify>,
}

#[derive(Debug, Clone, Default)]
struct Shard {
    owner: Option<MemberId>,
    /// Whose it shall be.
    target: Option<MemberId>,
    term: Term,
    /// The owner was told to let go.
    revoked: bool,
    /// The owner let go.
    released: bool,
}

impl Groups {
    /// Adds a member; the notifier is told of every change in its shards.
    pub(super) fn join(&mut self, group: &Group) -> Result<(MemberId, Arc<Notify>), LogError> {
        let state = self.groups.entry(group.name.as_str().into()).or_default();
        let shards = group.shards as usize;
        if !state.members.is_empty() && state.shards.len() != shards {
            let message = format!("group {} has {} shards, not {shards}", group.name, state.shards.len());
            return Err(LogError::new(LogErrorKind::Invalid, message));
        }
        state.shards.resize_with(shards, Shard::default);
        self.joined += 1;
        let id = MemberId(self.joined);
        let wake = state.members.entry(id).or_default().wake.clone();
        state.rebalance();
        Ok((id, wake))
    }

    /// Removes a member; its shards are free at once.
    pub(super) fn leave(&mut self, group: &str, member: MemberId) {
        let Some(state) = self.groups.get_mut(group) else { return };
        state.members.remove(&member);
        for shard in state.shards.iter_mut().filter(|shard| shard.owner == Some(member)) {
            shard.free();
        }
        state.rebalance();
    }

    pub(super) fn next_change(&mut self, group: &str, member: MemberId) -> Option<Change> {
        self.groups.get_mut(group)?.members.get_mut(&member)?.changes.pop_front()
    }

    /// Whether a claim is still good.
    pub(super) fn holds(&self, of: &ShardId, term: Term) -> bool {
        self.shard(of).is_some_and(|shard| shard.owner.is_some() && shard.term == term)
    }

    pub(super) fn has_owner(&self, of: &ShardId) -> bool {
        self.shard(of).is_some_and(|shard| shard.owner.is_some())
    }

    /// The claim of this term and its writer are gone.
    pub(super) fn release(&mut self, of: &ShardId, term: Term) {
        let Some(state) = self.groups.get_mut(&of.group) else { return };
        let index = of.shard.0 as usize;
        if let Some(shard) = state.shards.get_mut(index).filter(|shard| shard.term == term) {
            shard.released = true;
            state.settle(index);
        }
    }

    /// Takes a shard from its owner without asking, and gives it to the member after it; whether it had an owner.
    pub(super) fn lose(&mut self, of: &ShardId) -> bool {
        self.groups.get_mut(&of.group).is_some_and(|state| state.lose(of.shard))
    }

    /// Ends every membership.
    pub(super) fn clear(&mut self) {
        let groups = std::mem::take(&mut self.groups);
        groups.values().flat_map(|state| state.members.values()).for_each(|m| m.wake.notify_waiters());
    }

    fn shard(&self, of: &ShardId) -> Option<&Shard> {
        self.groups.get(&of.group)?.shards.get(of.shard.0 as usize)
    }
}

impl GroupState {
    fn rebalance(&mut self) {
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for index in 0..self.shards.len() {
            self.shards[index].target = members.get(index % members.len().max(1)).copied();
            self.settle(index);
        }
    }

    /// Moves a shard one step towards its target.
    fn settle(&mut self, index: usize) {
        let name = Partition(u32::try_from(index).expect("shards are counted in 32 bits"));
        let shard = &mut self.shards[index];
        if shard.owner.is_some() && shard.owner == shard.target && !shard.revoked {
            return;
        }
        if let Some(owner) = shard.owner.filter(|_| !shard.revoked) {
            shard.revoked = true;
            tell(&mut self.members, owner, Change::Revoked(name));
        }
        if shard.owner.is_none() || shard.released {
            shard.free();
            shard.owner = shard.target;
            shard.term.0 += 1;
            let gained = Change::Gained(name, shard.term);
            shard.owner.into_iter().for_each(|owner| tell(&mut self.members, owner, gained));
        }
    }

    fn lose(&mut self, name: Partition) -> bool {
        let index = name.0 as usize;
        let Some(owner) = self.shards.get(index).and_then(|shard| shard.owner) else { return false };
        tell(&mut self.members, owner, Change::Lost(name));
        let after = self.members.range(owner..).nth(1).or(self.members.first_key_value());
        let target = after.map(|(id, _)| *id);
        let shard = &mut self.shards[index];
        shard.free();
        shard.target = target;
        self.settle(index);
        true
    }
}

impl Shard {
    fn free(&mut self) {
        (self.owner, self.revoked, self.released) = (None, false, false);
    }
}

fn tell(members: &mut BTreeMap<MemberId, Member>, member: MemberId, change: Change) {
    if let Some(member) = members.get_mut(&member) {
        member.changes.push_back(change);
        member.wake.notify_waiters();
    }
}
