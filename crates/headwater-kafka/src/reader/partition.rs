//! What is known and held of one partition: how far it goes, and the cursors that read it.
//!
//! A **cursor** is one sequential reading: where its reader continues (`at`), what was fetched ahead for it, and from
//! where the next fetch for it starts (`reach`). Fetches are made for a cursor (`scan.rs`) or, at the partition's end,
//! for all of its cursors together (`tail.rs`); either way what came is accepted by offsets alone: a chunk is a cursor's
//! if the cursor's reach lies in it. So it never matters which request was answered first, or twice.
//!
//! Invariants: everything queued lies in `at..reach`, without a gap; one read at a time has a cursor (`busy`); what was
//! fetched of one life of the topic never meets what is read of another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use headwater_core::log::{LogError, LogErrorKind};
use headwater_core::topic::TopicPartition;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::chunk::{Budget, Chunk};
use super::cursor::Decoding;
use super::wire::{Ask, Batches, Place};

/// How long a cursor that nobody reads is kept.
const IDLE: Duration = Duration::from_secs(10);
/// How many cursors that nobody reads are kept.
const IDLE_MAX: usize = 32;
/// How long the tail goes on for a cursor whose reader is not back.
const LINGER: Duration = Duration::from_secs(5);
/// How much the tail fetches of a partition at once, and how much it queues for a cursor whose reader is not back.
const TAIL_BYTES: usize = 1 << 20;

/// One partition.
pub(super) struct Partition {
    pub(super) name: TopicPartition,
    state: Mutex<State>,
    /// Told of every change that a waiting read may have waited for.
    pub(super) changed: Notify,
}

/// What is known of a partition, and its cursors.
pub(super) struct State {
    pub(super) place: Option<Place>,
    /// Whether `stable` and `end` were told since the last failure.
    pub(super) known: bool,
    /// All below this is decided, as far as is known.
    pub(super) stable: i64,
    /// The high watermark, as far as is known.
    pub(super) end: i64,
    pub(super) tail: Option<Tailing>,
    cursors: Vec<Cursor>,
    cursors_made: u64,
}

/// A partition whose end is watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tailing {
    pub(super) broker: i32,
    /// From where the next request asks.
    pub(super) position: i64,
    /// From where the long request asks that is under way.
    pub(super) asked: Option<i64>,
}

/// One sequential reading.
pub(super) struct Cursor {
    id: u64,
    /// Where its reader continues.
    pub(super) at: i64,
    /// From where the next fetch starts.
    pub(super) reach: i64,
    /// The leader epoch of what lies before `reach`, or -1.
    pub(super) epoch: i32,
    pub(super) queue: VecDeque<Arc<Chunk>>,
    /// What was decoded and not answered; with the reader while it is busy.
    pub(super) decoding: Decoding,
    /// The topic's life that was read so far.
    life: Option<[u8; 16]>,
    /// How often what was held was let go of.
    pub(super) lives: u64,
    pub(super) busy: bool,
    /// Its read waits for the partition's end to move.
    pub(super) waiting: bool,
    /// A fetch for it is under way.
    pub(super) fetching: bool,
    /// How many fetches were started for it.
    pub(super) fetches: u64,
    /// Which of them was answered last.
    pub(super) answered: u64,
    /// How often in a row nothing came though there should be something.
    pub(super) blanks: u32,
    /// How many reads it has served.
    pub(super) reads: u64,
    pub(super) fault: Option<(LogError, Instant)>,
    used: Instant,
}

impl Partition {
    pub(super) fn new(name: TopicPartition) -> Self {
        let state = State {
            place: None,
            known: false,
            stable: 0,
            end: 0,
            tail: None,
            cursors: Vec::new(),
            cursors_made: 0,
        };
        Self { name, state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// What the tail's next request to `broker` asks; `None` if nobody needs it any more.
    pub(super) fn tail_ask(&self, broker: i32) -> Option<Ask> {
        let mut state = self.lock();
        let tail = state.tail.filter(|tail| tail.broker == broker)?;
        let place = state.place.filter(|place| place.broker == broker);
        let position = state.tail_position(tail.position);
        let (Some(place), Some((position, last_epoch))) = (place, position) else {
            state.tail = None;
            return None;
        };
        state.tail = Some(Tailing { position, ..tail });
        let bytes_max = TAIL_BYTES as i32;
        Some(Ask { partition: self.name.clone(), place, from: position, last_epoch, bytes_max })
    }

    /// Takes note of from where the long request asks, or that it was answered.
    pub(super) fn tail_asked(&self, from: Option<i64>) {
        if let Some(tail) = &mut self.lock().tail {
            tail.asked = from;
        }
    }

    /// Takes what the tail brought from offset `from` on.
    pub(super) fn tail_batches(&self, from: i64, batches: &Batches, budget: &Arc<Budget>) {
        let mut state = self.lock();
        let moved = state.learn(batches);
        let chunk = Chunk::of(from, batches, budget).map(Arc::new);
        let followed = match &chunk {
            Some(chunk) => state.hand_out(chunk),
            // Cut off by the request's limit, or a hole: a fetch of its own finds out.
            None => batches.stable <= from,
        };
        if !followed {
            state.tail = None;
        } else if let (Some(chunk), Some(tail)) = (&chunk, &mut state.tail) {
            tail.position = tail.position.max(chunk.next);
        }
        drop(state);
        if moved || chunk.is_some() || !followed {
            self.changed.notify_waiters();
        }
    }

    /// The tail failed: whoever waits finds out by a fetch of its own.
    pub(super) fn tail_failed(&self, broker: i32) {
        let mut state = self.lock();
        if state.tail.is_some_and(|tail| tail.broker == broker) {
            state.tail = None;
            state.known = false;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Forgets all that is held, since the topic is gone.
    pub(super) fn forget(&self) {
        self.lock().end_life();
        self.changed.notify_waiters();
    }

    /// Drops cursors that nobody has read for long; whether anything is left.
    pub(super) fn sweep(&self) -> bool {
        let mut state = self.lock();
        state.drop_idle_cursors();
        !state.cursors.is_empty() || state.tail.is_some()
    }
}

impl State {
    pub(super) fn cursor(&mut self, id: u64) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| cursor.id == id)
    }

    /// The id of a cursor that continues at `from`, made if there is none; it is the caller's until it is given back.
    pub(super) fn borrow(&mut self, from: i64) -> u64 {
        self.drop_idle_cursors();
        if !self.cursors.iter().any(|cursor| cursor.at == from && !cursor.busy) {
            self.cursors_made += 1;
            self.cursors.push(Cursor::new(self.cursors_made, from));
        }
        let free = self.cursors.iter_mut().find(|cursor| cursor.at == from && !cursor.busy);
        let cursor = free.expect("one was made if there was none");
        cursor.busy = true;
        cursor.id
    }

    fn drop_idle_cursors(&mut self) {
        let idle = |cursor: &Cursor| !cursor.busy && !cursor.fetching;
        self.cursors.retain(|cursor| !idle(cursor) || cursor.used.elapsed() < IDLE);
        while self.cursors.iter().filter(|cursor| idle(cursor)).count() > IDLE_MAX {
            let oldest = self.cursors.iter().filter(|cursor| idle(cursor)).min_by_key(|cursor| cursor.used);
            let oldest = oldest.map(|cursor| cursor.id);
            self.cursors.retain(|cursor| Some(cursor.id) != oldest);
        }
    }

    /// Takes note of where the partition is served; ends what was read of another life of the topic.
    pub(super) fn found(&mut self, place: Place) {
        if self.place.is_some_and(|known| known.topic_id != place.topic_id) {
            self.end_life();
        }
        if self.place.is_some_and(|known| known.epoch != place.epoch) {
            (self.stable, self.end) = (0, 0);
        }
        self.place = Some(place);
    }

    fn end_life(&mut self) {
        (self.place, self.known, self.tail) = (None, false, None);
        (self.stable, self.end) = (0, 0);
        for cursor in &mut self.cursors {
            cursor.end_life();
        }
    }

    /// Takes note of how far the partition goes; whether it goes further than was known.
    pub(super) fn learn(&mut self, batches: &Batches) -> bool {
        let before = (self.stable, self.end);
        self.known = true;
        // Answers may overtake each other, and an end never moves back while a broker leads.
        self.stable = self.stable.max(batches.stable);
        self.end = self.end.max(batches.end);
        before != (self.stable, self.end)
    }

    /// Gives a chunk to every cursor that continues in it and has room; whether there is one that the tail is for.
    fn hand_out(&mut self, chunk: &Arc<Chunk>) -> bool {
        let life = self.place.map(|place| place.topic_id);
        let mut followed = false;
        for cursor in &mut self.cursors {
            if cursor.has_room() {
                cursor.accept(chunk, life);
            }
            followed |= cursor.reach >= chunk.next;
        }
        followed
    }

    /// From where the tail is to go on for the cursors that need it, and the epoch before; `None` if none does.
    fn tail_position(&self, position: i64) -> Option<(i64, i32)> {
        let waiting = self.cursors.iter().filter(|cursor| cursor.waiting).min_by_key(|cursor| cursor.reach);
        let lingering = || {
            let lingers = |cursor: &&Cursor| cursor.reach == position && cursor.lingers();
            self.cursors.iter().find(lingers)
        };
        waiting.or_else(lingering).map(|cursor| (cursor.reach, cursor.epoch))
    }
}

impl Cursor {
    fn new(id: u64, from: i64) -> Self {
        Self {
            id,
            at: from,
            reach: from,
            epoch: -1,
            queue: VecDeque::new(),
            decoding: Decoding::default(),
            life: None,
            lives: 0,
            busy: false,
            waiting: false,
            fetching: false,
            fetches: 0,
            answered: 0,
            blanks: 0,
            reads: 0,
            fault: None,
            used: Instant::now(),
        }
    }

    /// Takes a chunk if the cursor continues in it.
    pub(super) fn accept(&mut self, chunk: &Arc<Chunk>, life: Option<[u8; 16]>) -> bool {
        let continues = chunk.from <= self.reach && self.reach < chunk.next;
        if continues && (self.life.is_none() || self.life == life) {
            self.queue.push_back(Arc::clone(chunk));
            (self.reach, self.epoch, self.life) = (chunk.next, chunk.epoch, life);
        }
        continues
    }

    /// The read that had the cursor is over; `decoding` is void if all was let go of meanwhile.
    pub(super) fn give_back(&mut self, at: i64, decoding: Option<Decoding>) {
        self.at = at;
        match decoding {
            Some(decoding) => self.decoding = decoding,
            None => self.start_over(),
        }
        (self.busy, self.waiting) = (false, false);
        self.used = Instant::now();
    }

    /// Lets go of all that was fetched.
    pub(super) fn start_over(&mut self) {
        self.queue.clear();
        self.decoding = Decoding::default();
        (self.reach, self.epoch, self.life) = (self.at, -1, None);
        self.lives += 1;
    }

    fn has_room(&self) -> bool {
        self.queue.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() < TAIL_BYTES
    }

    fn lingers(&self) -> bool {
        self.has_room() && (self.busy || self.used.elapsed() < LINGER)
    }

    /// What was fetched is of a topic that is gone. A reader that was in the middle of it is told so once.
    fn end_life(&mut self) {
        if self.life.is_some() || self.waiting {
            let message = "the topic was deleted while it was read; look whether there is a new one";
            self.fault = Some((LogError::new(LogErrorKind::UnknownTopic, message), Instant::now()));
        }
        self.start_over();
    }
}
