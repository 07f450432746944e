//! Rows of all shards in the order of their keys, one page at a time.
//!
//! A key lies in one shard, and a page begins after the last key of the page before: so a row that stays is seen exactly
//! once, whichever rows come and go and wherever the shards move.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::QueryError;
use crate::runtime::peers::question::Made;

/// Rows that a shard is asked for beyond its share, so that an uneven one need not be asked again.
const SPARE: usize = 8;

type Rows = Vec<(Bytes, Bytes)>;

/// A page of all shards.
pub(super) struct Merged {
    pub(super) rows: Rows,
    /// Whether rows may follow.
    pub(super) more: bool,
    pub(super) made: Made,
}

/// One shard's rows as far as they were fetched.
struct Source {
    shard: u32,
    rows: VecDeque<(Bytes, Bytes)>,
    last: Option<Bytes>,
    exhausted: bool,
}

/// The first `limit` rows after a key, over all shards; `fetch` answers up to so many rows of one shard after a key.
pub(super) async fn merged<F>(
    shards: impl Iterator<Item = u32>,
    after: Option<Bytes>,
    limit: usize,
    fetch: impl Fn(u32, Option<Bytes>, usize) -> F,
) -> Result<Merged, QueryError>
where
    F: Future<Output = Result<(Rows, Made), QueryError>>,
{
    let shards: Vec<u32> = shards.collect();
    let share = (limit / shards.len().max(1) + SPARE).min(limit);
    let mut made = Made::default();
    let first = try_join_all(shards.iter().map(|shard| fetch(*shard, after.clone(), share))).await?;
    let mut sources = Vec::new();
    for (shard, (rows, of_shard)) in shards.into_iter().zip(first) {
        join(&mut made, &of_shard);
        let mut source = Source { shard, rows: VecDeque::new(), last: after.clone(), exhausted: false };
        source.take(rows, share);
        sources.push(source);
    }
    let mut rows = Vec::new();
    while rows.len() < limit {
        for source in sources.iter_mut().filter(|source| source.rows.is_empty() && !source.exhausted) {
            let (more, of_shard) = fetch(source.shard, source.last.clone(), share).await?;
            join(&mut made, &of_shard);
            source.take(more, share);
        }
        let heads = sources.iter_mut().filter(|source| !source.rows.is_empty());
        let Some(next) = heads.min_by(|a, b| a.rows[0].0.cmp(&b.rows[0].0)) else { break };
        rows.extend(next.rows.pop_front());
    }
    let more = sources.iter().any(|source| !source.rows.is_empty() || !source.exhausted);
    Ok(Merged { rows, more, made })
}

impl Source {
    fn take(&mut self, rows: Rows, asked: usize) {
        self.exhausted = rows.len() < asked;
        self.last = rows.last().map(|(key, _)| key.clone()).or(self.last.take());
        self.rows.extend(rows);
    }
}

/// Where and how an answer of several shards was made: as old as the oldest of them.
pub(super) fn join(all: &mut Made, of_shard: &Made) {
    all.position.advance(&of_shard.position);
    all.frozen_version = all.frozen_version.or(of_shard.frozen_version);
    all.stale_ms = all.stale_ms.max(of_shard.stale_ms);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever lies in which shard, the pages are all rows in order, each once.
        #[test]
        fn pages_of_all_shards_are_all_rows_in_order(
            keys in prop::collection::btree_set((0..5u32, any::<u16>()), 0..120),
            limit in 1..40_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // A key lies in one shard only.
            let mut seen = BTreeSet::new();
            let keys: Vec<_> = keys.into_iter().filter(|(_, key)| seen.insert(*key)).collect();
            let fetch = |shard, after: Option<Bytes>, limit| {
                let mine = keys.iter().filter(|(of, _)| *of == shard).map(|(_, key)| *key);
                let mine: BTreeSet<_> = mine.collect();
                let rows = mine.into_iter().map(|key| Bytes::copy_from_slice(&key.to_be_bytes()));
                let rows = rows.filter(|key| after.as_ref().is_none_or(|after| key > after)).take(limit);
                let rows: Rows = rows.map(|key| (key, Bytes::new())).collect();
                std::future::ready(Ok((rows, Made::default())))
            };
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let page = runtime.block_on(merged(0..5, after, limit, fetch)).unwrap();
                prop_assert!(page.rows.len() <= limit);
                all.extend(page.rows.iter().map(|(key, _)| u16::from_be_bytes([key[0], key[1]])));
                after = page.rows.last().map(|(key, _)| key.clone());
                if !page.more {
                    break;
                }
                prop_assert!(after.is_some(), "a page that more rows follow has one");
            }
            prop_assert_eq!(all, seen.into_iter().collect::<Vec<_>>());
        }
    }
}
