//! Membership of a group: who has which shard.
//!
//! The classic protocol with a static name per instance gives a restarted instance its shards back at once, and another
//! one those of an instance that is gone after one session; shards move cooperatively, so that those that stay are
//! written to all the while. What a member does about what it hears is decided in [`member`], without any I/O; who gets
//! which shard in [`assignor`]; here it is done, over [`wire`].
//!
//! A shard that is to move is told as revoked, and goes on to its next owner when its claim and its writers are dropped,
//! or when whoever holds them has had time enough. One that the group has given away already is told as lost.
//!
//! A member that is out of touch with its group keeps its shards: whoever gets one of them next opens its writer, which
//! fences this one's, and only the group can say that it was given away.

mod assignor;
mod member;
mod wire;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use headwater_core::BoxFuture;
use headwater_core::log::{Group, LogError, LogErrorKind, Membership, ShardChange};
use headwater_core::position::Position;
use headwater_core::topic::Partition;
use krafka::KrafkaError;
use krafka::consumer::ConsumerGroupMetadata;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use crate::claim::{Hold, KafkaClaim, Means, Standing};
use crate::errors::failed_to;
use crate::names::OwnName;
use crate::operation::Operation;
use crate::settings::KafkaSettings;
use crate::topics::unknown;

use self::member::{End, Input, Output, Place, Refusal, Rules};
use self::wire::{Refused, Wire};

/// Before a request is repeated that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Heartbeats in the time of a session: members hear by them that others come and go.
const BEATS_PER_SESSION: u32 = 12;

/// How many times in a session's time a heartbeat that has no answer is given up, and the coordinator looked for anew.
const FINDS_PER_SESSION: u32 = 3;

type Change = Result<ShardChange, LogError>;
type Left = oneshot::Sender<Result<(), LogError>>;

/// A member of a group.
pub(crate) struct Member {
    means: Arc<Means>,
    wire: Arc<Wire>,
    standing: Arc<Standing>,
    changes: mpsc::UnboundedReceiver<Change>,
    /// Dropping it leaves, too.
    leave: Option<oneshot::Sender<Left>>,
}

impl Member {
    /// As [`Log::join`](headwater_core::log::Log::join).
    pub(crate) async fn join(means: Means) -> Result<Box<dyn Membership>, LogError> {
        check(&means).await?;
        let means = Arc::new(means);
        let settings = means.connection.settings();
        let name = OwnName::take(format!("{} at {}", means.group.name, settings.servers), &settings.instance);
        let wire = Arc::new(Wire::open(means.clone(), name.as_str()).await?);
        let standing = Arc::new(Standing::default());
        let (told, changes) = mpsc::unbounded_channel();
        let (leave, left) = oneshot::channel();
        tokio::spawn(Driver::new(means.clone(), name, wire.clone(), standing.clone(), told).run(left));
        Ok(Box::new(Self { means, wire, standing, changes, leave: Some(leave) }))
    }

    async fn tell(&self, positions: Position) -> Result<(), LogError> {
        let what = Operation::TellPositions(&self.means.group.name);
        let Some(place) = self.standing.get() else {
            let message = format!("could not {what}: the group does not know this member now");
            return Err(LogError::new(LogErrorKind::Unavailable, message));
        };
        let place = Place { id: place.member_id().to_owned(), generation: place.generation_id() };
        self.wire.commit(&place, &positions).await.map_err(|refused| failed_to(what, refused.error))
    }
}

/// Whether the group's topic has a partition per shard.
async fn check(means: &Means) -> Result<(), LogError> {
    let Group { name, shards, topic } = &means.group;
    let found = means.topics.describe(topic).await?.ok_or_else(|| unknown(topic.as_str()))?;
    if found.settings.partitions == *shards {
        return Ok(());
    }
    let partitions = found.settings.partitions;
    let message =
        format!("the group {name} has {shards} shards, but its topic {topic} {partitions} partitions");
    Err(LogError::new(LogErrorKind::Invalid, message))
}

impl Membership for Member {
    fn next(&mut self) -> BoxFuture<'_, Result<ShardChange, LogError>> {
        Box::pin(async {
            let group = &self.means.group.name;
            let ended =
                || LogError::new(LogErrorKind::Closed, format!("the membership of {group} has ended"));
            self.changes.recv().await.unwrap_or_else(|| Err(ended()))
        })
    }

    fn leave(mut self: Box<Self>) -> BoxFuture<'static, Result<(), LogError>> {
        let (answer, answered) = oneshot::channel();
        let asked = self.leave.take().is_some_and(|leave| leave.send(answer).is_ok());
        Box::pin(async move {
            // A member that has ended has left.
            if asked { answered.await.unwrap_or(Ok(())) } else { Ok(()) }
        })
    }

    fn processed(&self, positions: Position) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(self.tell(positions))
    }
}

fn rules(settings: &KafkaSettings, group: &Group) -> Rules {
    Rules {
        shards: group.shards,
        beat_every: settings.session_timeout / BEATS_PER_SESSION,
        pause: PAUSE,
        release_within: settings.rebalance_timeout * 2 / 3,
        stray_for: settings.rebalance_timeout,
        join_heard_within: settings.session_timeout / FINDS_PER_SESSION,
        stays: settings.restart_follows,
    }
}

/// A request that is under way, as what the member will hear of it.
type Asking = Option<BoxFuture<'static, Answer>>;

/// What the member hears, and what the cluster said of it if that was no good.
struct Answer {
    input: Input,
    said: Option<KrafkaError>,
}

impl Answer {
    fn new<T>(answer: Result<T, Refused>, input: impl FnOnce(Result<T, Refusal>) -> Input) -> Self {
        match answer {
            Ok(granted) => Self { input: input(Ok(granted)), said: None },
            Err(Refused { refusal, error }) => Self { input: input(Err(refusal)), said: Some(error) },
        }
    }
}

/// The answer to what is under way, once; never, if nothing is.
async fn answered(asking: &mut Asking) -> Answer {
    let Some(under_way) = asking else { return pending().await };
    let answer = under_way.await;
    *asking = None;
    answer
}

/// A shard that the member has.
struct Shard {
    hold: Weak<Hold>,
    released: Option<oneshot::Receiver<Infallible>>,
    /// Which one it is among all that the member ever had.
    count: u64,
}

impl Shard {
    fn end(&self) {
        if let Some(hold) = self.hold.upgrade() {
            hold.end();
        }
    }
}

/// The task that keeps a membership alive.
struct Driver {
    means: Arc<Means>,
    name: OwnName,
    wire: Arc<Wire>,
    standing: Arc<Standing>,
    told: mpsc::UnboundedSender<Change>,
    member: member::Member,
    since: Instant,
    /// The request of a round.
    round: Asking,
    beat: Asking,
    shards: HashMap<Partition, Shard>,
    /// How many shards there have been.
    gained: u64,
    /// Shards that are to be given up, as they are.
    releases: FuturesUnordered<BoxFuture<'static, (Partition, u64)>>,
    /// What the cluster said last, where that was no good.
    said: Option<KrafkaError>,
}

/// What follows once the member has heard something.
enum Then {
    GoOn,
    /// The group is to be told that the member of this id leaves.
    Leave(String),
    End(End),
}

impl Driver {
    fn new(
        means: Arc<Means>,
        name: OwnName,
        wire: Arc<Wire>,
        standing: Arc<Standing>,
        told: mpsc::UnboundedSender<Change>,
    ) -> Self {
        let member = member::Member::new(rules(means.connection.settings(), &means.group));
        Self {
            means,
            name,
            wire,
            standing,
            told,
            member,
            since: Instant::now(),
            round: None,
            beat: None,
            shards: HashMap::new(),
            gained: 0,
            releases: FuturesUnordered::new(),
            said: None,
        }
    }

    async fn run(mut self, mut left: oneshot::Receiver<Left>) {
        loop {
            let answer = tokio::select! {
                biased;
                waiting = &mut left => return self.leave(waiting.ok()).await,
                answer = self.next() => answer,
            };
            if let Then::End(end) = self.hear(answer) {
                return self.end(end);
            }
        }
    }

    /// The next thing that the member hears.
    async fn next(&mut self) -> Answer {
        let wake = self.member.wake().map(|at| self.since + at);
        let time = async {
            match wake {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let input = tokio::select! {
            answer = answered(&mut self.round) => return answer,
            answer = answered(&mut self.beat) => return answer,
            Some((shard, count)) = self.releases.next() => {
                let is_this = self.shards.get(&shard).is_some_and(|held| held.count == count);
                if is_this {
                    self.shards.remove(&shard);
                    Input::Released(shard)
                } else {
                    Input::Tick
                }
            }
            () = time => Input::Tick,
        };
        Answer { input, said: None }
    }

    fn hear(&mut self, answer: Answer) -> Then {
        let Answer { input, said } = answer;
        let is_odd = matches!(input, Input::Joined(Err(Refusal::Other)) | Input::Synced(Err(Refusal::Other)));
        let outputs = self.member.hear(self.since.elapsed(), input);
        if let Some(error) = said {
            self.note(&outputs, is_odd, error);
        }
        self.standing.set(self.member.place().map(|place| self.metadata(place)));
        let mut then = Then::GoOn;
        for output in outputs {
            match self.carry_out(output) {
                Then::GoOn => {}
                other => then = other,
            }
        }
        then
    }

    /// Notes what the cluster said. Most of it is said in the course of things; shards that are lost are not.
    fn note(&mut self, outputs: &[Output], is_odd: bool, error: KrafkaError) {
        let group = &self.means.group.name;
        if outputs.iter().any(|output| matches!(output, Output::Lose(_))) {
            tracing::warn!(group, %error, "the group does not know this member any more; it joins anew");
        } else if is_odd {
            tracing::warn!(group, %error, "the group cannot be joined now");
        } else {
            tracing::debug!(group, %error, "the group did not grant a request");
        }
        self.said = Some(error);
    }

    fn metadata(&self, place: Place) -> ConsumerGroupMetadata {
        let (group, name) = (&*self.means.group.name, self.name.as_str());
        ConsumerGroupMetadata::new(group, place.generation, place.id, Some(name.to_owned()))
    }

    fn carry_out(&mut self, output: Output) -> Then {
        let wire = self.wire.clone();
        match output {
            Output::Join(presence) => {
                let join = async move { Answer::new(wire.join(&presence).await, Input::Joined) };
                self.round = Some(Box::pin(join));
            }
            Output::Sync(place, shares) => {
                let sync = async move { Answer::new(wire.sync(&place, &shares).await, Input::Synced) };
                self.round = Some(Box::pin(sync));
            }
            Output::Beat(place) => {
                let patience = self.means.connection.settings().session_timeout / FINDS_PER_SESSION;
                self.beat = Some(Box::pin(beat(wire, place, patience)));
            }
            Output::FindAnew => wire.find_anew(),
            Output::Gain(shard) => self.gain(shard),
            Output::Revoke(shard) => self.revoke(shard),
            Output::Take(shard) => self.take(shard),
            Output::Lose(shard) => {
                self.take(shard);
                self.tell(Ok(ShardChange::Lost(shard)));
            }
            Output::Leave(id) => return Then::Leave(id),
            Output::End(end) => return Then::End(end),
        }
        Then::GoOn
    }

    fn tell(&self, change: Change) {
        // Nobody listens to a member that was dropped.
        let _ = self.told.send(change);
    }

    fn gain(&mut self, shard: Partition) {
        let (hold, released) = Hold::new(self.means.clone(), self.standing.clone(), shard);
        self.gained += 1;
        let held = Shard { hold: Arc::downgrade(&hold), released: Some(released), count: self.gained };
        let before = self.shards.insert(shard, held);
        assert!(before.is_none(), "a shard that comes back was given up first");
        self.tell(Ok(ShardChange::Gained(shard, Box::new(KafkaClaim(hold)))));
    }

    /// Waits, beside everything else, until the shard's claim and writers are dropped.
    fn revoke(&mut self, shard: Partition) {
        let held = self.shards.get_mut(&shard).expect("a shard that is revoked was gained");
        let count = held.count;
        if let Some(released) = held.released.take() {
            self.releases.push(Box::pin(async move {
                // It only ever ends by being dropped.
                let _ = released.await;
                (shard, count)
            }));
        }
        self.tell(Ok(ShardChange::Revoked(shard)));
    }

    fn take(&mut self, shard: Partition) {
        if let Some(held) = self.shards.remove(&shard) {
            if held.hold.upgrade().is_some() {
                tracing::debug!(group = %self.means.group.name, %shard, "a shard went before it was given up");
            }
            held.end();
        }
    }

    async fn leave(mut self, waiting: Option<Left>) {
        let then = self.hear(Answer { input: Input::Leave, said: None });
        let left = match then {
            Then::Leave(id) => self.tell_the_group(&id).await,
            Then::GoOn | Then::End(_) => Ok(()),
        };
        // Whoever hears of it and joins again finds the name free.
        drop(self);
        if let Some(waiting) = waiting {
            // Nobody may be waiting for it any more.
            let _ = waiting.send(left);
        }
    }

    /// Tells the group that the member leaves, for as long as a call may try.
    async fn tell_the_group(&mut self, id: &str) -> Result<(), LogError> {
        let what = Operation::LeaveGroup(&self.means.group.name);
        let deadline = Instant::now() + self.means.connection.settings().patience;
        loop {
            let left = timeout(deadline.saturating_duration_since(Instant::now()), self.wire.leave(id)).await;
            let Refused { refusal, error } = match left {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(refused)) => refused,
                Err(_) => KrafkaError::timeout("the group's coordinator did not answer").into(),
            };
            if refusal == Refusal::Final || Instant::now() + PAUSE >= deadline {
                return Err(failed_to(what, error));
            }
            self.wire.find_anew();
            sleep(PAUSE).await;
        }
    }

    /// Says why the membership is over. The group is not told: to leave by this name would take the place of whoever
    /// bears it now.
    fn end(mut self, end: End) {
        let group = &self.means.group.name;
        let said = self.said.take().unwrap_or_else(|| KrafkaError::timeout("the group said nothing"));
        let error = match end {
            End::Fenced => {
                let message = format!(
                    "another process joined the group {group} as instance \"{}\": its data directory is a copy of \
                     this one's, or this one was taken for dead and replaced; give each instance a data directory of \
                     its own",
                    self.name.as_str()
                );
                LogError::new(LogErrorKind::Fenced, message).with_source(said)
            }
            End::Refused => failed_to(Operation::BeMember(group), said),
        };
        let told = self.told.clone();
        // Whoever hears of the end and joins again finds the name free.
        drop(self);
        let _ = told.send(Err(error));
    }
}

async fn beat(wire: Arc<Wire>, place: Place, patience: Duration) -> Answer {
    let beaten = timeout(patience, wire.beat(&place)).await;
    let no_answer = || KrafkaError::timeout("a heartbeat had no answer").into();
    Answer::new(beaten.unwrap_or_else(|_| Err(no_answer())), Input::Beaten)
}
