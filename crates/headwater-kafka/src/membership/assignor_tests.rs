//! Groups in words: `a@3:0,1` is the member `a`, which claims shards 0 and 1 of generation 3.

use super::*;

fn claimant(text: &str) -> Claimant {
    let (who, owned) = text.split_once(':').unwrap();
    let (name, generation) = who.split_once('@').unwrap_or((who, "-1"));
    let takes_part = !name.starts_with('!');
    let owned = owned.split(',').filter(|shard| !shard.is_empty());
    Claimant {
        id: name.to_owned(),
        name: name.to_owned(),
        takes_part,
        generation: generation.parse().unwrap(),
        owned: owned.map(|shard| Partition(shard.parse().unwrap())).collect(),
    }
}

fn claimants(text: &str) -> Vec<Claimant> {
    text.split_whitespace().map(claimant).collect()
}

fn told(shares: &Shares) -> String {
    let share = |(id, shards): (&String, &BTreeSet<Partition>)| {
        let shards: Vec<String> = shards.iter().map(|shard| shard.0.to_string()).collect();
        format!("{id}:{}", shards.join(","))
    };
    shares.iter().map(share).collect::<Vec<_>>().join(" ")
}

#[test]
fn shards_are_kept_shared_evenly_and_taken_before_they_are_given() {
    let cases = [
        ("nobody has anything", 5, "a: b:", "a:0,2,4 b:1,3"),
        ("a lone member gets all", 3, "a:", "a:0,1,2"),
        ("nobody is there", 3, "", ""),
        ("more members than shards", 2, "a: b: c:", "a:0 b:1 c:"),
        ("what is balanced stays", 5, "a@4:1,3 b@4:0,2,4", "a:1,3 b:0,2,4"),
        (
            "of who owns more, what is too much is taken, and given to nobody yet",
            6,
            "a@2:0,1,2,3,4,5 b:",
            "a:0,1,2 b:",
        ),
        ("then it is given", 6, "a@3:0,1,2 b@3:", "a:0,1,2 b:3,4,5"),
        ("one shard too many moves alone", 6, "a@5:0,1 b@5:2,3 c@5:4,5 d:", "a:0,1 b:2,3 c:4 d:"),
        ("what a member left behind goes to the others", 6, "a@5:0,1 c@5:4,5", "a:0,1,2 c:3,4,5"),
        ("a member that came back anew gets what nobody has", 4, "a@5:0,1 b:", "a:0,1 b:2,3"),
        ("the later claim is the owner's", 4, "a@5:0,1 b@6:1,2,3", "a:0 b:1,2"),
        ("an older claim alone is good", 4, "a@5:0,1 b@6:2,3", "a:0,1 b:2,3"),
        ("of two equal claims neither is", 2, "a@5:0 b@5:0,1", "a: b:1"),
        ("who does not take part gets nothing", 3, "!x@9: a@9:0", "!x: a:0,1,2"),
        ("and what it claims is not given on before it lets go", 3, "!x@9:1 a@9:0", "!x: a:0,2"),
        ("a shard that does not exist is nobody's", 2, "a@1:0,1,2 b:", "a:0 b:"),
    ];
    for (what, shards, members, expected) in cases {
        assert_eq!(told(&assign(shards, &claimants(members))), expected, "{what}");
    }
}

/// What the members own once they have taken what they were given and given up what they were not.
fn next(members: &[Claimant], shares: &Shares, generation: i32) -> Vec<Claimant> {
    let next =
        |member: &Claimant| Claimant { generation, owned: shares[&member.id].clone(), ..member.clone() };
    members.iter().map(next).collect()
}

#[test]
fn whatever_a_group_begins_with_two_generations_share_everything_evenly_and_no_shard_has_two_owners() {
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..500 {
        let shards = random.u32(1..20);
        let count = random.usize(1..7);
        let mut members: Vec<Claimant> = (0..count).map(|n| claimant(&format!("m{n}@3:"))).collect();
        for shard in (0..shards).map(Partition) {
            if random.bool() {
                members[random.usize(..count)].owned.insert(shard);
            }
        }
        for generation in 4..6 {
            let shares = assign(shards, &members);
            for (id, share) in &shares {
                let owned_elsewhere = |shard: &Partition| {
                    members.iter().any(|member| member.id != *id && member.owned.contains(shard))
                };
                assert!(!share.iter().any(owned_elsewhere), "round {round}: {members:?} {shares:?}");
            }
            let given: usize = shares.values().map(BTreeSet::len).sum();
            let apart: BTreeSet<Partition> = shares.values().flatten().copied().collect();
            assert_eq!(given, apart.len(), "round {round}: {shares:?}");
            members = next(&members, &shares, generation);
        }
        let counts: Vec<usize> = members.iter().map(|member| member.owned.len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), shards as usize, "round {round}: {members:?}");
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "round {round}: {members:?}");
        // At rest, nothing moves any more.
        let rest = assign(shards, &members);
        assert!(members.iter().all(|member| rest[&member.id] == member.owned), "round {round}: {members:?}");
    }
}
