//! One instance's way to the log that several share: it can be cut for good, as a kill of the process does.
//!
//! Whatever was under way when the instance is killed has the outcome that the log gives it; the instance hears of
//! none, and nothing that it does afterwards reaches the log. Its memberships end, as those of a dead process do.

use headwater::core::conformance::log::wrapper::{Answer, LogWrapper, wrap_claims};
use headwater::core::log::{
    AppendError, Claim, CommitError, Group, Log, LogError, LogErrorKind, Membership, Opened, ShardChange,
    Transaction, Writer,
};
use headwater::core::record::Append;
use headwater::core::topic::Offset;
use headwater::log::memory::MemoryLog;
use tokio_util::sync::CancellationToken;

/// The log as one instance has it.
#[derive(Clone)]
pub(crate) struct InstanceLog {
    pub(crate) log: MemoryLog,
    pub(crate) killed: CancellationToken,
}

fn dead() -> LogError {
    LogError::new(LogErrorKind::Closed, "the instance was killed")
}

/// What the call answers, unless the instance is killed before.
async fn alive<T, E>(
    killed: &CancellationToken,
    gone: impl FnOnce(LogError) -> E,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::select! {
        biased;
        () = killed.cancelled() => Err(gone(dead())),
        answer = call => answer,
    }
}

impl LogWrapper for InstanceLog {
    fn inner(&self) -> &dyn Log {
        &self.log
    }

    fn call<'a, T: Send + 'a>(&'a self, call: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(alive(&self.killed, |error| error, call))
    }

    fn append(&self, appends: Vec<Append>) -> Answer<'_, Vec<Offset>, AppendError> {
        Box::pin(alive(&self.killed, AppendError::Unknown, self.log.append(appends)))
    }

    fn join<'a>(&'a self, group: &'a Group) -> Answer<'a, Box<dyn Membership>> {
        let killed = self.killed.clone();
        let joining = wrap_claims(self.log.join(group), move |_, claim| {
            Box::new(InstanceClaim { claim, killed: killed.clone() })
        });
        Box::pin(async move {
            let member = Some(self.call(joining).await?);
            let member: Box<dyn Membership> =
                Box::new(InstanceMember { member, killed: self.killed.clone() });
            Ok(member)
        })
    }
}

struct InstanceMember {
    /// `None` once the instance is killed.
    member: Option<Box<dyn Membership>>,
    killed: CancellationToken,
}

impl Membership for InstanceMember {
    fn next(&mut self) -> Answer<'_, ShardChange> {
        Box::pin(async move {
            let Some(member) = &mut self.member else { return Err(dead()) };
            let change = alive(&self.killed, |error| error, member.next()).await;
            if self.killed.is_cancelled() {
                self.member = None;
                return Err(dead());
            }
            change
        })
    }

    fn leave(self: Box<Self>) -> Answer<'static, ()> {
        match self.member {
            Some(member) => member.leave(),
            None => Box::pin(std::future::ready(Err(dead()))),
        }
    }
}

struct InstanceClaim {
    claim: Box<dyn Claim>,
    killed: CancellationToken,
}

impl Claim for InstanceClaim {
    fn open(&self) -> Answer<'_, Opened> {
        Box::pin(async move {
            let Opened { writer, head } = alive(&self.killed, |error| error, self.claim.open()).await?;
            let writer = Box::new(InstanceWriter { writer, killed: self.killed.clone() });
            Ok(Opened { writer, head })
        })
    }
}

struct InstanceWriter {
    writer: Box<dyn Writer>,
    killed: CancellationToken,
}

impl Writer for InstanceWriter {
    fn commit(&mut self, transaction: Transaction) -> Answer<'static, Vec<Offset>, CommitError> {
        if self.killed.is_cancelled() {
            return Box::pin(std::future::ready(Err(CommitError::Fenced)));
        }
        let (killed, answer) = (self.killed.clone(), self.writer.commit(transaction));
        Box::pin(async move { alive(&killed, CommitError::Unknown, answer).await })
    }
}
