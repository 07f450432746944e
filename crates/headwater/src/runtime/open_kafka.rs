//! Opening a log on a Kafka cluster, with the state beside it.
//!
//! ```text
//! DIR/kafka/instance  this instance's name among the members of every group: a UUID, made once
//! DIR/kafka/cluster   the cluster that the state was folded from, by its log id
//! DIR/kafka/state/    the stores
//! ```
//!
//! The state of an embedded log in the same directory is left alone, so that one setting leads to Kafka and back. A
//! directory that is copied takes the name along: two processes of one name fence each other, and the broker tells the
//! older one so.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::clock::SystemClock;
use headwater_core::log::Log;
use headwater_kafka::{ClientCertificate, KafkaLog, KafkaSettings, Mechanism, Sasl, Security, Tls};

use super::headwater::Headwater;
use super::open::OpenLogError;
use crate::config::{Config, KafkaConfig, SaslMechanism};
use crate::log::embedded::directory::{Directory, write_whole};
use crate::store::lmdb::{LmdbOptions, LmdbStores};

const FOLDER: &str = "kafka";
const INSTANCE_FILE: &str = "instance";
const CLUSTER_FILE: &str = "cluster";

/// Beyond this a cluster that half answers is as good as none.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) async fn open(servers: &str, config: &Config) -> Result<Headwater, OpenLogError> {
    config.kafka.check().map_err(OpenLogError::KafkaSettings)?;
    let directory = Directory::hold(&config.data)?;
    let folder = config.data.join(FOLDER);
    fs::create_dir_all(&folder).map_err(|error| OpenLogError::File(folder.clone(), error))?;
    let name = instance(&folder)?;
    let log = connect(settings(servers, name.clone(), &config.kafka)?).await?;
    belongs_to(&folder, servers, &log.id().to_string())?;
    let stores = LmdbStores::new(&folder, LmdbOptions::default())?;
    let headwater = Headwater::observed(log, Arc::new(stores), Arc::new(SystemClock), "kafka", None);
    Ok(headwater.holding(directory).named(name))
}

/// Connects to a cluster's log alone, for a process that does one thing and ends.
pub(super) async fn open_log(servers: &str, config: &KafkaConfig) -> Result<Arc<dyn Log>, OpenLogError> {
    config.check().map_err(OpenLogError::KafkaSettings)?;
    let instance = uuid::Uuid::now_v7().to_string();
    let log = connect(settings(servers, instance, config)?).await?;
    Ok(log)
}

async fn connect(settings: KafkaSettings) -> Result<Arc<KafkaLog>, OpenLogError> {
    let servers = settings.servers.clone();
    let connected = tokio::time::timeout(CONNECT_TIME_MAX, KafkaLog::connect(settings)).await;
    connected.map_err(|_| {
        let limit = CONNECT_TIME_MAX.as_secs();
        OpenLogError::Kafka(format!(
            "the Kafka cluster at {servers} did not say in {limit} s what it is; check that its brokers run and are not overloaded"
        ).into())
    })?.map_err(|error| OpenLogError::Kafka(error.into()))
}

fn settings(servers: &str, instance: String, config: &KafkaConfig) -> Result<KafkaSettings, OpenLogError> {
    // Both counts are at most 100.
    let count = |count: u16| i16::try_from(count).unwrap_or(i16::MAX);
    Ok(KafkaSettings {
        replication_factor: count(config.replication),
        min_in_sync_replicas: count(config.min_in_sync()),
        security: security(config)?,
        restart_follows: config.restart_follows,
        ..KafkaSettings::new(servers, instance)
    })
}

fn security(config: &KafkaConfig) -> Result<Security, OpenLogError> {
    let client = config.certificate.clone().zip(config.key.clone());
    let client = client.map(|(certificate, key)| ClientCertificate { certificate, key });
    let tls = config.security.is_encrypted().then(|| Tls { ca: config.ca.clone(), client });
    let sasl = match &config.user {
        Some(user) if config.security.has_user() => Some(Sasl {
            mechanism: match config.sasl {
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
                SaslMechanism::Plain => Mechanism::Plain,
            },
            user: user.clone(),
            password: password(config)?,
        }),
        _ => None,
    };
    Ok(Security { tls, sasl })
}

fn password(config: &KafkaConfig) -> Result<String, OpenLogError> {
    match (&config.password, &config.password_file) {
        (Some(password), _) => Ok(password.reveal().to_owned()),
        (None, Some(file)) => read(file).map(|text| text.trim().to_owned()),
        (None, None) => Ok(String::new()),
    }
}

/// The name of this instance, made once for a data directory.
fn instance(folder: &Path) -> Result<String, OpenLogError> {
    match kept(folder, INSTANCE_FILE)? {
        Some(name) => Ok(name),
        None => {
            let name = uuid::Uuid::now_v7().to_string();
            keep(folder, INSTANCE_FILE, &name)?;
            Ok(name)
        }
    }
}

/// Refuses state of another cluster; a directory without a name gets this one's.
fn belongs_to(folder: &Path, servers: &str, cluster: &str) -> Result<(), OpenLogError> {
    match kept(folder, CLUSTER_FILE)? {
        Some(found) if found == cluster => Ok(()),
        Some(found) => Err(OpenLogError::OtherCluster {
            path: folder.to_owned(),
            found,
            servers: servers.to_owned(),
            cluster: cluster.to_owned(),
        }),
        None => keep(folder, CLUSTER_FILE, cluster),
    }
}

fn kept(folder: &Path, name: &str) -> Result<Option<String>, OpenLogError> {
    match read(&folder.join(name)) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(OpenLogError::File(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn keep(folder: &Path, name: &str, text: &str) -> Result<(), OpenLogError> {
    write_whole(folder, name, &format!("{text}\n"))
        .map_err(|error| OpenLogError::File(folder.join(name), error))
}

fn read(file: &Path) -> Result<String, OpenLogError> {
    fs::read_to_string(file).map_err(|error| OpenLogError::File(file.to_owned(), error))
}
