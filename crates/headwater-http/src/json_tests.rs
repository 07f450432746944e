use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::exact_number::ExactNumber;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    customer_id: String,
    #[serde(default)]
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    price: ExactNumber,
    #[serde(default)]
    colour: Option<Colour>,
    #[serde(default)]
    quantity: u8,
    #[serde(default)]
    notes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Green,
}

/// The code, the field and the detail of what is wrong with an order.
fn wrong(json: &str) -> (&'static str, String, String) {
    let problem = parse::<Order>(json.as_bytes()).expect_err(json);
    let field = problem.offending_field().unwrap_or_default().to_owned();
    (problem.code().name, field, problem.detail().to_owned())
}

#[test]
fn what_fits_is_read() {
    let order: Order = parse(
        r#"{"customerId": "c1", "lines": [{"price": 5.00, "colour": "red", "quantity": 2, "notes": {"a": "b"}}]}"#
            .as_bytes(),
    )
    .expect("it fits");
    let line = &order.lines[0];
    assert_eq!((order.customer_id.as_str(), line.price.as_str(), line.quantity), ("c1", "5.00", 2));
    assert!(matches!(line.colour, Some(Colour::Red)) && line.notes["a"] == "b");
}

#[test]
fn each_misfit_names_its_field() {
    let cases = [
        (r#"{"customerId": 5}"#, "invalid-value", "customerId", "customerId must be a string, not 5"),
        (r#"{"custmerId": "c"}"#, "unknown-field", "custmerId", "did you mean `customerId`?"),
        (r#"{"customerId": "c", "zebra": 1}"#, "unknown-field", "zebra", "known here: customerId, lines"),
        (r#"{}"#, "missing-field", "customerId", "missing field `customerId`"),
        (r#"{"customerId": "c", "lines": [{}]}"#, "missing-field", "lines[0].price", "missing field `price`"),
        (r#"{"customerId": "c", "customerId": "d"}"#, "duplicate-field", "customerId", "duplicate field"),
        (r#"{"customerId": "c", "lines": [{"price": null}]}"#, "invalid-value", "lines[0].price", "a number"),
        (
            r#"{"customerId": "c", "lines": [{"price": "five"}]}"#,
            "invalid-value",
            "lines[0].price",
            "a number",
        ),
        (
            r#"{"customerId": "c", "lines": [{"price": 1, "quantity": 256}]}"#,
            "invalid-value",
            "lines[0].quantity",
            "lines[0].quantity must be a whole number from 0 to 255, not 256",
        ),
        (
            r#"{"customerId": "c", "lines": [{"price": 1, "colour": "gren"}]}"#,
            "invalid-value",
            "lines[0].colour",
            "must be \"red\" or \"green\", not \"gren\"; did you mean \"green\"?",
        ),
        (
            r#"{"customerId": "c", "lines": [{"price": 1}, {"price": 1, "colur": "red"}]}"#,
            "unknown-field",
            "lines[1].colur",
            "unknown field",
        ),
        (
            r#"{"customerId": "c", "lines": [[5, "red", 2, {}]]}"#,
            "invalid-value",
            "lines[0]",
            "lines[0] must be an object, not an array",
        ),
        (
            r#"{"customerId": "c", "lines": [{"price": 1, "colour": 5}]}"#,
            "invalid-value",
            "lines[0].colour",
            "must be \"red\" or \"green\"",
        ),
        (
            r#"{"customerId": "c", "lines": [{"price": 1, "quantity": 1.5}]}"#,
            "invalid-value",
            "lines[0].quantity",
            "must be a whole number from 0 to 255, not 1.5",
        ),
        (
            r#"{"customerId": "c", "lines": {}}"#,
            "invalid-value",
            "lines",
            "lines must be an array, not an object",
        ),
        (r#"[]"#, "not-an-object", "", "the body must be a JSON object"),
        (r#" ["c", []]"#, "not-an-object", "", "the body must be a JSON object"),
        (r#"[1, 2"#, "not-an-object", "", "the body must be a JSON object"),
        (r#""text""#, "not-an-object", "", "the body must be a JSON object"),
        ("null", "not-an-object", "", "the body must be a JSON object"),
    ];
    for (json, code, field, detail) in cases {
        let wrong = wrong(json);
        assert_eq!((wrong.0, wrong.1.as_str()), (code, field), "{json}: {}", wrong.2);
        assert!(wrong.2.contains(detail), "{json}: {}", wrong.2);
        for foreign in [" at line ", "struct", "sequence", "integer", "variant", "invalid type"] {
            assert!(!wrong.2.contains(foreign), "{json}: {}", wrong.2);
        }
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shape {
    Nothing,
    Circle { radius: u8 },
    Pair(u8, u8),
    Named(Name),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Name(String);

#[test]
fn arrays_are_read_where_they_belong_and_never_as_fields() {
    let read = |json: &str| {
        parse::<Vec<Option<Shape>>>(json.as_bytes()).map_err(|problem| {
            assert_eq!(problem.code().name, "invalid-value", "{json}");
            problem.offending_field().unwrap_or_default().to_owned()
        })
    };
    let all = r#"["nothing", {"circle": {"radius": 5}}, {"pair": [1, 2]}, {"named": "n"}, null]"#;
    let shapes =
        [Shape::Nothing, Shape::Circle { radius: 5 }, Shape::Pair(1, 2), Shape::Named(Name("n".into()))];
    assert_eq!(read(all), Ok(shapes.into_iter().map(Some).chain([None]).collect()));
    assert_eq!(read(r#"[{"circle": [5]}]"#), Err("[0].circle".into()));
    let detail = |json: &str| {
        let refused = parse::<Vec<Option<Shape>>>(json.as_bytes()).expect_err(json);
        (refused.code().name, refused.detail().to_owned())
    };
    let not_fewer = "must be an array of fewer values";
    assert_eq!(detail(r#"[{"pair": [1, 2, 3]}]"#), ("invalid-value", format!("[0].pair {not_fewer}")));
    let names = "must be \"nothing\", \"circle\", \"pair\" or \"named\"";
    assert_eq!(detail("[[]]"), ("invalid-value", format!("[0] {names}")));
    assert_eq!(detail(r#"[{"circle": 5, "named": "n"}]"#).0, "invalid-value");
    let field = "must be the name of a field with a value, not a name alone";
    for name in ["circle", "pair", "named"] {
        assert_eq!(detail(&format!(r#"["{name}"]"#)), ("invalid-value", format!("[0].{name} {field}")));
    }
    assert_eq!(detail(r#"["nothing", }]"#), ("malformed-json", "expected value at line 1 column 13".into()));
    assert_eq!(detail(r#"["nothing", ["#).0, "truncated-json");
    assert_eq!(detail("{}"), ("invalid-value", "the body must be an array, not an object".to_owned()));
    for (json, told) in [("[]", true), ("{}", false)] {
        let list = parse::<Vec<u8>>(json.as_bytes()).map_err(|problem| problem.code().name);
        assert_eq!(list, if told { Ok(Vec::new()) } else { Err("invalid-value") });
        let map = parse::<BTreeMap<String, u8>>(json.as_bytes()).map_err(|problem| problem.code().name);
        assert_eq!(map, if told { Err("not-an-object") } else { Ok(BTreeMap::new()) });
    }
}

#[test]
fn what_is_not_json_says_where() {
    let cases = [
        ("", "truncated-json", "the body is empty"),
        ("  \n", "truncated-json", "the body is empty"),
        (r#"{"customerId": "c"#, "truncated-json", "line 1 column"),
        (r#"{"customerId": "c", "lines": [{"price": "#, "truncated-json", "line 1 column"),
        (r#"{"customerId": "c"}}"#, "malformed-json", "trailing characters at line 1 column 20"),
        (r#"{"customerId": 'c'}"#, "malformed-json", "expected value at line 1 column 16"),
        (r#"{"customerId": "c", "lines": [{"price": NaN}]}"#, "malformed-json", "line 1"),
        (r#"{"customerId": "\ud800"}"#, "malformed-json", "line 1"),
        ("{\"customerId\": \"\u{1}\"}", "malformed-json", "control character"),
    ];
    for (json, code, detail) in cases {
        let wrong = wrong(json);
        assert_eq!(wrong.0, code, "{json}: {}", wrong.2);
        assert!(wrong.2.contains(detail), "{json}: {}", wrong.2);
    }
    let not_utf8 = parse::<Order>(b"{\"customerId\": \"\xff\"}").expect_err("not UTF-8");
    assert_eq!(not_utf8.code().name, "malformed-json");
}

#[test]
fn nesting_is_bounded_wherever_it_is() {
    let deep = "[".repeat(100_000);
    let closed = format!("{deep}{}", "]".repeat(100_000));
    for json in
        [deep.clone(), closed.clone(), format!(r#"{{"customerId": {deep}"#), format!(r#"{{"x": {closed}}}"#)]
    {
        assert_eq!(wrong(&json).0, "json-too-deep");
    }
    assert!(parse::<serde_json::Value>(closed.as_bytes()).is_err_and(|p| p.code().name == "json-too-deep"));
    let brackets = format!(r#"{{"customerId": "{}\"{deep}"}}"#, "\\\\");
    assert!(parse::<Order>(brackets.as_bytes()).is_ok(), "brackets in strings nest nothing");
}

#[test]
fn a_long_value_is_not_repeated_whole() {
    let wrong = wrong(&format!(r#"{{"customerId": "c", "lines": "{}"}}"#, "x".repeat(10_000)));
    assert!(wrong.2.chars().count() <= 300, "{}", wrong.2.len());
}
