//! A log around a log that ends the process that uses it after so many calls, and may alter what it is given.
//!
//! A kill is a call that is never answered, made or not made; whoever drives the caller then drops it.

#![allow(unreachable_pub)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use headwater::core::clock::Timestamp;
use headwater::core::conformance::log::wrapper::{Answer, LogWrapper, wrap_claims};
use headwater::core::log::{
    AppendError, Claim, CommitError, Group, Log, Membership, Opened, Transaction, Writer,
};
use headwater::core::record::Append;
use headwater::core::topic::Offset;
use tokio::sync::Notify;

/// Alters what is copied to the events.
pub type Plant = fn(&mut Vec<Append>);

/// Differences that a verification must find.
pub const PLANTS: [(&str, Plant); 4] = [
    ("a value is another", |events| events[0].record.value = Some("{}".into())),
    ("a time is another", |events| events[0].record.timestamp = Timestamp(1)),
    ("a header is gone", |events| events[0].record.headers = Default::default()),
    ("two records are in another order", |events| {
        let last = events.len() - 1;
        let (first, second) = (events[0].record.clone(), events[last].record.clone());
        (events[0].record, events[last].record) = (second, first);
    }),
];

#[derive(Clone)]
pub struct Killing {
    log: Arc<dyn Log>,
    left: Arc<AtomicU64>,
    /// Whether the last call is made.
    made: bool,
    killed: Arc<Notify>,
    plant: Option<Plant>,
}

impl Killing {
    pub fn new(log: Arc<dyn Log>, calls: u64, made: bool) -> Self {
        Self { log, left: Arc::new(AtomicU64::new(calls)), made, killed: Arc::default(), plant: None }
    }

    pub fn planting(self, plant: Plant) -> Self {
        Self { plant: Some(plant), ..self }
    }

    pub async fn killed(&self) {
        self.killed.notified().await;
    }

    /// Makes a call, unless the process ends before or after it.
    async fn live<T>(self, call: impl Future<Output = T>) -> T {
        let left = self.left.load(Ordering::SeqCst);
        if left > 0 {
            self.left.store(left.saturating_sub(1), Ordering::SeqCst);
            return call.await;
        }
        if self.made {
            drop(call.await);
        }
        self.killed.notify_one();
        std::future::pending().await
    }
}

impl LogWrapper for Killing {
    fn inner(&self) -> &dyn Log {
        &*self.log
    }

    fn call<'a, T: Send + 'a>(&'a self, call: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(self.clone().live(call))
    }

    fn append(&self, appends: Vec<Append>) -> Answer<'_, Vec<Offset>, AppendError> {
        Box::pin(self.clone().live(self.log.append(appends)))
    }

    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        let log = self.clone();
        let claimed = move |_, claim| -> Box<dyn Claim> { Box::new(Claimed { claim, log: log.clone() }) };
        self.call(wrap_claims(self.log.join(group), claimed))
    }
}

struct Claimed {
    claim: Box<dyn Claim>,
    log: Killing,
}

impl Claim for Claimed {
    fn open(&self) -> Answer<'_, Opened> {
        let opened = async {
            let Opened { writer, head } = self.claim.open().await?;
            Ok(Opened { writer: Box::new(Writing { writer, log: self.log.clone() }), head })
        };
        Box::pin(self.log.clone().live(opened))
    }
}

struct Writing {
    writer: Box<dyn Writer>,
    log: Killing,
}

impl Writer for Writing {
    fn commit(&mut self, mut transaction: Transaction) -> Answer<'static, Vec<Offset>, CommitError> {
        let is_event = |append: &Append| append.to.topic.as_str() == "shop.order.events";
        if let Some(plant) = self.log.plant
            && transaction.appends.iter().any(is_event)
        {
            let (mut events, others): (Vec<_>, Vec<_>) = transaction.appends.into_iter().partition(is_event);
            plant(&mut events);
            transaction.appends = others.into_iter().chain(events).collect();
        }
        Box::pin(self.log.clone().live(self.writer.commit(transaction)))
    }
}
