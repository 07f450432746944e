//! The text form: what it looks like, and that it comes back.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::key::Key;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Name(String);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Outer(Name);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Number(u64);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Group {
    Cheap,
    Other(String),
    Sized {
        width: u8,
    },
    #[serde(rename = "{}")]
    Odd,
}

fn check<K: Key>(key: K) {
    let bytes = text(&key).unwrap();
    assert_eq!(decode_text::<K>(&bytes).unwrap(), key, "{bytes:?}");
}

fn looks<K: Key>(key: K, expected: &str) {
    assert_eq!(text(&key).unwrap(), expected, "{key:?}");
    check(key);
}

#[test]
fn strings_are_raw_and_everything_else_is_json() {
    looks("5".to_owned(), "5");
    looks(5u64, "5");
    looks(-5i64, "-5");
    looks(u128::MAX, &u128::MAX.to_string());
    looks(String::new(), "");
    looks("\"x\"".to_owned(), "\"x\"");
    looks("null".to_owned(), "null");
    looks('"', "\"");
    looks(Outer(Name("a b".to_owned())), "a b");
    looks(Number(7), "7");
    looks(("a".to_owned(), "b".to_owned()), r#"["a","b"]"#);
    looks((Name("a".to_owned()), Group::Cheap), r#"["a","cheap"]"#);
    looks(Group::Cheap, "cheap");
    looks(Group::Odd, "{}");
    looks(Group::Other("cheap".to_owned()), r#"{"other":"cheap"}"#);
    looks(Group::Sized { width: 3 }, r#"{"sized":{"width":3}}"#);
    looks(None::<String>, "null");
    looks(Some("null".to_owned()), "\"null\"");
    looks(true, "true");
    looks(vec![1u8, 2], "[1,2]");
    looks((), "null");
    looks(uuid::Uuid::from_u128(1), "00000000-0000-0000-0000-000000000001");
}

proptest! {
    #[test]
    fn strings(key: String) {
        looks(key.clone(), &key);
        looks(Name(key.clone()), &key);
        check(Some(key.clone()));
        check(Group::Other(key.clone()));
        check((key.clone(), 7u8));
        check(vec![key]);
    }

    #[test]
    fn numbers(signed: i64, unsigned: u64, wide: i128) {
        looks(signed, &signed.to_string());
        looks(Number(unsigned), &unsigned.to_string());
        check((signed, wide));
    }

    #[test]
    fn characters(key: char) { check(key) }

    #[test]
    fn ids(key: u128) { check(uuid::Uuid::from_u128(key)) }
}

#[test]
fn text_that_is_no_key_is_malformed() {
    fn malformed<T: DeserializeOwned + std::fmt::Debug>(bytes: &[u8]) {
        assert_eq!(decode_text::<T>(bytes).unwrap_err().kind(), KeyErrorKind::Malformed, "{bytes:?}");
    }
    malformed::<String>(b"\xff");
    malformed::<u64>(b"");
    malformed::<u64>(b"5 6");
    malformed::<u64>(b"\"5\"");
    malformed::<Group>(b"dear");
    malformed::<(String, String)>(b"[\"a\"]");
    malformed::<uuid::Uuid>(b"1");
}

#[test]
fn a_type_that_takes_anything_gets_the_string_if_it_accepts_one() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Any {
        Pair(u8, u8),
        Number(u8),
    }
    assert_eq!(decode_text::<Any>(b"[1,2]").unwrap(), Any::Pair(1, 2));
    assert_eq!(decode_text::<Any>(b"3").unwrap(), Any::Number(3));
    assert_eq!(decode_text::<serde_json::Value>(b"3").unwrap(), serde_json::json!("3"));
}
