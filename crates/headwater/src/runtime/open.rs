//! Opening a log and its stores as the settings say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_core::clock::SystemClock;
use headwater_core::log::Log;
use headwater_core::store::StoreError;

use super::headwater::Headwater;
use crate::config::{Config, LogChoice, Role};
use crate::log::embedded::{EmbeddedLog, OpenError, Options};
use crate::log::memory::{MemoryLog, MemoryOptions};
use crate::runtime::start::Parts;
use crate::store::lmdb::{LmdbOptions, LmdbStores};
use crate::store::memory::MemoryStores;
use crate::topics::Place;

/// Bytes of a page of the engine.
const PAGE_BYTES: u64 = 4_096;

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenLogError {
    /// The data directory's log.
    #[error(transparent)]
    Embedded(#[from] OpenError),
    /// The data directory's state.
    #[error(transparent)]
    State(#[from] StoreError),
    /// State without the log that it was folded from.
    #[error(
        "{0} has state but no log: the log is lost or lies elsewhere; put it back, or delete the directory \"state\" there \
         to begin with nothing"
    )]
    LogMissing(PathBuf),
    /// A program that was built without Kafka.
    #[error(
        "the log kafka://{0} cannot be used: this program was built without the feature \"kafka\"; build it with that, or \
         choose \"embedded\" or \"memory\""
    )]
    NoKafka(String),
    /// The Kafka cluster, or what was said about it.
    #[error(transparent)]
    Kafka(Box<dyn std::error::Error + Send + Sync>),
    /// Settings for Kafka of which one lacks another.
    #[error("the settings for Kafka do not go together: {0}")]
    KafkaSettings(String),
    /// A file of ours that says what a restart needs to know.
    #[error("{0} cannot be used: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// State that was folded from the topics of another cluster.
    #[error(
        "{path} has state of the Kafka cluster {found}, and the one at {servers} is {cluster}: give another data directory, \
         or the address of that cluster, or delete {path} to begin with nothing"
    )]
    OtherCluster {
        /// Where the state is.
        path: PathBuf,
        /// The cluster it belongs to.
        found: String,
        /// The address that was asked.
        servers: String,
        /// The cluster that answered.
        cluster: String,
    },
}

impl Headwater {
    /// Opens the log and the stores that the settings choose. Once per process and data directory.
    ///
    /// # Errors
    ///
    /// [`OpenLogError`] says what is in the way and what to do.
    pub async fn open(config: &Config) -> Result<Self, OpenLogError> {
        let headwater = match &config.log {
            LogChoice::Memory => open_memory(),
            LogChoice::Embedded => open_embedded(&config.data)?,
            #[cfg(feature = "kafka")]
            LogChoice::Kafka(servers) => super::open_kafka::open(servers, config).await?,
            #[cfg(not(feature = "kafka"))]
            LogChoice::Kafka(servers) => return Err(OpenLogError::NoKafka(servers.clone())),
        };
        Ok(headwater.placed(Place::of(config)))
    }
}

/// Connects to the log of a Kafka cluster, and opens nothing beside it.
///
/// # Errors
///
/// As [`Headwater::open`].
pub(crate) async fn connect(servers: &str, config: &Config) -> Result<Arc<dyn Log>, OpenLogError> {
    #[cfg(feature = "kafka")]
    return super::open_kafka::open_log(servers, &config.kafka).await;
    #[cfg(not(feature = "kafka"))]
    {
        let _ = config;
        Err(OpenLogError::NoKafka(servers.to_owned()))
    }
}

fn open_memory() -> Headwater {
    let log = MemoryLog::new(MemoryOptions { clock: Arc::new(SystemClock), ..MemoryOptions::default() });
    Headwater::observed(Arc::new(log), Arc::new(MemoryStores::new()), Arc::new(SystemClock), "memory", None)
}

fn open_embedded(data: &Path) -> Result<Headwater, OpenLogError> {
    if has_state_without_log(data) {
        return Err(OpenLogError::LogMissing(data.to_owned()));
    }
    let options = Options { on_fsync: Some(Arc::new(super::observe::synced)), ..Options::default() };
    let log = EmbeddedLog::open(data, options)?;
    let stores = LmdbStores::new(data, LmdbOptions::default())?;
    let (stats, checked) = (log.clone(), log.clone());
    let size = move || {
        let stats = stats.stats();
        (stats.file_bytes, stats.free_pages * PAGE_BYTES)
    };
    let damage = move || checked.damage().iter().map(ToString::to_string).collect();
    let headwater =
        Headwater::observed(log, Arc::new(stores), Arc::new(SystemClock), "embedded", Some(Arc::new(size)));
    Ok(headwater.checked(Arc::new(damage)))
}

/// Whether a data directory has state that no log of it explains: opening it would begin anew, and wipe the state.
fn has_state_without_log(data: &Path) -> bool {
    let has_stores = std::fs::read_dir(data.join("state")).is_ok_and(|mut stores| stores.next().is_some());
    has_stores && !data.join("log").exists()
}

impl From<Role> for Parts {
    fn from(role: Role) -> Self {
        match role {
            Role::All => Self::ALL,
            Role::Command => Self::COMMANDS,
            Role::Query => Self::QUERIES,
        }
    }
}
