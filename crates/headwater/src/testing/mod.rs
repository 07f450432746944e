//! Tests of a domain in one line: events given, a command, what comes out.
//!
//! ```
//! # use headwater::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Clone, Default, Serialize, Deserialize)] struct Door { open: bool }
//! # #[derive(Serialize, Deserialize)] enum Command { Open }
//! # #[derive(Debug, PartialEq, Serialize, Deserialize)] enum Event { Opened }
//! # #[derive(Debug, PartialEq, Serialize, Deserialize)] enum Rejection { IsOpen }
//! # impl Aggregate for Door {
//! #     const NAME: &'static str = "door";
//! #     type Id = String; type Command = Command; type Event = Event; type Rejection = Rejection;
//! #     fn decide(&self, _: Command, _: &Context) -> Result<Vec<Event>, Rejection> {
//! #         if self.open { Err(Rejection::IsOpen) } else { Ok(vec![Event::Opened]) }
//! #     }
//! #     fn evolve(&mut self, _: &Event) { self.open = true; }
//! # }
//! use headwater::testing::given;
//!
//! given::<Door>([]).when(Command::Open).accepted([Event::Opened]);
//! given::<Door>([Event::Opened]).when(Command::Open).rejected(Rejection::IsOpen);
//! ```

mod driver;

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use headwater_core::clock::Timestamp;

use crate::aggregate::{Aggregate, Context};
use crate::command::CommandId;
use crate::event::read_payload;

pub use driver::{Driver, Rows};

/// Set to any value, it lets [`schema`] write the file instead of comparing.
const UPDATE: &str = "UPDATE_SCHEMAS";

/// A time, as RFC 3339 writes it: `2026-03-01T23:59:59Z`.
///
/// # Panics
///
/// If it is none.
#[track_caller]
pub fn at(time: &str) -> Timestamp {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => Timestamp(time.as_millisecond()),
        Err(error) => panic!("{time:?} is no time: {error}"),
    }
}

/// The beginning of a day in UTC: `2026-03-01`.
///
/// # Panics
///
/// If it is none.
#[track_caller]
pub fn day(date: &str) -> Timestamp {
    at(&format!("{date}T00:00:00Z"))
}

/// An aggregate with these events behind it.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    events.into_iter().for_each(|event| state.evolve(&event));
    Given { state, time: Timestamp(0) }
}

/// An aggregate that a command can be sent to.
#[must_use]
pub struct Given<A> {
    state: A,
    time: Timestamp,
}

impl<A: Aggregate> Given<A> {
    /// Decides at this time; the epoch unless set.
    pub fn at(self, time: Timestamp) -> Self {
        Self { time, ..self }
    }

    /// Sends a command.
    pub fn when(self, command: A::Command) -> Decision<A> {
        let id = CommandId::new("test").expect("a short word is a command id");
        let context = Context::new(b"test", id, self.time);
        Decision { decided: self.state.decide(command, &context), state: self.state }
    }
}

/// What was decided.
#[must_use]
pub struct Decision<A: Aggregate> {
    decided: Result<Vec<A::Event>, A::Rejection>,
    state: A,
}

impl<A: Aggregate> Decision<A>
where
    A::Event: Debug + PartialEq,
    A::Rejection: Debug + PartialEq,
{
    /// Asserts that the command led to these events; answers the state after them.
    ///
    /// # Panics
    ///
    /// If it led to others, or was rejected.
    #[track_caller]
    pub fn accepted(mut self, events: impl IntoIterator<Item = A::Event>) -> A {
        let events: Vec<_> = events.into_iter().collect();
        assert_eq!(self.decided.as_ref(), Ok(&events));
        events.iter().for_each(|event| self.state.evolve(event));
        self.state
    }

    /// Asserts that the command was rejected so.
    ///
    /// # Panics
    ///
    /// If it was rejected otherwise, or accepted.
    #[track_caller]
    pub fn rejected(self, rejection: A::Rejection) {
        assert_eq!(self.decided, Err(rejection));
    }
}

/// Asserts that a committed file holds the schema that the events have now.
///
/// # Panics
///
/// If they differ, saying how to update the file once the change is meant.
#[track_caller]
pub fn schema(file: impl AsRef<Path>, now: &serde_json::Value) {
    let file = file.as_ref();
    let now = format!("{now:#}\n");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(file, &now).expect("the schema's file can be written");
    }
    let committed = fs::read_to_string(file).unwrap_or_default();
    let hint = "record a payload of the old shape, raise the event's version if it needs an upcaster";
    assert_eq!(
        committed,
        now,
        "the events changed: {hint}, then run with {UPDATE}=1 to write {}",
        file.display()
    );
}

/// Asserts that every payload recorded in a directory is still read: `<type>.v<version>.<anything>.json`.
///
/// Answers the events, in the order of the files' names.
///
/// # Panics
///
/// If one cannot be read, or there is none.
#[track_caller]
pub fn recorded<A: Aggregate>(directory: impl AsRef<Path>) -> Vec<A::Event> {
    let entries = fs::read_dir(directory).expect("the directory of recorded payloads can be read");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("its entries can be read").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no payload is recorded");
    files.iter().map(|file| recorded_event::<A>(file)).collect()
}

#[track_caller]
fn recorded_event<A: Aggregate>(file: &Path) -> A::Event {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut parts = name.split('.');
    let type_name = parts.next().unwrap_or_default();
    let version = parts.next().and_then(|version| version.strip_prefix('v')?.parse().ok());
    let version = version.unwrap_or_else(|| panic!("{name} is not named <type>.v<version>.<anything>.json"));
    let payload = fs::read(file).expect("a recorded payload can be read");
    read_payload::<A>(type_name, version, &payload).unwrap_or_else(|error| panic!("{name}: {error}"))
}
