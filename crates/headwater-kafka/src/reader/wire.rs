//! Fetch requests over the client's connections: the one file that names the client's inner layer.
//!
//! The client's own consumer is not used for reading, since what the log's contract asks for cannot be had from it: a
//! round of its waits for every broker (an idle one holds back what another has ready), it hides errors behind back-offs
//! of up to 30 s, moves a position beyond the end back without a word, never asks anew about a topic that was deleted
//! and created again, and gives the records of a topic with the log's own times the producer's. Its connections,
//! security, metadata and codecs are what is used here. The feature that opens them is outside the client's promise of
//! stability, which the exact pin makes bearable: an upgrade looks at this file and at `decode.rs`.
//!
//! A broker serves the requests of one socket one after another, and holds a fetch back until there is something, so
//! each [`Lane`] has sockets of its own. Requests are without a fetch session: they name all they ask for, so that a
//! lost answer leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::log::{Bounds, LogError, LogErrorKind};
use headwater_core::topic::{Offset, TopicPartition};
use krafka::__private::metadata::ClusterMetadata;
use krafka::__private::network::BrokerConnection;
use krafka::__private::protocol::{
    AbortedTransaction, ApiKey, FetchPartitionRequest, FetchPartitionResponse, FetchRequest, FetchResponse,
    FetchTopicRequest, ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic,
    ListOffsetsResponse, VersionedDecode, VersionedEncode, versions,
};
use krafka::__private::{kafka_metadata, kafka_pool};
use krafka::error::{ErrorCode, KrafkaError};
use krafka::{BrokerId, Kafka};
use tokio::sync::OnceCell;

use crate::connection::Connection;

/// The first version that tells the log's start and speaks of aborted transactions and leader epochs.
const FETCH_VERSION_MIN: i16 = 11;
/// From this version on a topic is asked for by its id.
const FETCH_VERSION_IDS: i16 = 13;

const READ_COMMITTED: i8 = 1;
/// The session id and epoch of a request that is whole in itself.
const NO_SESSION: (i32, i32) = (0, -1);

/// Sockets that only requests of one kind use, so that none waits for one of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Requests answered at once.
    Scan,
    /// The request that waits for all partitions that are read at their ends.
    Tail,
    /// The request that waits, for a moment only, for partitions that have just come to be read at their ends.
    Join,
}

/// Which broker serves a partition, of which life of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic_id: [u8; 16],
    pub(super) broker: BrokerId,
    pub(super) epoch: i32,
}

/// What is asked of one partition.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) partition: TopicPartition,
    pub(super) place: Place,
    pub(super) from: i64,
    /// The leader epoch of the record before `from`, by which the broker tells a diverged log; -1 if not known.
    pub(super) last_epoch: i32,
    pub(super) bytes_max: i32,
}

/// What a broker answers about one partition.
#[derive(Debug)]
pub(super) enum Answer {
    /// Record batches from the offset on, perhaps none.
    Batches(Batches),
    /// The offset lies outside the log, or was never in it.
    OutOfRange,
    /// The broker is not, or no longer, who to ask: look at the metadata again.
    Elsewhere(ErrorCode),
    /// The broker's copy is damaged.
    Corrupt,
    /// This process may not read the topic.
    Denied,
    /// Anything else.
    Failed(ErrorCode),
}

/// Record batches as they came, and where the partition stood.
#[derive(Debug, Default)]
pub(super) struct Batches {
    pub(super) bytes: Bytes,
    /// Producers whose records from an offset on, up to their next abort marker, were aborted.
    pub(super) aborted: Vec<(i64, i64)>,
    /// The last stable offset: what is below it is decided.
    pub(super) stable: i64,
    /// The high watermark.
    pub(super) end: i64,
}

/// Where a partition is served, or why that is not known.
pub(super) enum Lookup {
    Found(Place),
    Unknown,
    Denied,
    /// The cluster knows the topic but not its leader now.
    Leaderless,
}

/// Connections to the cluster's brokers, a set for each lane, made when first used.
pub(super) struct Wire {
    connection: Arc<Connection>,
    lanes: [OnceCell<Kafka>; 3],
}

impl Wire {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, lanes: Default::default() }
    }

    /// How long one read may try before it answers that the cluster is unavailable.
    pub(super) fn patience(&self) -> Duration {
        self.connection.settings().patience
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The cluster's address, for messages.
    pub(super) fn servers(&self) -> &str {
        &self.connection.settings().servers
    }

    async fn client(&self, lane: Lane) -> Result<&Kafka, LogError> {
        let cell = &self.lanes[lane as usize];
        Ok(cell.get_or_try_init(|| self.connection.dedicated()).await?)
    }

    async fn metadata(&self) -> Result<&Arc<ClusterMetadata>, LogError> {
        Ok(kafka_metadata(self.client(Lane::Scan).await?))
    }

    /// Where a partition is served; asks the cluster when that is not known, or `anew` when what is known was wrong.
    pub(super) async fn place(&self, partition: &TopicPartition, anew: bool) -> Result<Lookup, LogError> {
        let metadata = self.metadata().await?;
        let topic = partition.topic.as_str();
        if !anew && let Lookup::Found(place) = known_place(metadata, partition) {
            return Ok(Lookup::Found(place));
        }
        match metadata.force_refresh(Some(&[topic])).await {
            Ok(()) => Ok(known_place(metadata, partition)),
            Err(error) => match metadata.topic_error(topic) {
                Some(ErrorCode::UnknownTopicOrPartition) => Ok(Lookup::Unknown),
                _ => Err(Unreachable::from(error).reading(partition)),
            },
        }
    }

    /// Fetches from one broker what is committed in some partitions, waiting up to `wait` if there is nothing.
    ///
    /// The answers come in no particular order; a partition may be missing.
    pub(super) async fn fetch(
        &self,
        lane: Lane,
        broker: BrokerId,
        asks: &[Ask],
        wait: Duration,
        bytes_max: i32,
    ) -> Result<Vec<(TopicPartition, Answer)>, Unreachable> {
        let connection = self.broker(lane, broker).await?;
        let version = version(&connection, ApiKey::Fetch, FETCH_VERSION_MIN, versions::FETCH_MAX)?;
        let request = request(asks, wait, bytes_max);
        let mut bytes = connection
            .send_request(ApiKey::Fetch, version, |buffer| request.encode_versioned(version, buffer))
            .await?;
        let response = FetchResponse::decode_versioned(version, &mut bytes)?;
        connection.notify_throttle(response.throttle_time_ms);
        if !response.error_code.is_ok() {
            return Err(KrafkaError::broker(response.error_code, "the fetch was refused as a whole").into());
        }
        Ok(answers(asks, response, version))
    }

    async fn broker(&self, lane: Lane, broker: BrokerId) -> Result<Arc<BrokerConnection>, Unreachable> {
        let known = self.metadata().await?.broker(broker);
        let address = known.ok_or_else(|| Unreachable(format!("broker {broker} is not known").into()))?;
        let pool = kafka_pool(self.client(lane).await?);
        Ok(pool.get_connection_by_id(broker, address.address()).await?)
    }

    /// The first kept offset, and the high watermark.
    pub(super) async fn bounds(
        &self,
        partition: &TopicPartition,
        place: Place,
    ) -> Result<Bounds, Unreachable> {
        const EARLIEST: i64 = -2;
        const LATEST: i64 = -1;
        let start = self.offset(partition, place, EARLIEST);
        let end = self.offset(partition, place, LATEST);
        let (start, end) = futures_util::try_join!(start, end)?;
        Ok(Bounds { start: to_offset(start), end: to_offset(end) })
    }

    async fn offset(
        &self,
        partition: &TopicPartition,
        place: Place,
        timestamp: i64,
    ) -> Result<i64, Unreachable> {
        let connection = self.broker(Lane::Scan, place.broker).await?;
        let (min, max) = (versions::LIST_OFFSETS_MIN, versions::LIST_OFFSETS_MAX);
        let version = version(&connection, ApiKey::ListOffsets, min, max)?;
        let request = offset_request(partition, place, timestamp);
        let mut bytes = connection
            .send_request(ApiKey::ListOffsets, version, |buffer| request.encode_versioned(version, buffer))
            .await?;
        let response = ListOffsetsResponse::decode_versioned(version, &mut bytes)?;
        match response.topics.first().and_then(|topic| topic.partitions.first()) {
            Some(answer) if answer.error_code.is_ok() => Ok(answer.offset),
            Some(answer) => Err(KrafkaError::broker(answer.error_code, "the broker tells no offset").into()),
            None => Err(Unreachable("the broker's answer names no partition".into())),
        }
    }
}

/// No answer came: the broker cannot be reached, or does not answer as it should.
#[derive(Debug)]
pub(super) struct Unreachable(Box<dyn std::error::Error + Send + Sync>);

impl From<KrafkaError> for Unreachable {
    fn from(error: KrafkaError) -> Self {
        Self(error.into())
    }
}

impl From<LogError> for Unreachable {
    fn from(error: LogError) -> Self {
        Self(error.into())
    }
}

impl Unreachable {
    /// An error that says that the partition cannot be read now.
    pub(super) fn reading(self, partition: &TopicPartition) -> LogError {
        let message = format!("{partition} cannot be read now: {}", self.0);
        LogError::new(LogErrorKind::Unavailable, message).with_source(self.0)
    }
}

/// The client's offsets are signed, with negative ones for "none".
pub(super) fn to_offset(offset: i64) -> Offset {
    Offset(u64::try_from(offset).unwrap_or(0))
}

fn index(partition: &TopicPartition) -> i32 {
    // A partition beyond what the protocol can name does not exist, which -1 never does either.
    i32::try_from(partition.partition.0).unwrap_or(-1)
}

fn known_place(metadata: &ClusterMetadata, partition: &TopicPartition) -> Lookup {
    let Some(topic) = metadata.topic_arc(partition.topic.as_str()) else {
        return match metadata.topic_error(partition.topic.as_str()) {
            Some(ErrorCode::TopicAuthorizationFailed) => Lookup::Denied,
            Some(ErrorCode::LeaderNotAvailable) => Lookup::Leaderless,
            _ => Lookup::Unknown,
        };
    };
    let index = index(partition);
    match (topic.partition(index), topic.leader(index)) {
        (None, _) => Lookup::Unknown,
        (Some(_), None) => Lookup::Leaderless,
        (Some(_), Some(broker)) => {
            let epoch = topic.leader_epoch(index).unwrap_or(-1);
            Lookup::Found(Place { topic_id: topic.topic_id, broker, epoch })
        }
    }
}

fn version(connection: &BrokerConnection, api: ApiKey, min: i16, max: i16) -> Result<i16, Unreachable> {
    connection
        .negotiate_api_version(api, max, min)
        .ok_or_else(|| Unreachable(format!("the broker is too old: it lacks {api:?} version {min}").into()))
}

fn request(asks: &[Ask], wait: Duration, bytes_max: i32) -> FetchRequest {
    let mut request = FetchRequest::default();
    request.max_wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    request.min_bytes = 1;
    request.max_bytes = bytes_max;
    request.isolation_level = READ_COMMITTED;
    (request.session_id, request.session_epoch) = NO_SESSION;
    for ask in asks {
        // Only neighbours share an entry, so that the order asked for stays: the limit of bytes is used up in it.
        let of_topic = |topic: &FetchTopicRequest| {
            topic.topic_id == Some(ask.place.topic_id) && topic.topic == ask.partition.topic.as_str()
        };
        if !request.topics.last().is_some_and(of_topic) {
            let mut topic = FetchTopicRequest::default();
            topic.topic = ask.partition.topic.as_str().to_owned();
            topic.topic_id = Some(ask.place.topic_id);
            request.topics.push(topic);
        }
        request.topics.last_mut().expect("there is an entry").partitions.push(partition_request(ask));
    }
    request
}

fn partition_request(ask: &Ask) -> FetchPartitionRequest {
    let mut request = FetchPartitionRequest::default();
    request.partition = index(&ask.partition);
    request.current_leader_epoch = ask.place.epoch;
    request.fetch_offset = ask.from;
    request.last_fetched_epoch = ask.last_epoch;
    request.log_start_offset = -1;
    request.partition_max_bytes = ask.bytes_max;
    request
}

fn offset_request(partition: &TopicPartition, place: Place, timestamp: i64) -> ListOffsetsRequest {
    let asked = ListOffsetsRequestPartition {
        partition_index: index(partition),
        current_leader_epoch: place.epoch,
        timestamp,
    };
    let topic =
        ListOffsetsRequestTopic { name: partition.topic.as_str().to_owned(), partitions: vec![asked] };
    // Isolation 0: the end is the high watermark, also over transactions that are open.
    ListOffsetsRequest { replica_id: -1, isolation_level: 0, topics: vec![topic], timeout_ms: None }
}

fn answers(asks: &[Ask], response: FetchResponse, version: i16) -> Vec<(TopicPartition, Answer)> {
    let mut answers = Vec::with_capacity(asks.len());
    for topic in response.responses {
        let same_topic = |ask: &&Ask| match version < FETCH_VERSION_IDS {
            true => ask.partition.topic.as_str() == topic.topic,
            false => topic.topic_id == Some(ask.place.topic_id),
        };
        let asked: Vec<&Ask> = asks.iter().filter(same_topic).collect();
        for partition in topic.partitions {
            let ask = asked.iter().find(|ask| index(&ask.partition) == partition.partition);
            answers.extend(ask.map(|ask| (ask.partition.clone(), answer(partition))));
        }
    }
    answers
}

fn answer(partition: FetchPartitionResponse) -> Answer {
    // The log that the reader knew and the leader's parted below the offset asked for (KIP-595): it was never in it.
    if partition.diverging_epoch.is_some() {
        return Answer::OutOfRange;
    }
    match partition.error_code {
        ErrorCode::None => Answer::Batches(Batches {
            bytes: partition.records.unwrap_or_default(),
            aborted: partition.aborted_transactions.into_iter().map(first_aborted).collect(),
            stable: partition.last_stable_offset,
            end: partition.high_watermark,
        }),
        ErrorCode::OffsetOutOfRange => Answer::OutOfRange,
        ErrorCode::CorruptMessage => Answer::Corrupt,
        ErrorCode::TopicAuthorizationFailed => Answer::Denied,
        code @ (ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::InconsistentTopicId
        | ErrorCode::NotLeaderForPartition
        | ErrorCode::LeaderNotAvailable
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::UnknownLeaderEpoch
        | ErrorCode::ReplicaNotAvailable
        | ErrorCode::OffsetNotAvailable
        | ErrorCode::KafkaStorageException) => Answer::Elsewhere(code),
        code => Answer::Failed(code),
    }
}

fn first_aborted(transaction: AbortedTransaction) -> (i64, i64) {
    (transaction.producer_id, transaction.first_offset)
}
