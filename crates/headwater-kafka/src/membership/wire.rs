//! A group's requests over the client's connections: where membership names the client's inner layer.
//!
//! The client's own consumer is not used, since it sends a member's heartbeats behind its joins, on one socket. A broker
//! answers a join when every other member has come, and reads what was sent behind it only then: a heartbeat that was of
//! the group's generation when it was sent is of a former one when it is read, and the consumer takes the answer for its
//! own end. It also forgets its membership when the group's coordinator moves. Its connections, security and codecs are
//! what is used here, as by the reader.
//!
//! Each member has a client of its own with two sockets to the coordinator. Joins, and requests for a share, which the
//! broker holds back as well, go on one; heartbeats and the request to leave, answered at once, on the other. Offsets
//! wait for replicas, so they go on neither.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use headwater_core::log::LogErrorKind;
use headwater_core::position::Position;
use headwater_core::topic::Partition;
use krafka::__private::network::BrokerConnection;
use krafka::__private::protocol::{
    ApiKey, CONSUMER_PROTOCOL_TYPE, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
    ConsumerProtocolTopicPartitions, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
    JoinGroupResponseMember, LeaveGroupMember, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest,
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse, SyncGroupRequest,
    SyncGroupRequestAssignment, SyncGroupResponse, VersionedDecode, VersionedEncode,
    decode_consumer_protocol_assignment, decode_consumer_protocol_subscription,
    encode_consumer_protocol_assignment, encode_consumer_protocol_subscription, versions,
};
use krafka::__private::{kafka_metadata, kafka_pool};
use krafka::error::ErrorCode;
use krafka::{BrokerInfo, Kafka, KrafkaError};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::assignor::{Claimant, Shares};
use super::member::{Joined, Place, Presence, Refusal};
use crate::bounds::partition_id;
use crate::claim::Means;
use crate::errors::{KafkaError, code_of, kind_of};

/// The assignment's name among Kafka's clients.
const PROTOCOL: &str = "cooperative-sticky";

/// The first version in which a member says its name.
const JOIN_VERSION_MIN: i16 = 5;
/// The last version in which topics go by their names.
const COMMIT_VERSION_MAX: i16 = 9;
const COMMIT_VERSION_MIN: i16 = 7;

/// The version of an assignment: the fields are the same in all, and every client reads this one.
const ASSIGNMENT_VERSION: i16 = 0;

/// A group answers a join at the end of the rebalance timeout at the latest; the way there and back is added.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Why a request was not granted: what the member makes of it, and what the cluster said.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) error: KrafkaError,
}

impl Refused {
    /// Of a request that was never sent: nobody can have heard it.
    fn unsent(error: KrafkaError) -> Self {
        let Self { refusal, error } = Self::from(error);
        let refusal = if refusal == Refusal::NoAnswer { Refusal::Elsewhere } else { refusal };
        Self { refusal, error }
    }
}

impl From<KrafkaError> for Refused {
    fn from(error: KrafkaError) -> Self {
        let refusal = match code_of(&error) {
            Some(code) => refusal_of(code, kind_of(&error)),
            None if is_final(kind_of(&error)) => Refusal::Final,
            None => Refusal::NoAnswer,
        };
        Self { refusal, error }
    }
}

/// What a group's answers mean, as Kafka's protocol guide and the Java client's `AbstractCoordinator` have it.
fn refusal_of(code: ErrorCode, kind: LogErrorKind) -> Refusal {
    match code {
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => Refusal::Elsewhere,
        ErrorCode::CoordinatorLoadInProgress => Refusal::Loading,
        ErrorCode::RebalanceInProgress => Refusal::Rebalancing,
        ErrorCode::UnknownMemberId => Refusal::UnknownMember,
        ErrorCode::IllegalGeneration => Refusal::OldGeneration,
        ErrorCode::FencedInstanceId => Refusal::Fenced,
        _ if is_final(kind) => Refusal::Final,
        _ => Refusal::Other,
    }
}

fn is_final(kind: LogErrorKind) -> bool {
    matches!(kind, LogErrorKind::Denied | LogErrorKind::Invalid)
}

/// What a code says, where the answer has no words for it.
fn words(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InconsistentGroupProtocol => {
            "the group's other members share it out in another way; use the group for this app alone"
        }
        ErrorCode::InvalidSessionTimeout => {
            "the session timeout is outside what the brokers allow (group.min.session.timeout.ms)"
        }
        ErrorCode::InvalidGroupId => "the group's name is not one that the cluster takes",
        ErrorCode::GroupMaxSizeReached => {
            "the group has as many members as the brokers allow (group.max.size)"
        }
        _ => "the group's coordinator refuses it",
    }
}

fn granted(code: ErrorCode) -> Result<(), Refused> {
    if code.is_ok() { Ok(()) } else { Err(KrafkaError::broker(code, words(code)).into()) }
}

/// The two sockets of a member.
#[derive(Clone, Copy)]
enum Lane {
    /// For what the broker holds back.
    Round,
    /// For what it answers at once.
    Beat,
}

/// A member's way to its group's coordinator.
pub(super) struct Wire {
    means: Arc<Means>,
    /// The member's static name.
    name: String,
    kafka: Kafka,
    /// The coordinator's address, as far as it is known.
    coordinator: Mutex<Option<String>>,
    /// How often it was looked for.
    looks: AtomicUsize,
}

impl Wire {
    pub(super) async fn open(means: Arc<Means>, name: &str) -> Result<Self, KafkaError> {
        let kafka = means.connection.dedicated().await?;
        Ok(Self {
            means,
            name: name.to_owned(),
            kafka,
            coordinator: Mutex::default(),
            looks: AtomicUsize::new(0),
        })
    }

    fn group(&self) -> &str {
        &self.means.group.name
    }

    fn topic(&self) -> &str {
        self.means.group.topic.as_str()
    }

    /// Looks for the coordinator anew before the next request.
    pub(super) fn find_anew(&self) {
        *self.coordinator.lock() = None;
    }

    /// Joins, and waits for the group's next generation.
    pub(super) async fn join(&self, presence: &Presence) -> Result<Joined, Refused> {
        let settings = self.means.connection.settings();
        let request = JoinGroupRequest {
            group_id: self.group().to_owned(),
            session_timeout_ms: millis(settings.session_timeout),
            rebalance_timeout_ms: millis(settings.rebalance_timeout),
            member_id: presence.id.clone(),
            group_instance_id: Some(self.name.clone()),
            protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: PROTOCOL.to_owned(),
                metadata: self.subscription(presence)?,
            }],
            reason: None,
        };
        let versions = (JOIN_VERSION_MIN, versions::JOIN_GROUP_MAX);
        let answer: JoinGroupResponse = self
            .ask(Lane::Round, ApiKey::JoinGroup, versions, settings.rebalance_timeout + ANSWER_TIME, &request)
            .await?;
        if answer.error_code == ErrorCode::MemberIdRequired {
            let error =
                KrafkaError::broker(answer.error_code, "the group gave the member an id to join with");
            return Err(Refused { refusal: Refusal::TakeId(answer.member_id), error });
        }
        granted(answer.error_code)?;
        // A leader that came back to a group at rest has nothing to share out (KIP-814).
        let leads = answer.is_leader() && !answer.skip_assignment;
        let lead = leads.then(|| answer.members.iter().map(|member| self.claimant(member)).collect());
        let place = Place { id: answer.member_id, generation: answer.generation_id };
        Ok(Joined { place, lead })
    }

    /// Asks for the member's share, and waits until the leader has shared out.
    pub(super) async fn sync(&self, place: &Place, shares: &Shares) -> Result<BTreeSet<Partition>, Refused> {
        let assignment = |(id, share): (&String, &BTreeSet<Partition>)| {
            Ok(SyncGroupRequestAssignment { member_id: id.clone(), assignment: self.assignment(share)? })
        };
        let request = SyncGroupRequest {
            group_id: self.group().to_owned(),
            generation_id: place.generation,
            member_id: place.id.clone(),
            group_instance_id: Some(self.name.clone()),
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(PROTOCOL.to_owned()),
            assignments: shares.iter().map(assignment).collect::<Result<_, KrafkaError>>()?,
        };
        let patience = self.means.connection.settings().rebalance_timeout;
        let versions = (versions::SYNC_GROUP_MIN, versions::SYNC_GROUP_MAX);
        let answer: SyncGroupResponse =
            self.ask(Lane::Round, ApiKey::SyncGroup, versions, patience, &request).await?;
        granted(answer.error_code)?;
        let share = decode_consumer_protocol_assignment(&answer.assignment)?;
        Ok(self.shards(&share.assigned_partitions))
    }

    /// Tells the group that the member lives.
    pub(super) async fn beat(&self, place: &Place) -> Result<(), Refused> {
        let request = HeartbeatRequest {
            group_id: self.group().to_owned(),
            generation_id: place.generation,
            member_id: place.id.clone(),
            group_instance_id: Some(self.name.clone()),
        };
        let versions = (versions::HEARTBEAT_MIN, versions::HEARTBEAT_MAX);
        let answer: HeartbeatResponse =
            self.ask(Lane::Beat, ApiKey::Heartbeat, versions, Duration::ZERO, &request).await?;
        granted(answer.error_code)
    }

    /// Leaves; a member that the group does not know any more has left.
    pub(super) async fn leave(&self, id: &str) -> Result<(), Refused> {
        let member = LeaveGroupMember {
            member_id: id.to_owned(),
            group_instance_id: Some(self.name.clone()),
            reason: None,
        };
        let request = LeaveGroupRequest {
            group_id: self.group().to_owned(),
            member_id: id.to_owned(),
            members: vec![member],
        };
        let versions = (versions::LEAVE_GROUP_MIN, versions::LEAVE_GROUP_MAX);
        let answer: LeaveGroupResponse =
            self.ask(Lane::Beat, ApiKey::LeaveGroup, versions, Duration::ZERO, &request).await?;
        let codes = answer.members.iter().map(|member| member.error_code).chain([answer.error_code]);
        let has_left = |code: &ErrorCode| {
            matches!(code, ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) || code.is_ok()
        };
        codes.into_iter().find(|code| !has_left(code)).map_or(Ok(()), granted)
    }

    /// Tells the group's offsets.
    pub(super) async fn commit(&self, place: &Place, positions: &Position) -> Result<(), Refused> {
        let request = OffsetCommitRequest {
            group_id: self.group().to_owned(),
            generation_id: place.generation,
            member_id: place.id.clone(),
            group_instance_id: Some(self.name.clone()),
            retention_time_ms: -1,
            topics: committed(positions),
        };
        let versions = (COMMIT_VERSION_MIN, COMMIT_VERSION_MAX);
        let address = self.coordinator().await?;
        let kafka = self.means.connection.kafka();
        let connection = kafka_pool(&kafka).get_connection(&address).await?;
        let answer: OffsetCommitResponse =
            ask(&connection, ApiKey::OffsetCommit, versions, Duration::ZERO, &request).await?;
        let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.error_code);
        codes.into_iter().find(|code| !code.is_ok()).map_or(Ok(()), granted)
    }

    async fn ask<Q: VersionedEncode, A: VersionedDecode>(
        &self,
        lane: Lane,
        api: ApiKey,
        versions: (i16, i16),
        patience: Duration,
        request: &Q,
    ) -> Result<A, Refused> {
        let address = self.coordinator().await.map_err(Refused::unsent)?;
        let pool = kafka_pool(&self.kafka);
        let connection = match lane {
            Lane::Round => pool.get_coordinator_connection(&address).await,
            Lane::Beat => pool.get_connection(&address).await,
        };
        let connection = connection.map_err(Refused::unsent)?;
        Ok(ask(&connection, api, versions, patience, request).await?)
    }

    async fn coordinator(&self) -> Result<String, KrafkaError> {
        let known = self.coordinator.lock().clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let patience = self.means.connection.settings().patience;
        let found = timeout(patience, self.find()).await;
        let found =
            found.unwrap_or_else(|_| Err(KrafkaError::timeout("looking for the group's coordinator")))?;
        *self.coordinator.lock() = Some(found.clone());
        Ok(found)
    }

    /// Asks one broker after another, beginning with another one each time, for the coordinator's address.
    async fn find(&self) -> Result<String, KrafkaError> {
        let metadata = kafka_metadata(&self.kafka);
        let mut brokers = metadata.brokers();
        brokers.sort_by_key(BrokerInfo::id);
        let first = self.looks.fetch_add(1, Ordering::Relaxed).checked_rem(brokers.len()).unwrap_or(0);
        brokers.rotate_left(first);
        let mut failed = KrafkaError::timeout("no broker is known");
        for broker in &brokers {
            match self.find_by(broker.address()).await {
                // What a broker says of the coordinator, another one would say as well.
                Err(error) if code_of(&error).is_none() => failed = error,
                answer => return answer,
            }
        }
        // The brokers may have moved.
        metadata.refresh().await?;
        Err(failed)
    }

    async fn find_by(&self, broker: &str) -> Result<String, KrafkaError> {
        let connection = kafka_pool(&self.kafka).get_connection(broker).await?;
        let request = FindCoordinatorRequest::for_group(self.group());
        let versions = (versions::FIND_COORDINATOR_MIN, versions::FIND_COORDINATOR_MAX);
        let found: FindCoordinatorResponse =
            ask(&connection, ApiKey::FindCoordinator, versions, Duration::ZERO, &request).await?;
        if !found.error_code.is_ok() {
            return Err(KrafkaError::broker(found.error_code, "the group's coordinator is not known"));
        }
        Ok(BrokerInfo::new(found.node_id, found.host, found.port, None).address().to_owned())
    }

    fn subscription(&self, presence: &Presence) -> Result<Bytes, KrafkaError> {
        let subscription = ConsumerProtocolSubscription::new(vec![self.topic().to_owned()])
            .with_owned_partitions(self.partitions(&presence.owned))
            .with_generation_id(presence.generation);
        let mut bytes = BytesMut::new();
        encode_consumer_protocol_subscription(&subscription, &mut bytes)?;
        Ok(bytes.freeze())
    }

    fn assignment(&self, share: &BTreeSet<Partition>) -> Result<Bytes, KrafkaError> {
        let assignment = ConsumerProtocolAssignment::new(ASSIGNMENT_VERSION, self.partitions(share));
        let mut bytes = BytesMut::new();
        encode_consumer_protocol_assignment(&assignment, &mut bytes)?;
        Ok(bytes.freeze())
    }

    fn partitions(&self, shards: &BTreeSet<Partition>) -> Vec<ConsumerProtocolTopicPartitions> {
        let partitions: Vec<i32> = shards.iter().filter_map(|shard| i32::try_from(shard.0).ok()).collect();
        let topic = self.topic().to_owned();
        if partitions.is_empty() {
            Vec::new()
        } else {
            vec![ConsumerProtocolTopicPartitions { topic, partitions }]
        }
    }

    fn shards(&self, partitions: &[ConsumerProtocolTopicPartitions]) -> BTreeSet<Partition> {
        let here = partitions.iter().filter(|of| of.topic == self.topic());
        here.flat_map(|of| &of.partitions)
            .filter_map(|index| u32::try_from(*index).ok())
            .map(Partition)
            .collect()
    }

    /// A member whose words cannot be read takes no part in what is shared out.
    fn claimant(&self, member: &JoinGroupResponseMember) -> Claimant {
        let said = decode_consumer_protocol_subscription(&member.metadata).unwrap_or_else(|error| {
            tracing::warn!(group = self.group(), member = member.member_id, %error, "a member cannot be understood");
            ConsumerProtocolSubscription::default()
        });
        Claimant {
            id: member.member_id.clone(),
            name: member.group_instance_id.clone().unwrap_or_else(|| member.member_id.clone()),
            takes_part: said.topics.iter().any(|topic| topic == self.topic()),
            generation: said.generation_id,
            owned: self.shards(&said.owned_partitions),
        }
    }
}

fn committed(positions: &Position) -> Vec<OffsetCommitRequestTopic> {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for (at, next) in positions.iter() {
        let name = at.topic.as_str();
        if topics.last().is_none_or(|topic| topic.name != name) {
            let (name, partitions) = (name.to_owned(), Vec::new());
            topics.push(OffsetCommitRequestTopic { name, topic_id: None, partitions });
        }
        topics.last_mut().expect("there is an entry").partitions.push(OffsetCommitRequestPartition {
            partition_index: partition_id(at),
            committed_offset: i64::try_from(next.0).unwrap_or(i64::MAX),
            committed_leader_epoch: -1,
            commit_timestamp: -1,
            committed_metadata: Some(String::new()),
        });
    }
    topics
}

/// Sends a request, and waits for its answer for `patience`, or as long as the client waits for any.
async fn ask<Q: VersionedEncode, A: VersionedDecode>(
    connection: &BrokerConnection,
    api: ApiKey,
    (min, max): (i16, i16),
    patience: Duration,
    request: &Q,
) -> Result<A, KrafkaError> {
    let version = connection.negotiate_api_version(api, max, min);
    let too_old = || KrafkaError::config(format!("the broker is too old: it lacks {api:?} version {min}"));
    let version = version.ok_or_else(too_old)?;
    let mut bytes = connection
        .send_request_with_timeout(api, version, patience, |buffer| request.encode_versioned(version, buffer))
        .await?;
    A::decode_versioned(version, &mut bytes)
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
