//! What a cluster is: its id, whether it has what the log needs, and what its groups have committed.

use std::collections::BTreeMap;

use headwater_core::log::{LogError, LogId};
use headwater_core::position::Position;
use headwater_core::topic::{Offset, TopicName, TopicPartition};
use krafka::admin::{
    DescribeClusterOptions, DescribeFeaturesOptions, FeatureMetadata, ListConsumerGroupOffsetsOptions,
};

use crate::connecting::explain;
use crate::connection::Connection;
use crate::errors::{KafkaError, KafkaErrorKind, failed_to};
use crate::operation::Operation;
use crate::topics::Topics;

/// The feature by which every transaction of a producer has an epoch of its own (KIP-890): without it, a commit whose
/// answer was lost can decide the next transaction.
const FEATURE: &str = "transaction.version";
const LEVEL: i16 = 2;

/// Checks that the cluster has what the log needs, and tells which one it is and how many brokers it has.
pub(crate) async fn check(connection: &Connection) -> Result<(LogId, u32), KafkaError> {
    let settings = connection.settings();
    let explain = |error| explain(&settings.servers, &settings.security, error);
    let admin = connection.admin();
    let features = admin.describe_features(DescribeFeaturesOptions::default()).await.map_err(explain)?;
    check_transactions(&features, &settings.servers)?;
    let cluster = admin.describe_cluster(DescribeClusterOptions::default()).await.map_err(explain)?;
    let brokers = cluster.brokers.iter().filter(|broker| !broker.is_fenced).count();
    Ok((log_id(&cluster.cluster_id), u32::try_from(brokers).unwrap_or(u32::MAX)))
}

fn check_transactions(features: &FeatureMetadata, servers: &str) -> Result<(), KafkaError> {
    let level = features.finalized.iter().find(|feature| feature.name == FEATURE);
    let level = level.map_or(0, |feature| feature.max_version_level);
    if level >= LEVEL {
        return Ok(());
    }
    let message = format!(
        "the Kafka cluster at {servers} has {FEATURE} {level}, but {LEVEL} is needed (KIP-890); run Kafka 4.0 or later \
         and upgrade the feature: kafka-features.sh --bootstrap-server {servers} upgrade --feature {FEATURE}={LEVEL}"
    );
    Err(KafkaError::new(KafkaErrorKind::Unsupported, message))
}

/// A cluster's id is a UUID in URL-safe base 64; a hash stands for one that somebody made up otherwise.
fn log_id(cluster: &str) -> LogId {
    LogId(uuid(cluster).unwrap_or_else(|| fnv(cluster.as_bytes())))
}

fn uuid(text: &str) -> Option<u128> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if text.len() != 22 {
        return None;
    }
    let digit = |char: u8| DIGITS.iter().position(|digit| *digit == char).map(|value| value as u128);
    let (last, first) = text.as_bytes().split_last()?;
    let high = first.iter().try_fold(0, |sum, char| Some(sum << 6 | digit(*char)?))?;
    // The last of 22 digits carries two bits.
    Some(high << 2 | digit(*last)? >> 4)
}

fn fnv(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

/// As [`Log::committed`](headwater_core::log::Log::committed).
///
/// The answer waits until what is being committed is settled: right after a commit's answer, its markers are still being
/// written. Positions in topics that are gone are left out, though the cluster may not have dropped them yet.
pub(crate) async fn committed(
    connection: &Connection,
    topics: &Topics,
    group: &str,
) -> Result<Position, LogError> {
    let what = Operation::FindPositions(group);
    let options = ListConsumerGroupOffsetsOptions::default().require_stable(true);
    let offsets = connection.admin().list_consumer_group_offsets(group, options).await;
    let mut found: BTreeMap<TopicName, Vec<(TopicPartition, Offset)>> = BTreeMap::new();
    for (at, offset) in offsets.map_err(|error| failed_to(what, error))? {
        let offset = offset.map_err(|error| failed_to(what, error))?.offset;
        let (Ok(topic), Ok(partition)) = (TopicName::new(&at.topic), u32::try_from(at.partition)) else {
            continue;
        };
        if let Some(next) = offset.and_then(|offset| u64::try_from(offset).ok()) {
            let place = (topic.partition(partition), Offset(next));
            found.entry(topic).or_default().push(place);
        }
    }
    let mut positions = Position::new();
    for (topic, places) in found {
        if topics.describe(&topic).await?.is_some() {
            places.into_iter().for_each(|(at, next)| positions.set(at, next));
        }
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::{fnv, log_id, uuid};

    #[test]
    fn a_cluster_id_is_read_as_the_uuid_that_it_is() {
        // As Kafka's own Uuid.toString prints it.
        assert_eq!(uuid("MkU3OEVBNTcwNTJENDM2Qk"), Some(0x3245_3738_4541_3537_3035_3244_3433_3642));
        assert_eq!(uuid("AAAAAAAAAAAAAAAAAAAAAQ"), Some(1));
        assert_eq!(uuid("_____________________w"), Some(u128::MAX));
    }

    #[test]
    fn any_other_id_has_a_hash_of_its_own() {
        for made_up in ["", "test", "MkU3OEVBNTcwNTJENDM2Q", "MkU3OEVBNTcwNTJENDM2Q!"] {
            assert_eq!(uuid(made_up), None);
            assert_eq!(log_id(made_up).0, fnv(made_up.as_bytes()));
        }
        assert_ne!(log_id("one"), log_id("other"));
    }
}
