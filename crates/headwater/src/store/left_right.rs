//! A value in two copies, so that readers never wait for a writer.
//!
//! Readers read the active copy. A write goes to the passive one, which nobody reads, and then makes it the active one
//! in one step: a reader sees all of a write or nothing of it. What the other copy lacks it is given by the next write,
//! when its last readers have long gone. Writers wait for each other, and for readers that began before the last write.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// What takes writes of type `Op`.
pub(super) trait Absorb<Op> {
    /// What a writer is told about its write.
    type Effect;

    /// Takes a write on the first of the two copies.
    fn absorb_first(&mut self, op: &mut Op) -> Self::Effect;

    /// Takes the same write on the second copy.
    fn absorb_second(&mut self, op: Op);
}

/// Two copies of a value.
#[derive(Debug)]
pub(super) struct LeftRight<T, Op> {
    copies: [RwLock<T>; 2],
    active: AtomicUsize,
    /// The write that the passive copy lacks.
    lacking: Mutex<Option<Op>>,
}

impl<T: Absorb<Op>, Op> LeftRight<T, Op> {
    pub(super) fn new(make: impl Fn() -> T) -> Self {
        Self {
            copies: [(); 2].map(|()| RwLock::new(make())),
            active: AtomicUsize::new(0),
            lacking: Mutex::new(None),
        }
    }

    /// The value after every write that returned before the call; it stays as it is while the guard lives.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, T> {
        // A copy is locked for writing only after it stopped being the active one, so a second look finds the other.
        // Losing again and again takes a writer that is always faster; then waiting for one is the shorter way.
        for _ in 0..8 {
            if let Some(guard) = self.copies[self.active.load(Ordering::Acquire)].try_read() {
                return guard;
            }
        }
        self.copies[self.active.load(Ordering::Acquire)].read_recursive()
    }

    /// Writes; readers see it from now on.
    pub(super) fn write(&self, op: Op) -> T::Effect {
        self.write_if(|_| Some(op)).expect("the write is not declined")
    }

    /// Writes what `op` decides on after looking at the current value.
    pub(super) fn write_if(&self, op: impl FnOnce(&T) -> Option<Op>) -> Option<T::Effect> {
        let mut lacking = self.lacking.lock();
        let active = self.active.load(Ordering::Acquire);
        let mut op = op(&self.copies[active].read())?;
        let mut passive = self.copies[1 - active].write();
        if let Some(missed) = lacking.take() {
            passive.absorb_second(missed);
        }
        let effect = passive.absorb_first(&mut op);
        drop(passive);
        self.active.store(1 - active, Ordering::Release);
        *lacking = Some(op);
        Some(effect)
    }

    /// Gives the passive copy what it lacks, so that nothing of the last write is kept for later.
    pub(super) fn settle(&self) {
        let mut lacking = self.lacking.lock();
        if let Some(missed) = lacking.take() {
            self.copies[1 - self.active.load(Ordering::Acquire)].write().absorb_second(missed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    /// Two numbers that every write moves together.
    #[derive(Default)]
    struct Twins(u64, u64);

    impl Absorb<u64> for Twins {
        type Effect = ();

        fn absorb_first(&mut self, op: &mut u64) {
            self.0 += *op;
            thread::yield_now();
            self.1 += *op;
        }

        fn absorb_second(&mut self, mut op: u64) {
            self.absorb_first(&mut op);
        }
    }

    #[test]
    fn a_reader_sees_whole_writes_in_order() {
        let twins = LeftRight::new(Twins::default);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while !done.load(Ordering::Acquire) {
                        let guard = twins.read();
                        assert_eq!(guard.0, guard.1);
                        assert!(guard.0 >= seen);
                        seen = guard.0;
                    }
                });
            }
            for op in 0..2_000 {
                twins.write(op);
                assert_eq!(twins.read().0, (0..=op).sum::<u64>(), "a writer reads its own write");
                if op % 7 == 0 {
                    twins.settle();
                }
            }
            done.store(true, Ordering::Release);
        });
    }

    #[test]
    fn a_reader_that_stays_keeps_its_value() {
        let twins = LeftRight::new(Twins::default);
        twins.write(1);
        let guard = twins.read();
        twins.write(2);
        assert_eq!((guard.0, twins.read().0), (1, 3));
    }

    #[test]
    fn a_write_may_be_declined() {
        let twins = LeftRight::new(Twins::default);
        assert!(twins.write_if(|found| (found.0 == 0).then_some(5)).is_some());
        assert!(twins.write_if(|found| (found.0 == 0).then_some(5)).is_none());
        assert_eq!(twins.read().0, 5);
    }
}
