//! Which of several representations a client prefers, by its `Accept` (RFC 9110, section 12.5.1).

use std::cmp::Reverse;

use axum::http::{HeaderMap, header};

/// One entry of `Accept`: a media range and its weight in thousandths.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    weight: u16,
}

/// The representation that a client prefers among those on offer, which are media types without parameters.
///
/// Of those that it likes equally, the first; the first as well where it says nothing, or wants none of them: an answer
/// that was not asked for helps more than none. Parameters of a range other than its weight are not looked at; an entry
/// that cannot be read is passed over.
///
/// ```
/// use axum::http::{HeaderMap, HeaderValue, header};
/// use headwater_http::accept::preferred;
///
/// let offered = ["application/problem+json", "text/html"];
/// let browser = HeaderValue::from_static("text/html,application/xml;q=0.9,*/*;q=0.8");
/// assert_eq!(preferred(&HeaderMap::from_iter([(header::ACCEPT, browser)]), &offered), "text/html");
/// let curl = HeaderValue::from_static("*/*");
/// assert_eq!(preferred(&HeaderMap::from_iter([(header::ACCEPT, curl)]), &offered), "application/problem+json");
/// ```
///
/// # Panics
///
/// If nothing is on offer.
pub fn preferred<'a>(headers: &HeaderMap, offered: &[&'a str]) -> &'a str {
    let accepted = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<_> = accepted.flat_map(entries).filter_map(Range::of).collect();
    let best = offered.iter().min_by_key(|media_type| Reverse(weight(&ranges, media_type)));
    best.expect("something is on offer")
}

/// How much a client likes a media type, by the most specific range that it is in; nothing said is all liked alike.
fn weight(ranges: &[Range<'_>], media_type: &str) -> u16 {
    let matching = ranges.iter().filter_map(|range| Some((range.precision(media_type)?, range.weight)));
    if ranges.is_empty() { 1_000 } else { matching.max().map_or(0, |(_, weight)| weight) }
}

/// The entries of a list, which commas in quotation marks do not part.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    list.split(move |character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    })
}

impl<'a> Range<'a> {
    fn of(entry: &'a str) -> Option<Self> {
        let mut parts = entry.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let is_wild_alone = kind == "*" && subtype != "*";
        if kind.is_empty() || subtype.is_empty() || is_wild_alone {
            return None;
        }
        let weights = parts.filter_map(|part| part.split_once('='));
        let mut weights = weights.filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        let weight = weights.next().map_or(Some(1_000), |(_, weight)| thousandths(weight.trim()))?;
        Some(Self { kind, subtype, weight })
    }

    /// How closely the range names a media type; `None` if it is not in it.
    fn precision(&self, media_type: &str) -> Option<u8> {
        let (kind, subtype) = media_type.split_once('/')?;
        let is_kind = self.kind.eq_ignore_ascii_case(kind);
        match (self.kind, self.subtype) {
            ("*", _) => Some(0),
            (_, "*") if is_kind => Some(1),
            (_, own) if is_kind && own.eq_ignore_ascii_case(subtype) => Some(2),
            _ => None,
        }
    }
}

/// A weight from 0 to 1 with at most three decimals (RFC 9110, section 12.4.2).
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    let is_number = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match whole {
        "0" => 0,
        "1" => 1_000,
        _ => return None,
    };
    let weight = whole + format!("{decimals:0<3}").parse::<u16>().ok().filter(|_| is_number)?;
    (weight <= 1_000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const JSON: &str = "application/problem+json";
    const HTML: &str = "text/html";

    #[track_caller]
    fn prefers(accept: &[&str], wanted: &str) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(preferred(&headers, &[JSON, HTML]), wanted, "{accept:?}");
    }

    #[test]
    fn what_is_liked_most_is_preferred_and_the_first_where_it_is_all_the_same() {
        for accept in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/html;q=0.5, */*;q=0.5"],
            &["text/html, application/problem+json"],
            &["image/avif,image/webp,*/*;q=0.8"],
            &["image/png"],
            &["text/html;q=0"],
            &["text/html;q=0, */*"],
            &["text/*;q=0.3, text/html;q=0.2, */*;q=0.25"],
            &["text/html;q=high, */*"],
            &["text/html;q=1.5, */*;q=0.1"],
            &["*/html"],
            &["nonsense"],
        ] {
            prefers(accept, JSON);
        }
        for accept in [
            &["text/html"][..],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"],
            &["text/html, application/signed-exchange;v=b3;q=0.7, */*;q=0.8"],
            &["TEXT/HTML ; Q=0.9 , */*;q=0.8"],
            &["text/html;charset=utf-8, */*;q=0.9"],
            &["text/*, */*;q=0.999"],
            &["application/problem+json;q=0.001", "text/html;q=0.002"],
            &["*/*;q=0.1, text/html;q=0.2"],
            &["text/html, */*;q=0"],
            &["application/json;a=\"x,y\";q=0.5, text/html;q=0.4"],
        ] {
            prefers(accept, HTML);
        }
    }

    #[test]
    fn a_weight_has_three_decimals_at_most() {
        for (text, weight) in
            [("1", 1_000), ("0", 0), ("0.5", 500), ("0.05", 50), ("1.000", 1_000), ("0.", 0)]
        {
            assert_eq!(thousandths(text), Some(weight), "{text}");
        }
        for text in ["", "1.001", "2", "-1", "0.1234", ".5", "0.+5", "0,5", "1e0"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }
}
