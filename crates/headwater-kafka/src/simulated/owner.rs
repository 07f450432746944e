//! A process that takes part in a group, and writes for the shard while it has it.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use headwater_core::clock::Timestamp;
use headwater_core::log::{
    Claim, CommitError, Head, Log, LogErrorKind, Opened, ReadLimit, ShardChange, Transaction, Wait, Writer,
};
use headwater_core::position::Position;
use headwater_core::record::{Append, Record};
use headwater_core::topic::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::history::{Piece, Told};
use super::world::{OUT_PARTITIONS, World, group, input, out};
use crate::KafkaLog;

/// After something failed that may succeed in a while.
const PAUSE: Duration = Duration::from_millis(200);

/// Lives until it is told to end, or its membership ends.
pub(super) async fn live(world: Arc<World>, log: Arc<KafkaLog>, mut rng: Rng, end: CancellationToken) {
    let mut owning: Option<(CancellationToken, tokio::task::JoinHandle<()>)> = None;
    let mut member = loop {
        if end.is_cancelled() {
            return;
        }
        match log.join(&group()).await {
            Ok(member) => break member,
            Err(_) => sleep(PAUSE).await,
        }
    };
    loop {
        let change = tokio::select! {
            change = member.next() => change,
            () = end.cancelled() => break,
        };
        match change {
            Ok(ShardChange::Gained(_, claim)) => {
                let over = CancellationToken::new();
                let owner = Owner { world: world.clone(), log: log.clone(), claim, over: over.clone() };
                owning = Some((over, tokio::spawn(owner.own(rng.fork()))));
            }
            Ok(ShardChange::Revoked(_) | ShardChange::Lost(_)) => give_up(&mut owning).await,
            Err(_) => break,
        }
    }
    give_up(&mut owning).await;
    // The cluster may be out of reach; then it notices.
    let _ = member.leave().await;
}

async fn give_up(owning: &mut Option<(CancellationToken, tokio::task::JoinHandle<()>)>) {
    if let Some((over, task)) = owning.take() {
        over.cancel();
        // It ends after the commit that it is at.
        let _ = task.await;
    }
}

struct Owner {
    world: Arc<World>,
    log: Arc<KafkaLog>,
    claim: Box<dyn Claim>,
    over: CancellationToken,
}

impl Owner {
    async fn own(self, mut rng: Rng) {
        let mut earlier: Option<(Box<dyn Writer>, u64)> = None;
        while !self.over.is_cancelled() {
            let Opened { writer, head } = match self.claim.open().await {
                Ok(opened) => opened,
                Err(error) if error.kind() == LogErrorKind::Fenced => return,
                Err(_) => {
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let base = position(head.as_ref());
            self.compare(head.as_ref()).await;
            if let Some((mut writer, base)) = earlier.take() {
                // Whoever was opened before is fenced, whatever it believes.
                let told = self.write(&mut *writer, base, &mut rng).await;
                if matches!(told, Told::Written(_)) {
                    self.world
                        .history
                        .violation(format!("a writer that was fenced wrote after position {base}"));
                }
            }
            earlier = self.write_on(writer, base, &mut rng).await;
        }
    }

    /// Writes until the writer is dead or another one is wanted; then answers the one that lives, and its position.
    async fn write_on(
        &self,
        mut writer: Box<dyn Writer>,
        mut base: u64,
        rng: &mut Rng,
    ) -> Option<(Box<dyn Writer>, u64)> {
        loop {
            if self.over.is_cancelled() || rng.u8(..12) == 0 {
                return Some((writer, base));
            }
            match self.write(&mut *writer, base, rng).await {
                Told::Written(_) => base += 1,
                Told::NotWritten => {}
                Told::Fenced | Told::Unknown => return None,
            }
            sleep(Duration::from_millis(rng.u64(..150))).await;
        }
    }

    async fn write(&self, writer: &mut dyn Writer, base: u64, rng: &mut Rng) -> Told {
        let partitions: Vec<u32> = (0..rng.usize(1..5)).map(|_| rng.u32(..OUT_PARTITIONS)).collect();
        let id = self.world.history.tries(Some(base), &partitions);
        let transaction = Transaction {
            appends: pieces(id, &partitions),
            positions: Position::from_iter([(input(), Offset(base + 1))]),
            note: Bytes::from(id.to_string()),
        };
        let commit = writer.commit(transaction);
        // Whoever loses patience has lost the answer, and nothing else.
        let patience = if rng.u8(..20) == 0 { Duration::from_millis(rng.u64(1..50)) } else { Duration::MAX };
        let told = match timeout(patience, commit).await {
            Ok(Ok(offsets)) => Told::Written(offsets),
            Ok(Err(CommitError::NotWritten { .. } | CommitError::Abandoned(_))) => Told::NotWritten,
            Ok(Err(CommitError::Fenced)) => Told::Fenced,
            Ok(Err(CommitError::Unknown(_))) | Err(_) => Told::Unknown,
        };
        self.world.history.told(id, told.clone());
        told
    }

    /// A writer was opened: what the topic holds up to its end now is what the head says, and stays so.
    async fn compare(&self, head: Option<&Head>) {
        let mut found: BTreeMap<Piece, Vec<(u32, u64)>> = BTreeMap::new();
        for partition in 0..OUT_PARTITIONS {
            let Some(pieces) = read_all(&self.log, partition, &self.over).await else { return };
            for (piece, offset) in pieces {
                found.entry(piece).or_default().push((partition, offset));
            }
        }
        let written = self.world.history.chain(&found).len() as u64;
        let says = position(head);
        // Another one may have opened its writer and written since.
        if written < says {
            self.world.history.violation(format!("a head says {says} where {written} attempts are written"));
        }
    }
}

/// What one partition holds up to its end; `None` if it cannot be read before it is over.
pub(super) async fn read_all(
    log: &KafkaLog,
    partition: u32,
    over: &CancellationToken,
) -> Option<Vec<(Piece, u64)>> {
    let at = out().partition(partition);
    let end = loop {
        if over.is_cancelled() {
            return None;
        }
        match log.bounds(&at).await {
            Ok(bounds) => break bounds.end,
            Err(_) => sleep(PAUSE).await,
        }
    };
    let (mut next, mut pieces) = (Offset::ZERO, Vec::new());
    while next < end {
        let batch = tokio::select! {
            batch = log.read(&at, next, ReadLimit::default(), Wait::UntilMore) => batch,
            () = over.cancelled() => return None,
        };
        let Ok(batch) = batch else {
            sleep(PAUSE).await;
            continue;
        };
        next = batch.next;
        let read = batch.records.iter().filter_map(|stored| {
            let piece = Piece::parse(stored.record.value.as_deref()?)?;
            Some((piece, stored.offset.0))
        });
        pieces.extend(read);
    }
    Some(pieces)
}

/// The records of an attempt.
pub(super) fn pieces(attempt: u64, partitions: &[u32]) -> Vec<Append> {
    let piece = |(index, partition): (usize, &u32)| {
        let text = Piece { attempt, index }.text();
        Append { to: out().partition(*partition), record: Record::new("key", text, Timestamp(1)) }
    };
    partitions.iter().enumerate().map(piece).collect()
}

/// How far a head says that the shard has come.
pub(super) fn position(head: Option<&Head>) -> u64 {
    head.and_then(|head| head.positions.get(&input())).map_or(0, |next| next.0)
}
