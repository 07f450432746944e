//! Times as text (RFC 3339), up to the last millisecond of the year 9999.
//!
//! They are read and written as a date, a time and an offset: jiff's instants end a day earlier, so that each of them
//! can be told in any zone, and RFC 3339 has times beyond.

use headwater::core::clock::Timestamp;
use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use jiff::fmt::temporal::Pieces;

use crate::domain::Unfit;

/// The last time that can be told, 9999-12-31T23:59:59.999Z.
const LAST: Timestamp = Timestamp(253_402_300_799_999);
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// A time as text in UTC, to the millisecond.
pub(super) fn rfc3339(Timestamp(ms): Timestamp) -> String {
    let time = EPOCH.checked_add(SignedDuration::from_millis(ms));
    time.map_or_else(|_| ms.to_string(), |time| format!("{time:.3}Z"))
}

/// The time that a text tells.
///
/// # Errors
///
/// If it tells none, or one that could not be told in UTC.
pub(super) fn parse(text: &str) -> Result<Timestamp, Unfit> {
    let detail = "must be a time such as 2030-12-31T23:59:59Z, of the year 9999 at the latest";
    let time = instant(text).ok_or_else(|| Unfit::new("invalid-time", detail))?;
    if time > LAST {
        return Err(Unfit::new("too-late", format!("must be {} at the latest", rfc3339(LAST))));
    }
    Ok(time)
}

fn instant(text: &str) -> Option<Timestamp> {
    let pieces = Pieces::parse(text).ok()?;
    let local = pieces.date().to_datetime(pieces.time()?);
    let offset = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
    let since_epoch = local.duration_since(EPOCH).checked_sub(offset)?;
    i64::try_from(since_epoch.as_millis()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_told_to_the_end_of_the_year_9999() {
        let cases = [
            ("1970-01-01T00:20:00Z", "1970-01-01T00:20:00.000Z"),
            ("2030-12-31T23:59:59.9999+02:00", "2030-12-31T21:59:59.999Z"),
            ("2030-06-30t12:00:00z", "2030-06-30T12:00:00.000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
            ("9999-12-30T22:00:01Z", "9999-12-30T22:00:01.000Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000Z"),
            ("9999-12-31T23:59:59.999+00:00", "9999-12-31T23:59:59.999Z"),
            ("9999-12-31T23:59:59+23:59", "9999-12-31T00:00:59.000Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000Z"),
        ];
        for (text, told) in cases {
            assert_eq!(parse(text).map(rfc3339).as_deref(), Ok(told), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_lies_beyond_is_refused() {
        let cases = [
            ("", "invalid-time"),
            ("soon", "invalid-time"),
            ("2030-12-31", "invalid-time"),
            ("2030-12-31T23:59:59", "invalid-time"),
            ("2030-02-30T00:00:00Z", "invalid-time"),
            ("10000-01-01T00:00:00Z", "invalid-time"),
            ("+010000-01-01T00:00:00Z", "invalid-time"),
            ("9999-12-31T23:59:59-00:01", "too-late"),
        ];
        for (text, code) in cases {
            let unfit = parse(text).expect_err(text);
            assert_eq!(unfit.code, code, "{text}");
            assert!(unfit.detail.contains("9999"), "{text}: the bound is told: {unfit}");
        }
    }
}
