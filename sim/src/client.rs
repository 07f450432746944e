//! Callers: commands under known ids, some repeated, some with another content, some by the topic; and reads after them.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use headwater::{CommandId, Receipt, Running};
use headwater::{Outcome, QueryError};

use crate::bank::{Account, Command, account_of, owner_of};
use crate::history::{Sending, Told};
use crate::world::{Life, World, idle};

/// How many accounts there are.
pub(crate) const ACCOUNTS: u64 = 5;
/// How many command ids each account has.
const IDS: u64 = 14;
/// How far a later content under the same id differs in its tag.
const OTHER_CONTENT: u64 = 1 << 32;

/// A command that is about to be sent.
pub(crate) struct Planned {
    pub(crate) id: String,
    pub(crate) command: Command,
    pub(crate) expected: Option<u64>,
}

impl Planned {
    fn draw(rng: &mut Rng, version_known: u64) -> Self {
        let id = format!("a{}/{}", rng.u64(..ACCOUNTS), rng.u64(..IDS));
        let command = content(&id, rng.u8(..8) == 0);
        let expected = (rng.u8(..6) == 0).then_some(version_known + u64::from(rng.bool()));
        Self { id, command, expected }
    }
}

/// What is sent under an id: always the same, or always the same other content.
pub(crate) fn content(id: &str, other: bool) -> Command {
    let seed = id.bytes().fold(7u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(u64::from(byte)));
    let mut rng = Rng::with_seed(seed ^ u64::from(other));
    let pocket = |number: u8| format!("p{number}");
    let from = rng.u8(..3);
    let to = (0..3).filter(|number| *number != from).take(rng.usize(1..=2)).map(pocket).collect();
    let amount = [0, 1, 5, 5, 12, 20][rng.usize(..6)];
    let tag = seed % OTHER_CONTENT + if other { OTHER_CONTENT } else { 0 };
    Command { from: pocket(from), to, amount, tag }
}

/// Sends a number of commands, one after another.
pub(crate) async fn run(world: Arc<World>, mut rng: Rng, commands: u32) {
    let mut versions = vec![0; ACCOUNTS as usize];
    let mut receipt: Option<(String, Receipt)> = None;
    for _ in 0..commands {
        let account = rng.usize(..versions.len());
        let planned = Planned::draw(&mut rng, versions[account]);
        if let Some(new) = send_until_told(&world, &mut rng, &planned).await {
            versions[account_number(&planned.id)] = new.version.0;
            receipt = Some((account_of(&planned.id).to_owned(), new));
        }
        if let Some((account, receipt)) = receipt.as_ref().filter(|_| rng.bool()) {
            read_back(&world, &world.life(), account, receipt).await;
        }
        idle(&mut rng).await;
    }
}

fn account_number(id: &str) -> usize {
    account_of(id)[1..].parse().expect("an account is named \"a\" and a number")
}

/// Sends a command, mostly again until something final is told.
async fn send_until_told(world: &World, rng: &mut Rng, planned: &Planned) -> Option<Receipt> {
    for _ in 0..3 {
        let receipt =
            if rng.u8(..4) == 0 { by_topic(world, rng, planned).await } else { direct(world, planned).await };
        if receipt.is_some() || rng.u8(..3) == 0 {
            return receipt;
        }
        idle(rng).await;
    }
    None
}

/// Sends a command directly and notes what is told.
pub(crate) async fn direct(world: &World, planned: &Planned) -> Option<Receipt> {
    let life = world.life();
    let sent = send(&life.running, &life, planned);
    let answer = sent.await;
    let receipt = match &answer {
        Ok(Outcome::Accepted(receipt)) => Some(receipt.clone()),
        _ => None,
    };
    let told = Told::of(answer);
    if let Told::Accepted(version) = told {
        world.history.acknowledge(life.number, account_of(&planned.id), version);
    }
    note(world, planned, told);
    receipt
}

fn send(running: &Running, life: &Life, planned: &Planned) -> headwater::Send<Account> {
    let account = account_of(&planned.id).to_owned();
    let sent = running.send(&life.handles.accounts, &account, planned.command.clone());
    let sent = sent.command_id(command_id(&planned.id));
    match planned.expected {
        Some(version) => sent.expect_version(version),
        None => sent,
    }
}

pub(crate) fn command_id(id: &str) -> CommandId {
    CommandId::new(id).expect("the ids of the simulation are short and plain")
}

fn note(world: &World, planned: &Planned, told: Told) {
    let sending = Sending { command: planned.command.clone(), expected: planned.expected, told };
    world.history.note(&planned.id, sending);
}

/// Sends a command by the topic, and mostly asks for its outcome.
async fn by_topic(world: &World, rng: &mut Rng, planned: &Planned) -> Option<Receipt> {
    let life = world.life();
    let sent = send(&life.running, &life, planned).by_topic().await;
    note(world, planned, if sent.is_ok() { Told::Enqueued } else { Told::MaybeEnqueued });
    if rng.u8(..4) == 0 {
        return None;
    }
    let within = Duration::from_millis(rng.u64(..2_000));
    ask(world, &life, &planned.id, within).await
}

/// Asks for an outcome and notes it.
pub(crate) async fn ask(world: &World, life: &Life, id: &str, within: Duration) -> Option<Receipt> {
    let account = account_of(id).to_owned();
    let asked = life.running.outcome(&life.handles.accounts, &account, &command_id(id)).within(within).await;
    let told = match asked.transpose()? {
        Ok(Outcome::Accepted(receipt)) => {
            world.history.acknowledge(life.number, &account, receipt.version.0);
            world.history.asked(id, Told::Accepted(receipt.version.0));
            return Some(receipt);
        }
        other => Told::of(other),
    };
    if told.is_final() {
        world.history.asked(id, told);
    }
    None
}

/// Reads every view after a receipt: an answer includes what the receipt is for.
async fn read_back(world: &World, life: &Life, account: &str, receipt: &Receipt) {
    let (running, handles) = (&life.running, &life.handles);
    let version = receipt.version.0;
    let broken = |view: &str, has: u64| {
        world.history.violation(format!(
            "life {}: view {view} answered after a receipt of {account} at version {version} with version {has}",
            life.number
        ));
    };
    let owner = owner_of(account);
    let Ok(ledger) = running.view(&handles.ledger) else { return };
    if let Ok(answer) = ledger.after(receipt).get(&account.to_owned()).await {
        let has = answer.value.map_or(0, |row| row.entries);
        (has < version).then(|| broken("ledger", has));
    }
    let Ok(totals) = running.view(&handles.totals) else { return };
    if let Ok(answer) = totals.after(receipt).get(&account.to_owned()).await {
        let has = answer.value.unwrap_or(0);
        (has < version).then(|| broken("totals", has));
    }
    let Ok(pockets) = running.view(&handles.pockets) else { return };
    let rows: Result<_, QueryError> = pockets.after(receipt).of(&owner).await;
    if let Ok(rows) = rows {
        let has = rows.iter().filter_map(|(_, row)| row.seen.get(account)).max().copied().unwrap_or(0);
        (has < version).then(|| broken("pockets", has));
    }
}
