//! Decoded states, bounded, with those used lately kept.
//!
//! Two generations: what is read or written goes to the young one; when that is full it becomes the old one, and what
//! was old is dropped. No list to keep in order, and no more than twice the bound.

use ahash::AHashMap;
use bytes::Bytes;

pub(super) struct StateCache<T> {
    young: AHashMap<Bytes, T>,
    old: AHashMap<Bytes, T>,
    generation_max: usize,
}

impl<T> StateCache<T> {
    pub(super) fn new(states_max: usize) -> Self {
        Self { young: AHashMap::new(), old: AHashMap::new(), generation_max: (states_max / 2).max(1) }
    }

    pub(super) fn get(&mut self, key: &Bytes) -> Option<&T> {
        if !self.young.contains_key(key) {
            let kept = self.old.remove(key)?;
            self.put(key.clone(), kept);
        }
        self.young.get(key)
    }

    pub(super) fn put(&mut self, key: Bytes, state: T) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, state);
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}
