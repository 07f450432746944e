//! The ordered form: order, round trip, prefixes, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::key::Key;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Customer(String);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Item {
    None,
    Named(String),
    Sized { width: i16, depth: Option<u8> },
    Pair(i8, Customer),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Grouped {
    customer: Customer,
    item: Item,
    tags: Vec<String>,
    marker: (),
}

/// Two keys sort as their bytes do, and each comes back.
fn check<K: Key>(a: K, b: K) {
    let (bytes_a, bytes_b) = (ordered(&a).unwrap(), ordered(&b).unwrap());
    assert_eq!(bytes_a.cmp(&bytes_b), a.cmp(&b), "{a:?} and {b:?}: {bytes_a:?} and {bytes_b:?}");
    assert_eq!(decode_ordered::<K>(&bytes_a).unwrap(), a, "{bytes_a:?}");
    assert_eq!(decode_ordered::<K>(&bytes_b).unwrap(), b, "{bytes_b:?}");
}

/// What goes wrong at the edges of strings: zeros, the escape itself, the highest bytes, one a prefix of the other.
fn tricky_text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(
            prop_oneof![Just('\0'), Just('a'), Just('\u{ff}'), Just('\u{10ffff}')],
            0..6
        )
        .prop_map(String::from_iter),
        ".{0,12}",
    ]
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        Just(Item::None),
        tricky_text().prop_map(Item::Named),
        any::<(i16, Option<u8>)>().prop_map(|(width, depth)| Item::Sized { width, depth }),
        (any::<i8>(), tricky_text()).prop_map(|(number, name)| Item::Pair(number, Customer(name))),
    ]
}

fn grouped() -> impl Strategy<Value = Grouped> {
    (tricky_text(), item(), proptest::collection::vec(tricky_text(), 0..4))
        .prop_map(|(customer, item, tags)| Grouped { customer: Customer(customer), item, tags, marker: () })
}

fn nested() -> impl Strategy<Value = Vec<Vec<bool>>> {
    proptest::collection::vec(proptest::collection::vec(any::<bool>(), 0..5), 0..5)
}

proptest! {
    #[test]
    fn strings(a in tricky_text(), b in tricky_text()) { check(a, b) }

    #[test]
    fn pairs(a in (tricky_text(), tricky_text()), b in (tricky_text(), tricky_text())) { check(a, b) }

    #[test]
    fn signed(a: (i8, i16, i32, i64, i128), b: (i8, i16, i32, i64, i128)) {
        check(a, b);
        check(a.3, b.3);
    }

    #[test]
    fn unsigned(a: (u8, u16, u32, u64, u128), b: (u8, u16, u32, u64, u128)) { check(a, b) }

    #[test]
    fn mixed(
        a in (any::<u64>(), tricky_text(), any::<u32>(), proptest::option::of(tricky_text())),
        b in (any::<u64>(), tricky_text(), any::<u32>(), proptest::option::of(tricky_text())),
    ) { check(a, b) }

    #[test]
    fn bytes(a: Vec<u8>, b: Vec<u8>) { check(a, b) }

    #[test]
    fn nested_sequences(a in nested(), b in nested()) { check(a, b) }

    #[test]
    fn sets(a: BTreeSet<char>, b: BTreeSet<char>) { check(a, b) }

    #[test]
    fn enums(a in item(), b in item()) { check(a, b) }

    #[test]
    fn structs(a in grouped(), b in grouped()) { check(a, b) }

    #[test]
    fn ids(a: u128, b: u128) { check(uuid::Uuid::from_u128(a), uuid::Uuid::from_u128(b)) }

    #[test]
    fn a_pair_starts_with_its_first_component_and_no_other(
        part in tricky_text(), other in tricky_text(), rest: u32,
    ) {
        let pair = ordered(&(&part, rest)).unwrap();
        prop_assert!(pair.starts_with(&ordered(&part).unwrap()));
        prop_assert_eq!(pair.starts_with(&ordered(&other).unwrap()), part == other);
    }

    #[test]
    fn any_bytes_are_a_key_or_an_error(bytes: Vec<u8>) {
        if let Ok(key) = decode_ordered::<Grouped>(&bytes) {
            prop_assert_eq!(&ordered(&key).unwrap()[..], &bytes[..]);
        }
    }
}

#[test]
fn a_shorter_name_is_no_prefix_of_a_longer_one() {
    assert!(!ordered("c10").unwrap().starts_with(&ordered("c1").unwrap()));
}

#[test]
fn many_variants_sort_by_index() {
    let encode = |index| {
        let mut out = Vec::new();
        let mut encoder = Encoder { out: &mut out };
        ser::Serializer::serialize_unit_variant(&mut encoder, "Many", index, "").unwrap();
        out
    };
    let indexes = [0, 1, 253, 254, 255, 256, 65_536, u32::MAX];
    for index in indexes {
        let out = encode(index);
        assert_eq!(Decoder { rest: &out }.take_index().unwrap(), index);
    }
    assert!(indexes.is_sorted_by_key(|index| encode(*index)));
}

#[derive(Serialize, Deserialize, Debug)]
struct Sparse {
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<u8>,
}

#[test]
fn what_no_key_can_hold_is_refused() {
    fn refused<T: Serialize>(key: T, because: &str) {
        let mut out = b"before".to_vec();
        let error = encode_ordered(&(1u8, key), &mut out).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unsupported);
        assert!(error.to_string().contains(because), "{error}");
        assert_eq!(out, b"before", "an error leaves the output alone");
    }
    refused(1.5f64, "float");
    refused(1.5f32, "float");
    refused(BTreeMap::from([(1, 2)]), "map");
    refused(Sparse { note: None }, "field note");
}

#[test]
fn the_longest_key_fits_and_a_longer_one_names_its_length() {
    let fits = "x".repeat(KEY_BYTES_MAX - TERMINATOR.len());
    assert_eq!(ordered(&fits).unwrap().len(), KEY_BYTES_MAX);
    let error = ordered(&format!("{fits}x")).unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::TooLong);
    assert!(error.to_string().contains(&(KEY_BYTES_MAX + 1).to_string()), "{error}");
}

#[test]
fn bytes_that_are_no_key_are_malformed() {
    fn malformed<T: DeserializeOwned + std::fmt::Debug>(bytes: &[u8]) {
        assert_eq!(decode_ordered::<T>(bytes).unwrap_err().kind(), KeyErrorKind::Malformed, "{bytes:?}");
    }
    malformed::<String>(b"a");
    malformed::<String>(b"a\0");
    malformed::<String>(b"a\0\x01");
    malformed::<String>(b"a\0\0b");
    malformed::<String>(b"\xff\0\0");
    malformed::<u32>(&[0; 3]);
    malformed::<u32>(&[0; 5]);
    malformed::<bool>(&[2]);
    malformed::<char>(&[0xff; 4]);
    malformed::<Option<u8>>(&[2, 0]);
    malformed::<Item>(&[4]);
    malformed::<serde_json::Value>(&[1]);
}
