//! A member of a group, as values: what it hears goes in, what is to be done comes out.
//!
//! The member speaks Kafka's classic group protocol, with a static name and cooperatively (KIP-345, KIP-429). It is in one
//! of four states: it has still to ask to join ([`Phase::Unjoined`]), waits for the group to form its next generation
//! ([`Phase::Joining`]), for its share of it ([`Phase::Syncing`]), or has it ([`Phase::Stable`]). At most one request of a
//! round is under way, and beside it at most one heartbeat, on a connection of its own.
//!
//! - Shards stay with the member through every round. They go when a share does not name them any more (revoked: whoever
//!   serves them gives them up in time, then the member joins again, and the group gives them on), or when the group says
//!   that it does not know the member, or only in a generation that has passed (lost).
//! - A member that joins claims every shard that has not been given up yet, so nobody gets one that is still written to;
//!   and as of the generation of its last share, the last one in which it knows the claim to have been good.
//! - What a heartbeat is answered counts only for the place that it was sent for, and only while no round is under way: a
//!   round has an answer of its own. A heartbeat that was overtaken by a join says nothing about the member.
//! - Its own requests that were never answered can reach the group late, and take its name from itself as another process
//!   would. So a member is told by so many such requests, for as long as they can be on their way, that its name is
//!   another's, before it believes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_core::topic::Partition;

use super::assignor::{Claimant, Shares, assign};

/// What a member keeps to.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// How many shards the group has.
    pub(super) shards: u32,
    /// Time between two heartbeats.
    pub(super) beat_every: Duration,
    /// Before a request is repeated that failed.
    pub(super) pause: Duration,
    /// How long a shard that is to move may be held on to.
    pub(super) release_within: Duration,
    /// How long a request that was never answered can still reach the group.
    pub(super) stray_for: Duration,
    /// A join that the group knows nothing of after so long never reached it.
    pub(super) join_heard_within: Duration,
    /// Whether the member keeps its place when it leaves.
    pub(super) stays: bool,
}

/// Who the member is in which generation of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The id that the group gave it.
    pub(super) id: String,
    pub(super) generation: i32,
}

/// How a member presents itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Presence {
    /// The id that it has; empty if none.
    pub(super) id: String,
    /// The generation of its last share; negative if it had none.
    pub(super) generation: i32,
    /// The shards that it has not given up.
    pub(super) owned: BTreeSet<Partition>,
}

/// The group has formed a generation with the member in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) place: Place,
    /// Every member, if this one is to share the shards out.
    pub(super) lead: Option<Vec<Claimant>>,
}

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The group's coordinator is, or may be, another broker.
    Elsewhere,
    /// The coordinator is still reading what it has to know.
    Loading,
    /// The group forms another generation.
    Rebalancing,
    /// The member is to join with the id that it was given.
    TakeId(String),
    /// The group does not know the member: its session ended.
    UnknownMember,
    /// The group has gone on without the member.
    OldGeneration,
    /// The member's name is another's.
    Fenced,
    /// Nobody knows whether the request was heard.
    NoAnswer,
    /// It will not be granted later either.
    Final,
    /// Anything else.
    Other,
}

/// What a member hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing; time has passed.
    Tick,
    /// The answer to [`Output::Join`].
    Joined(Result<Joined, Refusal>),
    /// The answer to [`Output::Sync`]: the member's share.
    Synced(Result<BTreeSet<Partition>, Refusal>),
    /// The answer to [`Output::Beat`].
    Beaten(Result<(), Refusal>),
    /// Whoever served a shard that is to move has given it up.
    Released(Partition),
    /// The member is to leave.
    Leave,
}

/// What a member has to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Ask to join, and forget the request of a round that is under way.
    Join(Presence),
    /// Ask for the member's share; with everybody's, if it shares them out.
    Sync(Place, Shares),
    /// Send a heartbeat.
    Beat(Place),
    /// Leave the group as the member of this id, perhaps none.
    Leave(String),
    /// Look anew for the group's coordinator before the next request.
    FindAnew,
    /// The shard is the member's.
    Gain(Partition),
    /// The shard is to be given up.
    Revoke(Partition),
    /// The shard that is to be given up is given up now, whether it has been or not.
    Take(Partition),
    /// The shard is no longer the member's.
    Lose(Partition),
    /// The membership is over.
    End(End),
}

/// How a membership ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Another process bears the member's name.
    Fenced,
    /// The group will not have it, as it said last.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It asks to join at this time; its place, if it has one, is still good.
    Unjoined(Duration),
    /// It asked at this time.
    Joining(Duration),
    Syncing,
    Stable,
    Ended,
}

/// A shard that has not been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Serving,
    /// To be given up, by this time.
    Leaving(Duration),
}

/// Requests that were never answered and may yet take the member's name from it.
#[derive(Debug)]
struct Strays {
    count: u32,
    until: Duration,
}

/// A member of a group.
#[derive(Debug)]
pub(super) struct Member {
    rules: Rules,
    now: Duration,
    phase: Phase,
    /// Empty if the group gave it none.
    id: String,
    /// Negative if it is in none.
    generation: i32,
    /// The generation of the last share.
    shared: i32,
    held: BTreeMap<Partition, Held>,
    /// The last share.
    share: BTreeSet<Partition>,
    /// What the member last claimed.
    claimed: BTreeSet<Partition>,
    strays: Strays,
    beat_at: Duration,
    /// The heartbeat that is under way, and since when.
    beating: Option<(Place, Duration)>,
    outputs: Vec<Output>,
}

impl Member {
    /// A member that joins with its first input.
    ///
    /// The life before of the same name may have left one request behind.
    pub(super) fn new(rules: Rules) -> Self {
        let strays = Strays { count: 1, until: rules.stray_for };
        Self {
            rules,
            now: Duration::ZERO,
            phase: Phase::Unjoined(Duration::ZERO),
            id: String::new(),
            generation: -1,
            shared: -1,
            held: BTreeMap::new(),
            share: BTreeSet::new(),
            claimed: BTreeSet::new(),
            strays,
            beat_at: Duration::ZERO,
            beating: None,
            outputs: Vec::new(),
        }
    }

    /// Where the member stands; `None` if the group knows it in no generation.
    ///
    /// A place is newer than the share for as long as a round lasts. The shards are the member's in it all the same: the
    /// group gave it to a member that claimed them.
    pub(super) fn place(&self) -> Option<Place> {
        let known = self.generation >= 0 && !self.id.is_empty() && self.phase != Phase::Ended;
        known.then(|| Place { id: self.id.clone(), generation: self.generation })
    }

    /// When the member next has something to do by itself.
    pub(super) fn wake(&self) -> Option<Duration> {
        let joins = match self.phase {
            Phase::Ended => return None,
            Phase::Unjoined(at) => Some(at),
            Phase::Joining(_) | Phase::Syncing | Phase::Stable => None,
        };
        let beats = (self.beating.is_none() && self.place().is_some()).then_some(self.beat_at);
        let takes = self.held.values().filter_map(|held| match held {
            Held::Serving => None,
            Held::Leaving(until) => Some(*until),
        });
        takes.chain(joins).chain(beats).min()
    }

    /// Takes what the member hears at `now`, counted from when it was made, and answers what is to be done.
    pub(super) fn hear(&mut self, now: Duration, input: Input) -> Vec<Output> {
        if self.phase == Phase::Ended {
            return Vec::new();
        }
        self.now = now;
        match input {
            Input::Tick => {}
            Input::Joined(answer) => self.joined(answer),
            Input::Synced(answer) => self.synced(answer),
            Input::Beaten(answer) => self.beaten(answer),
            Input::Released(shard) => self.released(shard),
            Input::Leave => self.leave(),
        }
        self.go_on();
        std::mem::take(&mut self.outputs)
    }

    /// What is due by time, or by what was just heard.
    fn go_on(&mut self) {
        self.take_overdue();
        if self.owes_a_round() {
            self.phase = Phase::Unjoined(self.now);
        }
        if matches!(self.phase, Phase::Unjoined(at) if at <= self.now) {
            self.join();
        }
        self.beat();
    }

    fn join(&mut self) {
        self.phase = Phase::Joining(self.now);
        self.claimed = self.held.keys().copied().collect();
        let presence = Presence { id: self.id.clone(), generation: self.shared, owned: self.claimed.clone() };
        self.outputs.push(Output::Join(presence));
    }

    fn join_after(&mut self, pause: Duration) {
        self.phase = Phase::Unjoined(self.now + pause);
    }

    fn joined(&mut self, answer: Result<Joined, Refusal>) {
        if !matches!(self.phase, Phase::Joining(_)) {
            return;
        }
        match answer {
            Ok(Joined { place, lead }) => {
                (self.id, self.generation) = (place.id.clone(), place.generation);
                let shares = lead.map(|members| assign(self.rules.shards, &members)).unwrap_or_default();
                self.phase = Phase::Syncing;
                // Having joined keeps the session.
                self.beat_at = self.now + self.rules.beat_every;
                self.outputs.push(Output::Sync(place, shares));
            }
            Err(Refusal::NoAnswer) if self.id.is_empty() => {
                self.strays =
                    Strays { count: self.strays_left() + 1, until: self.now + self.rules.stray_for };
                self.refused(Refusal::NoAnswer);
            }
            Err(refusal) => self.refused(refusal),
        }
    }

    fn synced(&mut self, answer: Result<BTreeSet<Partition>, Refusal>) {
        if self.phase != Phase::Syncing {
            return;
        }
        match answer {
            Ok(share) => {
                self.phase = Phase::Stable;
                self.shared = self.generation;
                self.share = share;
                self.revoke();
                self.gain();
            }
            // The generation ended before it was shared out; the next is formed now.
            Err(Refusal::Rebalancing) => self.join_after(Duration::ZERO),
            Err(refusal) => self.refused(refusal),
        }
    }

    /// Has what the share does not name any more given up.
    fn revoke(&mut self) {
        let until = self.now + self.rules.release_within;
        for (shard, held) in &mut self.held {
            if *held == Held::Serving && !self.share.contains(shard) {
                *held = Held::Leaving(until);
                self.outputs.push(Output::Revoke(*shard));
            }
        }
    }

    /// Takes what the share names. What is still being given up becomes the member's anew once it has been.
    fn gain(&mut self) {
        for shard in &self.share {
            if !self.held.contains_key(shard) {
                self.held.insert(*shard, Held::Serving);
                self.outputs.push(Output::Gain(*shard));
            }
        }
    }

    fn released(&mut self, shard: Partition) {
        if !matches!(self.held.get(&shard), Some(Held::Leaving(_))) {
            return;
        }
        self.held.remove(&shard);
        // While a round is under way the share is one of the past.
        if self.phase == Phase::Stable {
            self.gain();
        }
    }

    fn take_overdue(&mut self) {
        let overdue = |held: &Held| matches!(held, Held::Leaving(until) if *until <= self.now);
        let overdue: Vec<_> =
            self.held.iter().filter(|(_, held)| overdue(held)).map(|(shard, _)| *shard).collect();
        for shard in overdue {
            self.outputs.push(Output::Take(shard));
            self.released(shard);
        }
    }

    /// Whether the group waits to hear that the member has given up what it had claimed.
    fn owes_a_round(&self) -> bool {
        let all_served = self.held.values().all(|held| *held == Held::Serving);
        let gone = |shard: &Partition| !self.held.contains_key(shard) && !self.share.contains(shard);
        self.phase == Phase::Stable && all_served && self.claimed.iter().any(gone)
    }

    fn beat(&mut self) {
        let Some(place) = self.place().filter(|_| self.beating.is_none() && self.beat_at <= self.now) else {
            return;
        };
        self.beat_at = self.now + self.rules.beat_every;
        self.beating = Some((place.clone(), self.now));
        self.outputs.push(Output::Beat(place));
    }

    fn beaten(&mut self, answer: Result<(), Refusal>) {
        let Some((asked, since)) = self.beating.take() else { return };
        match (answer, self.phase) {
            (Err(Refusal::Elsewhere | Refusal::NoAnswer), _) => self.outputs.push(Output::FindAnew),
            _ if self.place().as_ref() != Some(&asked) => {}
            // A group at rest waits for nobody's join: it never came, as when the coordinator has moved meanwhile.
            (Ok(()), Phase::Joining(from)) if since >= from + self.rules.join_heard_within => {
                self.join_after(Duration::ZERO);
            }
            (Err(Refusal::Rebalancing), Phase::Stable) => self.join_after(Duration::ZERO),
            (
                Err(
                    refusal @ (Refusal::UnknownMember
                    | Refusal::OldGeneration
                    | Refusal::Fenced
                    | Refusal::Final),
                ),
                Phase::Stable,
            ) => self.refused(refusal),
            _ => {}
        }
    }

    /// What a request of the member's was refused for, where that is said of the member as it is now.
    fn refused(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Elsewhere | Refusal::NoAnswer => {
                self.outputs.push(Output::FindAnew);
                self.join_after(self.rules.pause);
            }
            Refusal::TakeId(id) => {
                self.id = id;
                self.join_after(Duration::ZERO);
            }
            Refusal::UnknownMember => self.begin_anew(),
            // The group knows the id, and keeps it for the name.
            Refusal::OldGeneration => {
                self.lose_all();
                self.join_after(self.rules.pause);
            }
            Refusal::Fenced if self.strays_left() > 0 => {
                self.strays.count -= 1;
                self.begin_anew();
            }
            Refusal::Fenced => self.end(End::Fenced),
            Refusal::Final => self.end(End::Refused),
            Refusal::Loading | Refusal::Rebalancing | Refusal::Other => self.join_after(self.rules.pause),
        }
    }

    fn strays_left(&self) -> u32 {
        if self.now < self.strays.until { self.strays.count } else { 0 }
    }

    /// Joins as one that the group does not know.
    fn begin_anew(&mut self) {
        self.lose_all();
        self.id.clear();
        self.join_after(self.rules.pause);
    }

    fn lose_all(&mut self) {
        for (shard, held) in std::mem::take(&mut self.held) {
            self.outputs.push(match held {
                Held::Serving => Output::Lose(shard),
                // It was told to go already.
                Held::Leaving(_) => Output::Take(shard),
            });
        }
        self.share.clear();
        self.claimed.clear();
        (self.generation, self.shared) = (-1, -1);
    }

    fn end(&mut self, end: End) {
        self.lose_all();
        self.phase = Phase::Ended;
        self.outputs.push(Output::End(end));
    }

    fn leave(&mut self) {
        let taken = std::mem::take(&mut self.held).into_keys().map(Output::Take);
        self.outputs.extend(taken);
        if !self.rules.stays {
            self.outputs.push(Output::Leave(self.id.clone()));
        }
        self.phase = Phase::Ended;
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "group_tests.rs"]
mod group_tests;
