//! A member's heartbeats, on a socket that nothing holds back.
//!
//! The client sends a member's heartbeats behind its joins, on one socket. A broker answers a join when every other
//! member has come, and what was sent behind it only then: a heartbeat that was of the group's generation when it was
//! sent is of a former one when it is read. The client takes the answer for its own end, and gives up every shard of a
//! group that it is a member of (or, if the answer comes at the wrong moment, never beats again). So its own heartbeats
//! are as rare as it allows, and these keep the session: they go to the coordinator by the way of short requests, and what
//! is answered to a generation that has passed meanwhile counts for nothing.

use std::sync::{Arc, Weak};
use std::time::Duration;

use krafka::__private::network::BrokerConnection;
use krafka::__private::protocol::{
    ApiKey, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    VersionedDecode, VersionedEncode, versions,
};
use krafka::__private::{kafka_metadata, kafka_pool};
use krafka::KrafkaError;
use krafka::consumer::{Consumer, ConsumerGroupMetadata};
use krafka::error::ErrorCode;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::claim::Means;

/// Heartbeats in the time of a session: members hear by them that others come and go.
const HEARTBEATS_PER_SESSION: u32 = 12;

/// Beats for a member until the group does not have it any more, and says how the group put that.
///
/// `None` where the member itself is gone.
pub(crate) async fn beat(consumer: Weak<Consumer>, means: Arc<Means>) -> Option<ErrorCode> {
    let every = means.connection.settings().session_timeout / HEARTBEATS_PER_SESSION;
    let mut pulse = Pulse { means, coordinator: None, refused: None, called: None };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let consumer = consumer.upgrade()?;
        let Some(place) = place(&consumer).await else { continue };
        let answer = timeout(every * 4, pulse.ask(&place)).await;
        match answer {
            Ok(Ok(code)) if same(&place, self::place(&consumer).await.as_ref()) => {
                if let Some(end) = pulse.heard(code, &place, &consumer).await {
                    return Some(end);
                }
            }
            // The member has another place by now: what was said of the former one is past.
            Ok(Ok(_)) => pulse.refused = None,
            Ok(Err(error)) => {
                tracing::debug!(group = %pulse.means.group.name, %error, "a heartbeat had no answer");
                pulse.coordinator = None;
            }
            Err(_) => pulse.coordinator = None,
        }
    }
}

async fn place(consumer: &Consumer) -> Option<ConsumerGroupMetadata> {
    consumer.group_metadata().await.filter(ConsumerGroupMetadata::is_fenceable)
}

fn same(place: &ConsumerGroupMetadata, now: Option<&ConsumerGroupMetadata>) -> bool {
    now.is_some_and(|now| {
        (now.member_id(), now.generation_id()) == (place.member_id(), place.generation_id())
    })
}

struct Pulse {
    means: Arc<Means>,
    /// The broker that coordinates the group, as far as is known.
    coordinator: Option<i32>,
    /// Since when the same place is refused.
    refused: Option<Instant>,
    /// The generation whose end the client was told of.
    called: Option<i32>,
}

impl Pulse {
    /// Takes the answer to the place that the member still has; `Some` ends it.
    async fn heard(
        &mut self,
        code: ErrorCode,
        place: &ConsumerGroupMetadata,
        consumer: &Consumer,
    ) -> Option<ErrorCode> {
        let refused = matches!(
            code,
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId
        );
        self.refused = if refused { self.refused.or_else(|| Some(Instant::now())) } else { None };
        match code {
            ErrorCode::RebalanceInProgress if self.called != Some(place.generation_id()) => {
                self.called = Some(place.generation_id());
                self.call(consumer).await;
            }
            ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress => self.coordinator = None,
            _ => {}
        }
        self.refused.is_some_and(|since| since.elapsed() > self.longest_join()).then_some(code)
    }

    /// How long a member may be on its way to another place while its former one is refused: to join lasts as long as
    /// the slowest member takes to give its shards up, after the session of one that is gone.
    fn longest_join(&self) -> Duration {
        let settings = self.means.connection.settings();
        settings.rebalance_timeout + settings.session_timeout
    }

    /// Lets the client join the group's next generation.
    ///
    /// It joins when its subscription changes, and has no other word for it: to name the topic twice changes it, and
    /// means the same.
    async fn call(&self, consumer: &Consumer) {
        let topic = self.means.group.topic.as_str();
        let odd = self.called.is_some_and(|generation| generation % 2 == 1);
        let topics = if odd { vec![topic; 2] } else { vec![topic] };
        if let Err(error) = consumer.subscribe(topics).await {
            tracing::debug!(group = %self.means.group.name, %error, "a rebalance could not be joined yet");
        }
    }

    async fn ask(&mut self, place: &ConsumerGroupMetadata) -> Result<ErrorCode, KrafkaError> {
        let coordinator = match self.coordinator {
            Some(known) => known,
            None => self.find().await?,
        };
        self.coordinator = Some(coordinator);
        let connection = self.to(coordinator).await?;
        let request = HeartbeatRequest {
            group_id: self.means.group.name.clone(),
            generation_id: place.generation_id(),
            member_id: place.member_id().to_owned(),
            group_instance_id: Some(self.means.connection.settings().instance.clone()),
        };
        let version =
            version(&connection, ApiKey::Heartbeat, versions::HEARTBEAT_MIN, versions::HEARTBEAT_MAX)?;
        let mut bytes = connection
            .send_request(ApiKey::Heartbeat, version, |buffer| request.encode_versioned(version, buffer))
            .await?;
        Ok(HeartbeatResponse::decode_versioned(version, &mut bytes)?.error_code)
    }

    async fn find(&self) -> Result<i32, KrafkaError> {
        let kafka = self.means.connection.kafka();
        let broker = kafka_metadata(&kafka).brokers().into_iter().next();
        let broker = broker.ok_or_else(|| KrafkaError::timeout("no broker is known"))?;
        let connection = kafka_pool(&kafka).get_connection_by_id(broker.id(), broker.address()).await?;
        let (min, max) = (versions::FIND_COORDINATOR_MIN, versions::FIND_COORDINATOR_MAX);
        let version = version(&connection, ApiKey::FindCoordinator, min, max)?;
        let request = FindCoordinatorRequest::for_group(&self.means.group.name);
        let mut bytes = connection
            .send_request(ApiKey::FindCoordinator, version, |buffer| {
                request.encode_versioned(version, buffer)
            })
            .await?;
        let found = FindCoordinatorResponse::decode_versioned(version, &mut bytes)?;
        if found.error_code.is_ok() {
            Ok(found.node_id)
        } else {
            Err(KrafkaError::broker(found.error_code, "the group's coordinator is not known"))
        }
    }

    async fn to(&self, broker: i32) -> Result<Arc<BrokerConnection>, KrafkaError> {
        let kafka = self.means.connection.kafka();
        let known = kafka_metadata(&kafka).broker(broker);
        let known = known.ok_or_else(|| KrafkaError::timeout("the coordinator's address is not known"))?;
        kafka_pool(&kafka).get_connection_by_id(broker, known.address()).await
    }
}

fn version(connection: &BrokerConnection, api: ApiKey, min: i16, max: i16) -> Result<i16, KrafkaError> {
    let version = connection.negotiate_api_version(api, max, min);
    version.ok_or_else(|| KrafkaError::timeout(format!("the broker does not speak {api:?} of version {min}")))
}

/// How rare the client's own heartbeats are: as it allows, just within a session.
pub(crate) fn rare(session: Duration) -> Duration {
    session - session / 100
}
