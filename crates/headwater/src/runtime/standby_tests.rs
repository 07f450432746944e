use proptest::prelude::*;

use super::*;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("instance-{n}")).collect()
}

type Copies = BTreeMap<Partition, Vec<String>>;

/// Assigns copies where the first instances own the shards in turn.
fn assigned(shards: u32, copies: usize, owners: &[usize], names: &[String]) -> Copies {
    let owner = |(shard, owner): (u32, &usize)| Some((Partition(shard), names.get(*owner)?.as_str()));
    let owners = (0..shards).zip(owners).filter_map(owner).collect();
    let instances = names.iter().map(String::as_str).collect();
    let owned =
        |(shard, names): (Partition, Vec<&str>)| (shard, names.into_iter().map(str::to_owned).collect());
    assign("topology", shards, copies, &owners, &instances).into_iter().map(owned).collect()
}

fn loads(copies: &Copies) -> BTreeMap<&str, usize> {
    let mut loads = BTreeMap::new();
    copies.values().flatten().for_each(|name| *loads.entry(name.as_str()).or_default() += 1);
    loads
}

fn moved(before: &Copies, after: &Copies) -> usize {
    before.iter().map(|(shard, names)| names.iter().filter(|name| !after[shard].contains(name)).count()).sum()
}

proptest! {
    #[test]
    fn copies_are_never_on_the_owner_nor_twice_on_one_instance(
        instances in 0_usize..7,
        copies in 0_usize..4,
        owners in prop::collection::vec(0_usize..8, 24),
    ) {
        let names = names(instances);
        for (shard, kept) in assigned(24, copies, &owners, &names) {
            let owner = names.get(owners[shard.0 as usize]);
            prop_assert!(kept.iter().all(|name| Some(name) != owner));
            prop_assert_eq!(kept.iter().collect::<BTreeSet<_>>().len(), kept.len());
            let others = names.len() - usize::from(owner.is_some());
            prop_assert_eq!(kept.len(), copies.min(others), "as many as there can be");
        }
    }

    #[test]
    fn copies_are_spread_where_shards_are(instances in 2_usize..7, first in 0_usize..7) {
        let names = names(instances);
        let owners: Vec<usize> = (0..48).map(|shard| (first + shard) % instances).collect();
        let copies = assigned(48, 1, &owners, &names);
        let fair = 48_usize.div_ceil(instances);
        let loads = loads(&copies);
        prop_assert!(loads.values().all(|load| *load <= fair + 2), "{:?}", loads);
    }

    #[test]
    fn a_shard_that_changes_hands_moves_few_copies(
        instances in 3_usize..7,
        shard in 0_usize..48,
        to in 0_usize..7,
    ) {
        let names = names(instances);
        let mut owners: Vec<usize> = (0..48).map(|shard| shard % instances).collect();
        let before = assigned(48, 1, &owners, &names);
        owners[shard] = to % instances;
        let after = assigned(48, 1, &owners, &names);
        prop_assert!(moved(&before, &after) <= 12, "{}", moved(&before, &after));
    }
}

#[test]
fn one_instance_more_moves_little_more_than_its_share() {
    for instances in 2..7 {
        let owners: Vec<usize> = (0..48).map(|shard| shard % instances).collect();
        let before = assigned(48, 1, &owners, &names(instances));
        let after = assigned(48, 1, &owners, &names(instances + 1));
        let (moved, share) = (moved(&before, &after), 48 / (instances + 1));
        assert!(moved <= 2 * share + 6, "{instances} and one more: {moved} moved, the share is {share}");
    }
}
