//! Whole groups of members and a coordinator, all of them values, at random: members come and go, requests overtake each
//! other and are lost. The coordinator is Kafka's as far as members can tell.

use fastrand::Rng;

use super::*;

const SHARDS: u32 = 7;
const SESSION: Duration = Duration::from_secs(6);

fn rules() -> Rules {
    Rules {
        shards: SHARDS,
        beat_every: SESSION / 12,
        pause: Duration::from_millis(200),
        release_within: Duration::from_secs(20),
        stray_for: Duration::from_secs(30),
        join_heard_within: SESSION / 3,
        stays: false,
    }
}

/// Which request an answer is for: the actor, and which of its requests.
type Tag = (usize, u64);

#[derive(Debug, Clone)]
enum Ask {
    Join(Presence),
    Sync(Place, Shares),
    Beat(Place),
    Leave(String),
}

impl Ask {
    /// What its sender hears if it has no answer.
    fn lost(&self) -> Option<Input> {
        match self {
            Ask::Join(_) => Some(Input::Joined(Err(Refusal::NoAnswer))),
            Ask::Sync(..) => Some(Input::Synced(Err(Refusal::NoAnswer))),
            Ask::Beat(_) => Some(Input::Beaten(Err(Refusal::NoAnswer))),
            Ask::Leave(_) => None,
        }
    }
}

#[derive(Debug)]
struct Enrolled {
    name: usize,
    said: Presence,
    joins: Option<Tag>,
    syncs: Option<Tag>,
    share: BTreeSet<Partition>,
    heard: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preparing,
    Completing,
    Stable,
}

/// The group's coordinator, as in `GroupMetadataManager`'s classic groups.
struct Coordinator {
    state: State,
    generation: i32,
    ids: u64,
    leader: String,
    members: BTreeMap<String, Enrolled>,
    answers: Vec<(Tag, Input)>,
}

impl Coordinator {
    fn new() -> Self {
        Self {
            state: State::Stable,
            generation: 0,
            ids: 0,
            leader: String::new(),
            members: BTreeMap::new(),
            answers: Vec::new(),
        }
    }

    fn hear(&mut self, now: Duration, tag: Tag, ask: Ask) {
        match ask {
            Ask::Join(said) => self.join(now, tag, said),
            Ask::Sync(place, shares) => self.sync(now, tag, &place, shares),
            Ask::Beat(place) => {
                let answer = self.check(now, &place).and(match self.state {
                    State::Preparing => Err(Refusal::Rebalancing),
                    State::Completing | State::Stable => Ok(()),
                });
                self.answers.push((tag, Input::Beaten(answer)));
            }
            Ask::Leave(id) => {
                let before = self.members.len();
                self.members.retain(|known, member| *known != id && member.name != tag.0);
                if self.members.len() < before {
                    self.prepare(now);
                }
            }
        }
    }

    fn check(&mut self, now: Duration, place: &Place) -> Result<(), Refusal> {
        let member = self.members.get_mut(&place.id).ok_or(Refusal::UnknownMember)?;
        if place.generation != self.generation {
            return Err(Refusal::OldGeneration);
        }
        member.heard = now;
        Ok(())
    }

    fn join(&mut self, now: Duration, tag: Tag, said: Presence) {
        if !said.id.is_empty() && !self.members.contains_key(&said.id) {
            return self.answers.push((tag, Input::Joined(Err(Refusal::UnknownMember))));
        }
        let mut id = said.id.clone();
        let mut share = BTreeSet::new();
        if id.is_empty() {
            self.ids += 1;
            id = format!("id{}", self.ids);
            let before = self.members.iter().find(|(_, member)| member.name == tag.0);
            if let Some(before) = before.map(|(id, _)| id.clone()) {
                share = self.members.remove(&before).expect("it was just found").share;
                if self.state == State::Stable {
                    // A static member that comes back gets what it had, without a round (KIP-345).
                    let place = Place { id: id.clone(), generation: self.generation };
                    let back = Enrolled { name: tag.0, said, joins: None, syncs: None, share, heard: now };
                    self.members.insert(id, back);
                    return self.answers.push((tag, Input::Joined(Ok(Joined { place, lead: None }))));
                }
            }
        }
        let joins = Enrolled { name: tag.0, said, joins: Some(tag), syncs: None, share, heard: now };
        self.members.insert(id, joins);
        self.prepare(now);
    }

    /// Begins a round, and ends it if everybody is there.
    fn prepare(&mut self, now: Duration) {
        if self.state == State::Completing {
            let waiting = self.members.values_mut().filter_map(|member| member.syncs.take());
            self.answers.extend(waiting.map(|tag| (tag, Input::Synced(Err(Refusal::Rebalancing)))));
        }
        self.state = State::Preparing;
        if self.members.is_empty() || self.members.values().any(|member| member.joins.is_none()) {
            return;
        }
        self.generation += 1;
        self.state = State::Completing;
        self.leader = self.members.keys().next().expect("there are members").clone();
        let claimant = |(id, member): (&String, &Enrolled)| Claimant {
            id: id.clone(),
            name: format!("name{}", member.name),
            takes_part: true,
            generation: member.said.generation,
            owned: member.said.owned.clone(),
        };
        let claimants: Vec<_> = self.members.iter().map(claimant).collect();
        for (id, member) in &mut self.members {
            let place = Place { id: id.clone(), generation: self.generation };
            let lead = (*id == self.leader).then(|| claimants.clone());
            let tag = member.joins.take().expect("everybody has joined");
            member.heard = now;
            self.answers.push((tag, Input::Joined(Ok(Joined { place, lead }))));
        }
    }

    fn sync(&mut self, now: Duration, tag: Tag, place: &Place, shares: Shares) {
        if let Err(refusal) = self.check(now, place) {
            return self.answers.push((tag, Input::Synced(Err(refusal))));
        }
        match self.state {
            State::Preparing => self.answers.push((tag, Input::Synced(Err(Refusal::Rebalancing)))),
            State::Stable => {
                let share = self.members[&place.id].share.clone();
                self.answers.push((tag, Input::Synced(Ok(share))));
            }
            State::Completing => {
                self.members.get_mut(&place.id).expect("it was just checked").syncs = Some(tag);
                if place.id == self.leader {
                    self.share_out(now, shares);
                }
            }
        }
    }

    fn share_out(&mut self, now: Duration, mut shares: Shares) {
        self.state = State::Stable;
        for (id, member) in &mut self.members {
            member.share = shares.remove(id).unwrap_or_default();
            if let Some(tag) = member.syncs.take() {
                member.heard = now;
                self.answers.push((tag, Input::Synced(Ok(member.share.clone()))));
            }
        }
    }

    /// Whoever was not heard of for a session, and is not waited with, is gone.
    fn expire(&mut self, now: Duration) {
        let gone = |member: &Enrolled| {
            member.joins.is_none() && member.syncs.is_none() && now > member.heard + SESSION
        };
        let before = self.members.len();
        self.members.retain(|_, member| !gone(member));
        if self.members.len() < before {
            self.prepare(now);
        }
    }
}

struct Actor {
    member: Member,
    /// The shards that it has, and whether they are to be given up.
    held: BTreeMap<Partition, bool>,
    /// The request of the round that is under way, and the heartbeat.
    round: u64,
    beat: u64,
    lost: usize,
    left: bool,
}

enum Letter {
    To(Tag, Ask),
    Back(Tag, Input),
}

impl Letter {
    fn socket(&self) -> Option<(usize, bool)> {
        match self {
            Letter::To((who, _), Ask::Join(_) | Ask::Sync(..)) => Some((*who, true)),
            Letter::To((who, _), Ask::Beat(_) | Ask::Leave(_)) => Some((*who, false)),
            Letter::Back(..) => None,
        }
    }
}

struct World {
    seed: u64,
    rng: Rng,
    now: Duration,
    tags: u64,
    coordinator: Coordinator,
    actors: Vec<Actor>,
    post: Vec<Letter>,
    /// How many letters in a hundred are lost.
    losses: u8,
    /// An actor whose letters are all lost.
    cut_off: Option<usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            rng: Rng::with_seed(seed),
            now: Duration::ZERO,
            tags: 0,
            coordinator: Coordinator::new(),
            actors: Vec::new(),
            post: Vec::new(),
            losses: 0,
            cut_off: None,
        }
    }

    fn come(&mut self) {
        let actor = self.actor();
        self.actors.push(actor);
        self.tell(self.actors.len() - 1, Input::Tick);
    }

    /// The actor's process is killed, and starts again under its name.
    fn come_back(&mut self, who: usize) {
        self.actors[who] = self.actor();
        self.tell(who, Input::Tick);
    }

    fn actor(&self) -> Actor {
        let mut member = Member::new(rules());
        // Its time begins with the world's.
        member.now = self.now;
        member.strays.until = self.now + member.rules.stray_for;
        Actor { member, held: BTreeMap::new(), round: 0, beat: 0, lost: 0, left: false }
    }

    fn go(&mut self, who: usize) {
        self.actors[who].left = true;
        self.tell(who, Input::Leave);
    }

    fn tell(&mut self, who: usize, input: Input) {
        for output in self.actors[who].member.hear(self.now, input) {
            self.tags += 1;
            let tag = (who, self.tags);
            let actor = &mut self.actors[who];
            match output {
                Output::Join(said) => {
                    actor.round = self.tags;
                    self.post.push(Letter::To(tag, Ask::Join(said)));
                }
                Output::Sync(place, shares) => {
                    actor.round = self.tags;
                    self.post.push(Letter::To(tag, Ask::Sync(place, shares)));
                }
                Output::Beat(place) => {
                    actor.beat = self.tags;
                    self.post.push(Letter::To(tag, Ask::Beat(place)));
                }
                Output::Leave(id) => self.post.push(Letter::To(tag, Ask::Leave(id))),
                Output::FindAnew => {}
                Output::Gain(shard) => {
                    assert_eq!(actor.held.insert(shard, false), None, "seed {}: gained twice", self.seed);
                }
                Output::Revoke(shard) => {
                    assert_eq!(actor.held.insert(shard, true), Some(false), "seed {}: revoked", self.seed);
                }
                Output::Take(shard) => assert!(actor.held.remove(&shard).is_some(), "seed {}", self.seed),
                Output::Lose(shard) => {
                    assert_eq!(actor.held.remove(&shard), Some(false), "seed {}: lost", self.seed);
                    actor.lost += 1;
                }
                Output::End(end) => panic!("seed {}: actor {who} ended: {end:?}", self.seed),
            }
        }
    }

    fn step(&mut self) {
        if self.post.is_empty() || self.rng.u8(..4) == 0 {
            self.now += Duration::from_millis(self.rng.u64(1..120));
            self.coordinator.expire(self.now);
        } else {
            let letter = self.pick();
            self.deliver(letter);
        }
        let answers = std::mem::take(&mut self.coordinator.answers);
        self.post.extend(answers.into_iter().map(|(tag, input)| Letter::Back(tag, input)));
        for who in 0..self.actors.len() {
            let leaving =
                self.actors[who].held.iter().find(|(_, leaving)| **leaving).map(|(shard, _)| *shard);
            if let Some(shard) = leaving.filter(|_| self.rng.u8(..20) == 0) {
                self.actors[who].held.remove(&shard);
                self.tell(who, Input::Released(shard));
            }
            if self.actors[who].member.wake().is_some_and(|at| at <= self.now) {
                self.tell(who, Input::Tick);
            }
        }
    }

    /// Any letter, but of the requests that one actor sends on the same socket the first.
    fn pick(&mut self) -> Letter {
        let any = self.rng.usize(..self.post.len());
        let socket = self.post[any].socket();
        let first = self.post.iter().position(|letter| socket.is_some() && letter.socket() == socket);
        self.post.remove(first.unwrap_or(any))
    }

    fn deliver(&mut self, letter: Letter) {
        let (Letter::To((who, _), _) | Letter::Back((who, _), _)) = &letter;
        let lost = self.cut_off == Some(*who) || self.rng.u8(..100) < self.losses;
        match letter {
            Letter::To(tag, ask) => match ask.lost().filter(|_| lost) {
                Some(unheard) => self.post.push(Letter::Back(tag, unheard)),
                None => self.coordinator.hear(self.now, tag, ask),
            },
            Letter::Back((who, number), input) => {
                let input = if lost { unanswered(input) } else { input };
                let actor = &self.actors[who];
                let waited_for = match input {
                    Input::Beaten(_) => actor.beat,
                    _ => actor.round,
                };
                if waited_for == number {
                    self.tell(who, input);
                }
            }
        }
    }

    fn run(&mut self, steps: usize, mut check: impl FnMut(&Self)) {
        for _ in 0..steps {
            self.step();
            check(self);
        }
    }

    fn owners(&self, shard: Partition) -> usize {
        self.actors.iter().filter(|actor| actor.held.contains_key(&shard)).count()
    }

    /// Everybody who is there serves a share of the same size, give or take one, and every shard is served once.
    fn is_at_rest(&self) -> bool {
        let here = self.actors.iter().filter(|actor| !actor.left);
        let counts: Vec<usize> =
            here.map(|actor| actor.held.values().filter(|leaving| !**leaving).count()).collect();
        let even =
            counts.iter().max().zip(counts.iter().min()).is_some_and(|(most, least)| most - least <= 1);
        even && (0..SHARDS).map(Partition).all(|shard| self.owners(shard) == 1)
    }

    fn come_to_rest(&mut self) {
        for _ in 0..60_000 {
            if self.is_at_rest() {
                return;
            }
            self.step();
        }
        let held: Vec<_> = self.actors.iter().map(|actor| (&actor.held, actor.member.phase)).collect();
        panic!("seed {}: the group does not come to rest: {held:?}", self.seed);
    }
}

fn unanswered(input: Input) -> Input {
    match input {
        Input::Joined(_) => Input::Joined(Err(Refusal::NoAnswer)),
        Input::Synced(_) => Input::Synced(Err(Refusal::NoAnswer)),
        Input::Beaten(_) => Input::Beaten(Err(Refusal::NoAnswer)),
        other => other,
    }
}

#[test]
fn nobody_loses_a_shard_because_others_come_and_go_and_no_shard_is_two_members() {
    let mut moved = 0;
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.come();
        world.come_to_rest();
        for _ in 0..6 {
            let here: Vec<usize> = (0..world.actors.len()).filter(|who| !world.actors[*who].left).collect();
            if here.len() > 1 && world.rng.u8(..3) == 0 {
                let who = here[world.rng.usize(..here.len())];
                world.go(who);
            } else {
                world.come();
            }
            let steps = world.rng.usize(..400);
            world.run(steps, |world| {
                assert!((0..SHARDS).all(|shard| world.owners(Partition(shard)) <= 1), "seed {seed}");
            });
        }
        world.come_to_rest();
        let lost: usize = world.actors.iter().map(|actor| actor.lost).sum();
        assert_eq!(lost, 0, "seed {seed}");
        moved += world.coordinator.generation;
    }
    assert!(moved > 60 * 3, "the groups shared out anew: {moved}");
}

#[test]
fn an_instance_that_comes_back_at_once_has_its_shards_again_and_nobody_else_hears_of_it() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        (0..3).for_each(|_| world.come());
        world.come_to_rest();
        // Until what is still on its way has come.
        world.run(1_000, |_| {});
        let shares = |world: &World| world.actors.iter().map(|actor| actor.held.clone()).collect::<Vec<_>>();
        let (before, generation) = (shares(&world), world.coordinator.generation);
        let who = world.rng.usize(..3);
        world.come_back(who);
        world.come_to_rest();
        assert_eq!(shares(&world), before, "seed {seed}");
        assert_eq!(world.coordinator.generation, generation, "seed {seed}");
    }
}

#[test]
fn a_group_whose_letters_are_lost_comes_to_rest_once_they_are_not() {
    let mut lost = 0;
    for seed in 0..60 {
        let mut world = World::new(seed);
        world.losses = 25;
        for _ in 0..4 {
            world.come();
            world.cut_off = Some(world.rng.usize(..world.actors.len()));
            let steps = world.rng.usize(..1_500);
            world.run(steps, |_| {});
        }
        (world.losses, world.cut_off) = (0, None);
        world.come_to_rest();
        lost += world.actors.iter().map(|actor| actor.lost).sum::<usize>();
    }
    assert!(lost > 0, "no session ended");
}
