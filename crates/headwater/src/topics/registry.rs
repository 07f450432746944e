//! What an app's definitions topic remembers, whoever started the app before.
//!
//! ```text
//! key    "topology/NAME", "topic/NAME" or "migration"
//! value  {"is": FACT, "replaces": FACT or null}
//! FACT   of a topology, what may not change under its name; of a topic, {"id": HEX}; of a migration, its own
//! ```
//!
//! A record holds only if it replaces what held when it was appended: so of two programs that state different facts at
//! once, the first in the log is right, and both can tell. That needs every record: the topic is kept, never compacted.

use std::collections::{BTreeMap, BTreeSet};

use headwater_core::clock::Clock;
use headwater_core::log::{AppendError, Log, LogError, LogErrorKind, ReadLimit, Wait};
use headwater_core::record::{Append, Record};
use headwater_core::topic::{Offset, TopicId, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How often facts are stated before the log is taken to be unavailable.
const ATTEMPTS: u32 = 5;

/// Facts by their keys.
pub(crate) type Facts = BTreeMap<String, Value>;

#[derive(Debug, Serialize, Deserialize)]
struct Statement {
    is: Value,
    #[serde(default)]
    replaces: Value,
}

/// The facts that hold, as far as they have been read.
#[derive(Debug)]
pub(crate) struct Registry {
    at: TopicPartition,
    facts: Facts,
    next: Offset,
}

impl Registry {
    /// Knows nothing yet.
    pub(crate) fn new(topic: &TopicName) -> Self {
        Self { at: topic.partition(0), facts: Facts::new(), next: Offset::ZERO }
    }

    /// Reads to the end.
    pub(crate) async fn read(&mut self, log: &dyn Log) -> Result<(), LogError> {
        let bounds = log.bounds(&self.at).await?;
        self.next = self.next.max(bounds.start);
        while self.next < bounds.end {
            let batch = log.read(&self.at, self.next, ReadLimit::default(), Wait::No).await?;
            batch.records.iter().for_each(|stored| self.take(&stored.record));
            self.next = batch.next;
        }
        Ok(())
    }

    fn take(&mut self, record: &Record) {
        let (Some(key), Some(value)) = (&record.key, &record.value) else { return };
        let (Ok(key), Ok(stated)) = (std::str::from_utf8(key), serde_json::from_slice::<Statement>(value))
        else {
            tracing::warn!(at = %self.at, "a record of the definitions is none of ours and is not taken for one");
            return;
        };
        if self.facts.get(key).unwrap_or(&Value::Null) == &stated.replaces {
            self.facts.insert(key.to_owned(), stated.is);
        }
    }

    /// What holds under a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.facts.get(key)
    }

    /// What the topologies are that were ever started, by their versioned names.
    pub(crate) fn topologies(&self) -> Facts {
        let of =
            |(key, fact): (&String, &Value)| Some((key.strip_prefix(TOPOLOGY)?.to_owned(), fact.clone()));
        self.facts.iter().filter_map(of).collect()
    }

    /// Every topic that the app has had.
    pub(crate) fn topics(&self) -> BTreeSet<String> {
        let topic = |key: &String| Some(key.strip_prefix(TOPIC)?.to_owned());
        self.facts.keys().filter_map(topic).collect()
    }

    /// The id under which a topic was known last.
    pub(crate) fn topic_id(&self, topic: &TopicName) -> Option<TopicId> {
        let id = self.get(&topic_key(topic))?.get("id")?.as_str()?;
        u128::from_str_radix(id, 16).ok().map(TopicId)
    }

    /// States facts in place of what holds, durably; afterwards the registry says what holds now.
    ///
    /// Where somebody else stated another fact at the same time, that may be the other's.
    pub(crate) async fn state(
        &mut self,
        log: &dyn Log,
        clock: &dyn Clock,
        facts: &Facts,
    ) -> Result<(), LogError> {
        let mut attempt = 0;
        let before: Facts =
            facts.keys().filter_map(|key| Some((key.clone(), self.get(key)?.clone()))).collect();
        loop {
            let open = facts.iter().filter(|(key, is)| {
                let holds = self.facts.get(*key);
                holds != Some(*is) && holds == before.get(*key)
            });
            let appends: Vec<_> = open.map(|(key, is)| self.statement(clock, key, is)).collect();
            if appends.is_empty() {
                return Ok(());
            }
            attempt += 1;
            let appended = log.append(appends).await;
            self.read(log).await?;
            match appended {
                Ok(_) => return Ok(()),
                Err(AppendError::NotWritten(error) | AppendError::Unknown(error)) if attempt == ATTEMPTS => {
                    let message =
                        format!("what the app is made of cannot be recorded in {}: {error}", self.at.topic);
                    return Err(LogError::new(LogErrorKind::Unavailable, message).with_source(error));
                }
                Err(_) => {}
            }
        }
    }

    fn statement(&self, clock: &dyn Clock, key: &str, is: &Value) -> Append {
        let replaces = self.facts.get(key).cloned().unwrap_or_default();
        let value =
            serde_json::to_vec(&Statement { is: is.clone(), replaces }).expect("JSON values are JSON");
        Append { to: self.at.clone(), record: Record::new(key.to_owned(), value, clock.now()) }
    }
}

const TOPOLOGY: &str = "topology/";
const TOPIC: &str = "topic/";

/// The key of what a topology is.
pub(crate) fn topology_key(name: &str) -> String {
    format!("{TOPOLOGY}{name}")
}

/// The key of which topic is meant by a name.
pub(crate) fn topic_key(name: &TopicName) -> String {
    format!("{TOPIC}{name}")
}
