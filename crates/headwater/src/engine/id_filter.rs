//! A set of ids that may answer "perhaps" for one that is not in it, and never "no" for one that is.
//!
//! A Bloom filter: twenty bits for each id and ten places per id, so that about one in ten thousand strangers is taken
//! for a member: a command is asked of many filters. They say of a command's id that it has no outcome yet, long before
//! all outcomes are loaded. Filters are kept on the log and read by other programs on other machines, so an id's places
//! follow from its digest alone.
//!
//! ```text
//! bytes = words of u64 little-endian; place p is bit p % 64 of word p / 64
//! place i of an id = (first + i * step) modulo the number of bits, of i from 0 to 9, in u64 that wrap around
//! first, step      = the two halves of the id's digest, as u64 big-endian; the step is made odd
//! ```

use crate::digest::digest;

/// Bits for each id that is expected.
const BITS_PER_ID: u64 = 20;
/// Places of each id.
const PLACES: u64 = 10;
/// Bytes of a word.
const WORD: usize = 8;

/// Where to look for an id in any filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdPlaces {
    first: u64,
    step: u64,
}

impl IdPlaces {
    /// The places of an id.
    pub(crate) fn of(id: &[u8]) -> Self {
        let both = u128::from_be_bytes(digest([id]));
        Self { first: (both >> 64) as u64, step: both as u64 | 1 }
    }

    /// Each place, as the index of a word and a bit of it.
    fn among(self, words: usize) -> impl Iterator<Item = (usize, u64)> {
        let bits = words as u64 * u64::from(u64::BITS);
        (0..PLACES).map(move |i| {
            let place = self.first.wrapping_add(self.step.wrapping_mul(i)) % bits;
            ((place / u64::from(u64::BITS)) as usize, 1 << (place % u64::from(u64::BITS)))
        })
    }
}

/// Ids that were put in, and a few more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdFilter {
    words: Vec<u64>,
}

impl IdFilter {
    /// An empty filter for about so many ids; more of them make it say "perhaps" more often.
    pub(crate) fn for_ids(count: u64) -> Self {
        let words = count.max(1).saturating_mul(BITS_PER_ID).div_ceil(u64::from(u64::BITS));
        Self { words: vec![0; usize::try_from(words).expect("a filter fits into the address space")] }
    }

    /// Puts an id in.
    pub(crate) fn insert(&mut self, id: &[u8]) {
        for (word, bit) in IdPlaces::of(id).among(self.words.len()) {
            self.words[word] |= bit;
        }
    }

    /// Whether the id of these places may have been put in; `false` is certain.
    pub(crate) fn may_contain(&self, id: IdPlaces) -> bool {
        id.among(self.words.len()).all(|(word, bit)| self.words[word] & bit != 0)
    }

    /// The filter as bytes, added to `bytes`.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// The filter that was written as these bytes; `None` if they are none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<WORD>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        (rest.is_empty() && !words.is_empty()).then_some(Self { words })
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

    fn has(filter: &IdFilter, id: u64) -> bool {
        filter.may_contain(IdPlaces::of(&id.to_be_bytes()))
    }

    #[test]
    fn every_member_is_found_and_few_strangers_are() {
        for ids in [0, 1, 10, 10_000] {
            let filter = filter(ids);
            assert!((0..ids).all(|id| has(&filter, id)), "{ids}");
            let strangers = (ids..ids + 10_000).filter(|id| has(&filter, *id)).count();
            assert!(strangers < 20, "{strangers} of 10,000 strangers are taken for one of {ids} members");
        }
    }

    #[test]
    fn a_filter_for_too_few_still_finds_every_member() {
        let mut filter = IdFilter::for_ids(3);
        (0_u64..500).for_each(|id| filter.insert(&id.to_be_bytes()));
        assert!((0..500).all(|id| has(&filter, id)));
    }

    #[test]
    fn a_filter_is_read_as_it_was_written_and_damaged_bytes_are_none() {
        let filter = filter(100);
        let mut bytes = Vec::new();
        filter.write(&mut bytes);
        assert_eq!(IdFilter::read(&bytes), Some(filter));
        assert_eq!(IdFilter::read(&bytes[1..]), None);
        assert_eq!(IdFilter::read(&[]), None);
    }

    /// Filters outlive programs: what an earlier one wrote must say the same for ever.
    #[test]
    fn the_places_of_an_id_never_change() {
        let mut filter = IdFilter::for_ids(12);
        ["pay-1", "pay-2", "[\"o1\",\"c1\"]"].iter().for_each(|id| filter.insert(id.as_bytes()));
        let mut bytes = Vec::new();
        filter.write(&mut bytes);
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, "00104090200001408a000020811200040009004010200a000080200100010004");
    }
}
