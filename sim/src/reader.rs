//! Readers: whatever they see, at any moment, is no half of a command and not older than what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use headwater::Update;
use headwater::core::position::Position;

use crate::bank::{Pocket, owner_of, owners};
use crate::client::ACCOUNTS;
use crate::world::{Life, World, idle};

/// Polls every kind of query until the world is done.
pub(crate) async fn poll(world: Arc<World>, mut rng: Rng) {
    while !world.done.is_cancelled() {
        let life = world.life();
        let account = format!("a{}", rng.u64(..ACCOUNTS));
        match rng.u8(..4) {
            0 => state(&world, &life, &account).await,
            1 => ledger(&world, &life, &account).await,
            2 => owner(&world, &life, &owner_of(&account)).await,
            _ => scan(&world, &life).await,
        }
        idle(&mut rng).await;
        // Nothing moves the paused time while somebody is always ready to run.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn state(world: &World, life: &Life, account: &String) {
    let floor = world.acknowledged(life, account);
    let Ok((version, state)) = life.running.state(&life.handles.accounts, account).await else { return };
    if version.0 < floor {
        world.history.violation(format!(
            "life {}: {account} was read at version {version} after {floor} was acknowledged",
            life.number
        ));
    }
    if state.entries != version.0 {
        world.history.violation(format!("{account} at version {version} has {} entries", state.entries));
    }
    balanced(world, &format!("the state of {account}"), state.pockets.values().copied());
}

async fn ledger(world: &World, life: &Life, account: &String) {
    let Ok(ledger) = life.running.view(&life.handles.ledger) else { return };
    if let Ok(row) = ledger.get(account).await {
        let pockets = row.value.unwrap_or_default().pockets;
        balanced(world, &format!("the ledger of {account}"), pockets.values().copied());
    }
}

async fn owner(world: &World, life: &Life, owner: &String) {
    let Ok(pockets) = life.running.view(&life.handles.pockets) else { return };
    if let Ok(rows) = pockets.of(owner).await {
        balanced(world, &format!("the pockets of {owner}"), rows.iter().map(|(_, row)| row.sum));
    }
}

async fn scan(world: &World, life: &Life) {
    let Ok(pockets) = life.running.view(&life.handles.pockets) else { return };
    let Ok(page) = pockets.scan(1_000, None).await else { return };
    for owner in owners() {
        let mine = page.rows.iter().filter(|((of, _), _)| *of == owner);
        balanced(world, &format!("the scanned pockets of {owner}"), mine.map(|(_, row)| row.sum));
    }
}

fn balanced(world: &World, what: &str, sums: impl Iterator<Item = i64>) {
    let sum: i64 = sums.sum();
    if sum != 0 {
        world.history.violation(format!("half a command was seen: {what} add up to {sum}"));
    }
}

/// What a watcher knows of an owner's pockets.
#[derive(Default)]
pub(crate) struct Watched {
    pub(crate) rows: BTreeMap<String, Pocket>,
    position: Option<Position>,
}

/// Follows the changes of an owner's pockets through every life until the world is done; answers what it knows then.
pub(crate) async fn watch(world: Arc<World>, owner: String) -> Watched {
    let mut watched = Watched::default();
    while !world.done.is_cancelled() {
        let life = world.life();
        tokio::select! {
            biased;
            () = world.done.cancelled() => break,
            () = life.ended.cancelled() => {}
            () = follow(&world, &life, &owner, &mut watched) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    watched
}

/// Follows the changes until they cannot be read any more.
pub(crate) async fn follow(world: &World, life: &Life, owner: &String, watched: &mut Watched) {
    let Ok(pockets) = life.running.view(&life.handles.pockets) else { return };
    let Ok(mut changes) = pockets.changes(owner, watched.position.as_ref()).await else { return };
    // A batch that was cut off is told again from the position before it.
    let mut rows = watched.rows.clone();
    while let Ok(update) = changes.next().await {
        let ends = match update {
            Update::Reset { rows: all, position } => {
                rows = all.into_iter().collect();
                Some(position)
            }
            Update::Change { key, value, position } => {
                match value {
                    Some(value) => drop(rows.insert(key, value)),
                    None => drop(rows.remove(&key)),
                }
                position
            }
        };
        if let Some(position) = ends {
            balanced(world, &format!("the watched pockets of {owner}"), rows.values().map(|row| row.sum));
            (watched.rows, watched.position) = (rows.clone(), Some(position));
        }
    }
}
