//! What goes wrong in a simulated cluster, drawn from the seed, and how often it did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control, FakeBroker};
use parking_lot::Mutex;

use super::world::PATIENCE;

/// Errors that brokers answer to requests in the course of things, before they have done anything.
const REFUSALS: [(ApiKey, &[ErrorCode]); 9] = [
    (ApiKey::Produce, &[ErrorCode::NotLeaderForPartition, ErrorCode::NotEnoughReplicas]),
    (
        ApiKey::EndTxn,
        &[ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress, ErrorCode::ConcurrentTransactions],
    ),
    (ApiKey::TxnOffsetCommit, &[ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress]),
    (ApiKey::InitProducerId, &[ErrorCode::NotCoordinator, ErrorCode::ConcurrentTransactions]),
    (ApiKey::AddPartitionsToTxn, &[ErrorCode::ConcurrentTransactions]),
    (ApiKey::Fetch, &[ErrorCode::NotLeaderForPartition, ErrorCode::UnknownLeaderEpoch]),
    (ApiKey::Heartbeat, &[ErrorCode::NotCoordinator, ErrorCode::RebalanceInProgress]),
    (ApiKey::JoinGroup, &[ErrorCode::NotCoordinator, ErrorCode::CoordinatorLoadInProgress]),
    (ApiKey::ListOffsets, &[ErrorCode::NotLeaderForPartition]),
];

/// Requests of which faults are drawn.
const STRUCK: [ApiKey; 13] = [
    ApiKey::Produce,
    ApiKey::EndTxn,
    ApiKey::TxnOffsetCommit,
    ApiKey::InitProducerId,
    ApiKey::AddPartitionsToTxn,
    ApiKey::Fetch,
    ApiKey::Heartbeat,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::ListOffsets,
    ApiKey::FindCoordinator,
    ApiKey::Metadata,
    ApiKey::DescribeGroups,
];

/// How often what struck.
pub(super) type Hits = BTreeMap<String, u64>;

/// Lets requests of the cluster fail, one in so many hundredths.
pub(super) fn strike(cluster: &FakeBroker, rng: &mut Rng, hits: &Arc<Mutex<Hits>>) {
    let percent = [2, 6, 15][rng.usize(..3)];
    for api in STRUCK {
        let (rng, hits) = (Mutex::new(rng.fork()), hits.clone());
        cluster.on(api, move |_| {
            let (name, control) = draw(api, percent, &mut rng.lock());
            if let Some(name) = name {
                *hits.lock().entry(format!("{api:?}: {name}")).or_default() += 1;
            }
            control
        });
    }
}

fn draw(api: ApiKey, percent: u8, rng: &mut Rng) -> (Option<&'static str>, Control) {
    if rng.u8(..100) >= percent {
        return (None, Control::Pass);
    }
    let soon = Duration::from_millis(rng.u64(1..300));
    let late = PATIENCE + Duration::from_millis(rng.u64(1..1_500));
    let applied = |then| Control::ApplyThen(Box::new(then));
    let (name, control) = match rng.u8(..7) {
        0 => ("delayed", Control::Delay(soon)),
        1 => ("lost", Control::Disconnect),
        2 | 3 => ("answer lost", applied(Control::Disconnect)),
        4 => ("done too late", Control::Delay(late)),
        5 => ("answered too late", applied(Control::Delay(late))),
        _ => match REFUSALS.iter().find(|(of, _)| *of == api) {
            Some((_, codes)) => ("refused", Control::Error(codes[rng.usize(..codes.len())])),
            None => ("lost", Control::Disconnect),
        },
    };
    (Some(name), control)
}
