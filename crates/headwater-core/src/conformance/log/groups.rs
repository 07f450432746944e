//! Rules about membership: who has which shard.

use std::collections::BTreeSet;

use super::future::{First, first_of, poll_times, yield_now};
use super::ground::{Ground, Shards, Verdict, ensure, fails, same};
use crate::log::{Claim, LogErrorKind};
use crate::topic::Partition;

const SHARDS: u32 = 4;

pub(super) async fn a_member_gains_every_shard_once(ground: Ground<'_>) -> Verdict {
    let mut only = ground.shards("input", SHARDS).await?;
    same("the shards gained", claimed(&only), (0..SHARDS).map(Partition).collect())?;
    let more = ground.within_a_moment(only.next()).await;
    ensure!(more.is_none(), "a member that has every shard was told {more:?}");
    for shard in 0..SHARDS {
        only.open(shard).await?.writer.commit(only.transaction(shard, 1, vec![])).await?;
    }
    Ok(())
}

pub(super) async fn members_share_the_shards(ground: Ground<'_>) -> Verdict {
    let mut first = ground.shards("input", SHARDS).await?;
    let mut second = ground.join_late(&first.group).await?;
    let early = ground.within_a_moment(second.next()).await;
    ensure!(early.is_none(), "a member was told {early:?} while another holds every claim");
    ground.await_for("share the shards between two members", share(&mut first, &mut second)).await?;
    for members in [&first, &second] {
        for shard in claimed(members) {
            let transaction = members.transaction(shard.0, 1, vec![]);
            members.open(shard.0).await?.writer.commit(transaction).await?;
        }
    }
    let claims = first.leave().await?;
    ground.await_for("gain the shards of a member that left", second.gain_all()).await?;
    drop(claims);
    let head = second.head(0).await?.unwrap_or_default();
    same("the head that a shard brings along", head.positions, second.transaction(0, 1, vec![]).positions)
}

pub(super) async fn a_dropped_member_has_left(ground: Ground<'_>) -> Verdict {
    let first = ground.shards("input", SHARDS).await?;
    let mut second = ground.join_late(&first.group).await?;
    drop(first);
    ground.await_for("gain the shards of a member that is gone", second.gain_all()).await
}

pub(super) async fn a_dropped_wait_loses_no_change(ground: Ground<'_>) -> Verdict {
    let mut first = ground.shards("input", SHARDS).await?;
    let mut second = ground.join_late(&first.group).await?;
    drop(std::mem::take(&mut first.claims));
    first.leave().await?;
    let mut round = 0;
    while second.claims.len() < SHARDS as usize {
        let change = {
            let mut next = second.next();
            let polls = round % 3;
            match poll_times(&mut next, polls).await {
                Some(change) => Some(change),
                None if round % 4 == 3 => {
                    Some(ground.await_for("be told a change after waits were dropped", next).await)
                }
                None => None,
            }
        };
        if let Some(change) = change {
            second.take(change?);
        }
        round += 1;
        yield_now().await;
    }
    Ok(())
}

pub(super) async fn a_stale_claim_opens_nothing(ground: Ground<'_>) -> Verdict {
    let first = ground.shards("input", SHARDS).await?;
    let mut second = ground.join_late(&first.group).await?;
    let claims = first.leave().await?;
    ground.await_for("gain the shards of a member that left", second.gain_all()).await?;
    for (shard, claim) in &claims {
        let opened = claim.open().await.map(|_| ());
        fails(&format!("opening shard {shard} with a stale claim"), opened, LogErrorKind::Fenced)?;
    }
    let mut writer = second.open(0).await?.writer;
    let stale: Option<&Box<dyn Claim>> = claims.get(&Partition(0));
    if let Some(claim) = stale {
        fails("opening it again", claim.open().await.map(|_| ()), LogErrorKind::Fenced)?;
    }
    writer.commit(second.transaction(0, 1, vec![])).await?;
    Ok(())
}

fn claimed(shards: &Shards) -> BTreeSet<Partition> {
    shards.claims.keys().copied().collect()
}

/// Follows the changes of both members until each shard is one's, and each has one.
async fn share(first: &mut Shards, second: &mut Shards) -> Verdict {
    loop {
        let (mine, yours) = (claimed(first), claimed(second));
        let both: BTreeSet<_> = mine.intersection(&yours).collect();
        ensure!(both.is_empty(), "two members have {both:?}");
        if mine.len() + yours.len() == SHARDS as usize && !yours.is_empty() {
            return Ok(());
        }
        match first_of(first.next(), second.next()).await {
            First::Left(change) => first.take(change?),
            First::Right(change) => second.take(change?),
        }
    }
}
