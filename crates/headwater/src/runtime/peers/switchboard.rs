//! A transport within one process: instances that share a log in tests and simulations ask each other by it.
//!
//! Lines can be cut, and answers lost on their way back, so that what a caller does about it can be tested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::BoxFuture;
use parking_lot::Mutex;

use super::{PeerAddress, PeerError, PeerErrorKind, PeerQuestion, PeerService, Peers};

/// What goes wrong on the way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkFault {
    /// Nobody listens.
    Refused,
    /// The question is served, the answer does not come back.
    AnswerLost,
    /// Neither an answer nor an error comes.
    Silent,
}

#[derive(Default)]
struct Lines {
    services: BTreeMap<PeerAddress, PeerService>,
    faults: BTreeSet<(PeerAddress, LinkFault)>,
    served: BTreeMap<PeerAddress, u64>,
}

/// Connects the instances of one process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Switchboard(Arc<Mutex<Lines>>);

impl Switchboard {
    /// One without instances.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets an instance be reached at an address, in place of who was there before.
    pub fn connect(&self, address: PeerAddress, service: PeerService) {
        self.0.lock().services.insert(address, service);
    }

    /// Takes an instance away: nobody listens at its address any more.
    pub fn disconnect(&self, address: &PeerAddress) {
        self.0.lock().services.remove(address);
    }

    /// Begins or ends a fault on the way to an address.
    pub fn set_fault(&self, address: &PeerAddress, fault: LinkFault, on: bool) {
        let mut lines = self.0.lock();
        let fault = (address.clone(), fault);
        if on {
            lines.faults.insert(fault)
        } else {
            lines.faults.remove(&fault)
        };
    }

    /// How many questions an address has served.
    pub fn served(&self, address: &PeerAddress) -> u64 {
        self.0.lock().served.get(address).copied().unwrap_or_default()
    }

    fn has(&self, address: &PeerAddress, fault: LinkFault) -> bool {
        self.0.lock().faults.contains(&(address.clone(), fault))
    }

    fn service(&self, address: &PeerAddress) -> Result<PeerService, PeerError> {
        let mut lines = self.0.lock();
        let refused = lines.faults.contains(&(address.clone(), LinkFault::Refused));
        let service = lines.services.get(address).cloned().filter(|_| !refused);
        let service = service
            .ok_or_else(|| PeerError::new(PeerErrorKind::NotSent, format!("nobody listens at {address}")))?;
        *lines.served.entry(address.clone()).or_default() += 1;
        Ok(service)
    }
}

impl Peers for Switchboard {
    fn ask(&self, to: &PeerAddress, question: PeerQuestion) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let (lines, to) = (self.clone(), to.clone());
        Box::pin(async move {
            if lines.has(&to, LinkFault::Silent) {
                return std::future::pending().await;
            }
            let answer = lines.service(&to)?.answer(question).await;
            if lines.has(&to, LinkFault::AnswerLost) {
                return Err(PeerError::new(PeerErrorKind::Lost, format!("{to} went away")));
            }
            answer.map_err(|error| PeerError::new(PeerErrorKind::NotSent, format!("{to}: {error}")))
        })
    }
}
