//! Aggregates: what a user writes to decide commands.
//!
//! Deciding and evolving are synchronous and pure. Everything that a decision may depend on is the state, the command
//! and the [`Context`]; the same three always give the same events.

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::command::CommandId;
use headwater_core::clock::Timestamp;
use headwater_core::key::Key;

/// A unit of consistency: a state folded from its own events, deciding its own commands.
///
/// # Contract
///
/// - [`decide`](Aggregate::decide) and [`evolve`](Aggregate::evolve) are deterministic: no clock, no randomness, no
///   I/O. What they need of time and ids is in the [`Context`].
/// - `evolve` accepts every event that `decide` ever returned, in the order returned, also those of older versions
///   (after [`upcast`](Aggregate::upcast)). It works on a copy, which replaces the state only when the whole command
///   succeeded.
/// - A panic in either refuses that one command; the aggregate stays as it was.
///
/// ```
/// use headwater::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Counter { total: u64 }
///
/// #[derive(Serialize, Deserialize)]
/// enum Command { Add(u64) }
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum Event { Added(u64) }
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum Rejection { NothingToAdd }
///
/// impl Aggregate for Counter {
///     const NAME: &'static str = "counter";
///     type Id = String;
///     type Command = Command;
///     type Event = Event;
///     type Rejection = Rejection;
///
///     fn decide(&self, Command::Add(n): Command, _: &Context) -> Result<Vec<Event>, Rejection> {
///         if n == 0 { Err(Rejection::NothingToAdd) } else { Ok(vec![Event::Added(n)]) }
///     }
///
///     fn evolve(&mut self, Event::Added(n): &Event) {
///         self.total += n;
///     }
/// }
///
/// headwater::testing::given::<Counter>([Event::Added(1)])
///     .when(Command::Add(2))
///     .accepted([Event::Added(2)]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no aggregate",
    note = "implement `headwater::Aggregate`: a state (Default, Clone, Serialize, Deserialize) with `decide` and `evolve`"
)]
pub trait Aggregate: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The aggregate's name: decides its topics and stores, so it never changes.
    const NAME: &'static str;
    /// The version of the state's shape. Raising it folds every state anew from the events.
    const STATE_VERSION: u32 = 1;
    /// The version of the events' shape that `decide` returns; older ones are read through `upcast`.
    const EVENT_VERSION: u32 = 1;

    /// What names one aggregate among its kind.
    type Id: Key;
    /// A request to change one aggregate.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// A fact: usually an enum, whose variant becomes the event's type.
    type Event: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// A refusal in the domain's own words.
    type Rejection: Serialize + DeserializeOwned + Send + 'static;

    /// Decides a command: the events that it leads to, none if nothing is to change, or a rejection.
    ///
    /// # Errors
    ///
    /// A rejection refuses the command; it is kept as its outcome.
    fn decide(&self, command: Self::Command, context: &Context) -> Result<Vec<Self::Event>, Self::Rejection>;

    /// Takes an event into the state.
    fn evolve(&mut self, event: &Self::Event);

    /// Brings an event of an older version into the shape of [`EVENT_VERSION`](Aggregate::EVENT_VERSION).
    ///
    /// # Errors
    ///
    /// What is wrong with the event; the shard stops there, naming the record.
    fn upcast(old: OldEvent) -> Result<OldEvent, String> {
        Err(format!("there is no upcaster from version {} of \"{}\"", old.version, old.type_name))
    }
}

/// An event of an older version, on its way through [`Aggregate::upcast`].
#[derive(Debug, Clone, PartialEq)]
pub struct OldEvent {
    /// The version that wrote it.
    pub version: u32,
    /// The event's type, without the aggregate's name.
    pub type_name: String,
    /// Its payload.
    pub payload: serde_json::Value,
}

/// What a decision may know besides the state and the command.
#[derive(Debug, Clone)]
pub struct Context {
    command_id: CommandId,
    time: Timestamp,
    seed: [u8; 16],
}

impl Context {
    /// The context of the command with this id, decided at this time, on the aggregate that `scope` names.
    pub fn new(scope: &[u8], command_id: CommandId, time: Timestamp) -> Self {
        let seed = crate::digest::digest([scope, command_id.as_str().as_bytes()]);
        Self { command_id, time, seed }
    }

    /// The command's id.
    pub fn command_id(&self) -> &CommandId {
        &self.command_id
    }

    /// The time of the decision; events carry it.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The `n`th id derived from this command: the same each time the command is decided.
    pub fn id(&self, n: u64) -> Uuid {
        Uuid::new_v8(crate::digest::digest([&self.seed[..], &n.to_be_bytes()]))
    }
}
