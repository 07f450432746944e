//! Who of a group's members gets which shard: the cooperative-sticky assignment, computed by the group's leader.
//!
//! Every member keeps what it owns, as far as no member has more than one shard more than another; what nobody owns goes
//! to those with the fewest. A shard that is to move is given to nobody in this generation (KIP-429): its owner finds it
//! missing, gives it up and joins again, and the next generation gives it to the member that it moves to. So a shard never
//! has two owners, and those that stay are owned all the while.
//!
//! Of two members that claim one shard the one whose claim is of the later generation owns it, since the other missed that
//! it was moved. Where both claims are of one generation neither does, and both give it up first, as Kafka's own assignor
//! has it (`AbstractStickyAssignor`).

use std::collections::{BTreeMap, BTreeSet};

use headwater_core::topic::Partition;

/// What each member gets, by its id.
pub(super) type Shares = BTreeMap<String, BTreeSet<Partition>>;

/// A member as it describes itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimant {
    /// The id that the group knows it by.
    pub(super) id: String,
    /// A name that outlives the id, by which equals are put in order.
    pub(super) name: String,
    /// Whether it subscribes to the group's topic.
    pub(super) takes_part: bool,
    /// The generation of its claims; negative if it has none.
    pub(super) generation: i32,
    /// The shards that it has not given up.
    pub(super) owned: BTreeSet<Partition>,
}

/// Shares the shards out; every member is in the answer, perhaps with nothing.
pub(super) fn assign(shards: u32, members: &[Claimant]) -> Shares {
    let mut shares: Shares = members.iter().map(|member| (member.id.clone(), BTreeSet::new())).collect();
    let owners = owners(shards, members);
    let quotas = quotas(shards, members, &owners);
    for (id, quota) in &quotas {
        let owned = owners.iter().filter(|(_, owner)| *owner == id).map(|(shard, _)| *shard);
        shares.entry((*id).to_owned()).or_default().extend(owned.take(*quota));
    }
    let kept: BTreeSet<Partition> = shares.values().flatten().copied().collect();
    for shard in (0..shards).map(Partition).filter(|shard| !kept.contains(shard)) {
        let with_room = quotas.iter().filter(|(id, quota)| shares[*id].len() < *quota);
        if let Some((id, _)) = with_room.min_by_key(|(id, _)| shares[*id].len()) {
            shares.get_mut(*id).expect("every member has a share").insert(shard);
        }
    }
    withhold(&mut shares, members);
    shares
}

/// The member that owns each shard now.
fn owners<'a>(shards: u32, members: &'a [Claimant]) -> BTreeMap<Partition, &'a str> {
    let mut claims: BTreeMap<Partition, Vec<&'a Claimant>> = BTreeMap::new();
    for member in members.iter().filter(|member| member.takes_part) {
        for shard in member.owned.iter().filter(|shard| shard.0 < shards) {
            claims.entry(*shard).or_default().push(member);
        }
    }
    let owner = |(shard, claims): (Partition, Vec<&'a Claimant>)| {
        let latest = claims.iter().map(|member| member.generation).max()?;
        let mut latest = claims.into_iter().filter(|member| member.generation == latest);
        let owner = latest.next()?;
        latest.next().is_none().then_some((shard, owner.id.as_str()))
    };
    claims.into_iter().filter_map(owner).collect()
}

/// How many shards each member that takes part is to have, those that own the most first: they keep the odd ones.
fn quotas<'a>(
    shards: u32,
    members: &'a [Claimant],
    owners: &BTreeMap<Partition, &str>,
) -> Vec<(&'a str, usize)> {
    let owns = |member: &Claimant| owners.values().filter(|owner| **owner == member.id).count();
    let mut takers: Vec<&Claimant> = members.iter().filter(|member| member.takes_part).collect();
    takers.sort_by_key(|member| (std::cmp::Reverse(owns(member)), &member.name, &member.id));
    let shards = shards as usize;
    let (each, odd) =
        (shards.checked_div(takers.len()).unwrap_or(0), shards.checked_rem(takers.len()).unwrap_or(0));
    let quota =
        |(index, member): (usize, &'a Claimant)| (member.id.as_str(), each + usize::from(index < odd));
    takers.into_iter().enumerate().map(quota).collect()
}

/// Takes from each share what another member claims.
fn withhold(shares: &mut Shares, members: &[Claimant]) {
    for (id, share) in shares {
        let mine = members.iter().find(|member| member.id == *id);
        let mine = mine.map(|member| (&member.owned, member.generation));
        share.retain(|shard| {
            let kept = mine.filter(|(owned, _)| owned.contains(shard)).map(|(_, generation)| generation);
            let mut others = members.iter().filter(|member| member.id != *id && member.owned.contains(shard));
            // A claim that is older than the owner's is void.
            !others.any(|other| kept.is_none_or(|generation| other.generation >= generation))
        });
    }
}

#[cfg(test)]
#[path = "assignor_tests.rs"]
mod tests;
