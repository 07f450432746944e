//! A set of ids that may answer "perhaps" for one that is not in it, and never "no" for one that is.
//!
//! A Bloom filter: twelve bits for each id and four places per id, so that about one in two hundred strangers is taken
//! for a member. It says of a command's id that it has no outcome yet, long before all outcomes are loaded.

use ahash::RandomState;

/// Bits for each id that is expected.
const BITS_PER_ID: u64 = 12;
/// Places of each id.
const PLACES: u64 = 4;

/// Ids that were put in, and a few more.
pub(crate) struct IdFilter {
    words: Vec<u64>,
    hashes: [RandomState; 2],
}

impl IdFilter {
    /// An empty filter for about so many ids; more of them make it say "perhaps" more often.
    pub(crate) fn for_ids(count: u64) -> Self {
        let words = (count.max(1) * BITS_PER_ID).div_ceil(64);
        let words = vec![0; usize::try_from(words).expect("a filter fits into the address space")];
        // Fixed seeds: what is asked once is answered alike in every run of a simulation.
        let hashes = [RandomState::with_seeds(1, 2, 3, 4), RandomState::with_seeds(5, 6, 7, 8)];
        Self { words, hashes }
    }

    /// Puts an id in.
    pub(crate) fn insert(&mut self, id: &[u8]) {
        for place in self.places(id) {
            self.words[place / 64] |= 1 << (place % 64);
        }
    }

    /// Whether the id may have been put in; `false` is certain.
    pub(crate) fn may_contain(&self, id: &[u8]) -> bool {
        self.places(id).into_iter().all(|place| self.words[place / 64] & (1 << (place % 64)) != 0)
    }

    fn places(&self, id: &[u8]) -> [usize; PLACES as usize] {
        let [first, step] = [self.hashes[0].hash_one(id), self.hashes[1].hash_one(id) | 1];
        let bits = self.words.len() as u64 * 64;
        std::array::from_fn(|i| (first.wrapping_add(step.wrapping_mul(i as u64)) % bits) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(ids: u64) -> IdFilter {
        let mut filter = IdFilter::for_ids(ids);
        (0..ids).for_each(|id| filter.insert(&id.to_be_bytes()));
        filter
    }

    #[test]
    fn every_member_is_found_and_few_strangers_are() {
        for ids in [0, 1, 10, 10_000] {
            let filter = filter(ids);
            assert!((0..ids).all(|id| filter.may_contain(&id.to_be_bytes())), "{ids}");
            let strangers = (ids..ids + 10_000).filter(|id| filter.may_contain(&id.to_be_bytes())).count();
            assert!(strangers < 200, "{strangers} of 10,000 strangers are taken for one of {ids} members");
        }
    }

    #[test]
    fn a_filter_for_too_few_still_finds_every_member() {
        let mut filter = IdFilter::for_ids(3);
        (0_u64..500).for_each(|id| filter.insert(&id.to_be_bytes()));
        assert!((0_u64..500).all(|id| filter.may_contain(&id.to_be_bytes())));
    }
}
