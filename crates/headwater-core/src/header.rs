//! Record headers, kept in one encoded buffer.
//!
//! A record of an event carries more than a dozen headers. Kept as pairs of strings they would cost two
//! allocations each; here they are one buffer, read where it lies. Names that Headwater itself writes are one byte.
//!
//! ```text
//! header  = name value
//! name    = 0x01..=0x7f                 index + 1 into WELL_KNOWN
//!         | 0x00 varint(len) utf8       any other name
//! value   = varint(len + 1) bytes       0 stands for null
//! ```
//!
//! Invariant: the bytes inside a [`Headers`] always decode; foreign bytes come in through [`Headers::decode`] only.

use bytes::{BufMut, Bytes, BytesMut};

/// Names with a one-byte form. Only ever append: the index is on disk.
pub const WELL_KNOWN: [&str; 24] = [
    "ce_specversion",
    "ce_id",
    "ce_type",
    "ce_source",
    "ce_subject",
    "ce_time",
    "ce_dataversion",
    "ce_sequence",
    "ce_index",
    "ce_count",
    "ce_correlationid",
    "ce_causationid",
    "traceparent",
    "content-type",
    "hw_writer",
    "hw_index",
    "hw_count",
    "hw_command_id",
    "hw_digest",
    "hw_outcome",
    "hw_expected_version",
    "hw_reply_to",
    "hw_record_id",
    "tracestate",
];

/// A name of [`WELL_KNOWN`], looked up when the program is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WellKnown(u8);

impl WellKnown {
    /// The name's place in the list.
    ///
    /// # Panics
    ///
    /// If the list does not have it: in a `const`, the program does not compile.
    pub const fn of(name: &str) -> Self {
        let mut index = 0;
        while index < WELL_KNOWN.len() {
            if same(WELL_KNOWN[index].as_bytes(), name.as_bytes()) {
                return Self(index as u8);
            }
            index += 1;
        }
        panic!("the name is not well known");
    }

    fn tag(self) -> u8 {
        self.0 + 1
    }
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// The headers of one record, in order; names may repeat, as in Kafka.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Headers(Bytes);

/// Bytes that are no encoded headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the headers of the record are malformed")]
pub struct MalformedHeaders;

impl Headers {
    /// No headers.
    pub const fn empty() -> Self {
        Self(Bytes::new())
    }

    /// Starts a list of headers.
    pub fn builder() -> HeadersBuilder {
        HeadersBuilder(BytesMut::new())
    }

    /// Takes encoded bytes back, checking them.
    ///
    /// # Errors
    ///
    /// [`MalformedHeaders`] if the bytes do not decode to their end.
    pub fn decode(encoded: Bytes) -> Result<Self, MalformedHeaders> {
        let mut rest = &encoded[..];
        while !rest.is_empty() {
            (_, _, rest) = split_header(rest).ok_or(MalformedHeaders)?;
        }
        Ok(Self(encoded))
    }

    /// The encoded form, as drawn in the module's documentation.
    pub fn encoded(&self) -> &Bytes {
        &self.0
    }

    /// The headers in order; a null value is `None`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (name, value, after) = split_header(rest).expect("headers are checked when they come in");
            rest = after;
            Some((name, value))
        })
    }

    /// The last value under `name`, as Kafka's `lastHeader`; `None` if absent or null.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(n, _)| *n == name).last().and_then(|(_, value)| value)
    }

    /// The last value under a well-known name; as [`get`](Self::get), without looking at names as text.
    pub fn known(&self, name: WellKnown) -> Option<&[u8]> {
        let mut rest = &self.0[..];
        let mut found = None;
        while let Some(&tag) = rest.first() {
            let (_, value, after) = split_header(rest).expect("headers are checked when they come in");
            if tag == name.tag() {
                found = value;
            }
            rest = after;
        }
        found
    }

    /// The last value under `name` as text; `None` if absent, null or not UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, value.map(String::from_utf8_lossy))))
            .finish()
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(headers: I) -> Self {
        headers.into_iter().fold(Self::builder(), |b, (name, value)| b.push(name, value)).build()
    }
}

/// Collects headers in order.
#[derive(Debug, Default)]
pub struct HeadersBuilder(BytesMut);

impl HeadersBuilder {
    /// A builder with room for `bytes` of encoded headers.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(BytesMut::with_capacity(bytes))
    }

    /// Adds a header.
    #[must_use]
    pub fn push(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.add(name, Some(value.as_ref()));
        self
    }

    /// Adds a header of a well-known name.
    pub fn put(&mut self, name: WellKnown, value: &[u8]) {
        self.0.put_u8(name.tag());
        put_varint(&mut self.0, value.len() as u64 + 1);
        self.0.put_slice(value);
    }

    /// Adds a header whose value may be null.
    pub fn add(&mut self, name: &str, value: Option<&[u8]>) {
        match WELL_KNOWN.iter().position(|known| *known == name) {
            Some(index) => self.0.put_u8(index as u8 + 1),
            None => {
                self.0.put_u8(0);
                put_varint(&mut self.0, name.len() as u64);
                self.0.put_slice(name.as_bytes());
            }
        }
        match value {
            None => put_varint(&mut self.0, 0),
            Some(value) => {
                put_varint(&mut self.0, value.len() as u64 + 1);
                self.0.put_slice(value);
            }
        }
    }

    /// The finished headers.
    pub fn build(self) -> Headers {
        Headers(self.0.freeze())
    }
}

/// A header's name and value, and the bytes after it.
type Split<'a> = (&'a str, Option<&'a [u8]>, &'a [u8]);

fn split_header(bytes: &[u8]) -> Option<Split<'_>> {
    let (&tag, rest) = bytes.split_first()?;
    let (name, rest) = match tag {
        0 => {
            let (len, rest) = take_varint(rest)?;
            let (name, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            (std::str::from_utf8(name).ok()?, rest)
        }
        index => (*WELL_KNOWN.get(usize::from(index) - 1)?, rest),
    };
    let (len, rest) = take_varint(rest)?;
    if len == 0 {
        return Some((name, None, rest));
    }
    let (value, rest) = rest.split_at_checked(usize::try_from(len - 1).ok()?)?;
    Some((name, Some(value), rest))
}

/// Appends `value` as a little-endian base-128 varint.
pub fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Splits a varint off the front; `None` if it is cut short or longer than 64 bits.
pub fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_in_order_with_repeats_and_nulls() {
        let mut builder = Headers::builder().push("ce_id", "7").push("own-name", [0xff]).push("ce_id", "8");
        builder.add("gone", None);
        let headers = builder.build();
        let read: Vec<_> = headers.iter().collect();
        assert_eq!(
            read,
            [
                ("ce_id", Some(&b"7"[..])),
                ("own-name", Some(&[0xff][..])),
                ("ce_id", Some(&b"8"[..])),
                ("gone", None)
            ]
        );
        assert_eq!(headers.get_str("ce_id"), Some("8"));
        assert_eq!(headers.get("gone"), None);
        assert_eq!(Headers::decode(headers.encoded().clone()), Ok(headers));
    }

    #[test]
    fn a_well_known_name_is_the_same_as_its_text() {
        const SUBJECT: WellKnown = WellKnown::of("ce_subject");
        let mut builder = Headers::builder().push("other", "1");
        builder.put(SUBJECT, b"a");
        let headers = builder.push("ce_subject", "b").build();
        assert_eq!(headers.known(SUBJECT), Some(&b"b"[..]));
        assert_eq!(headers.get("ce_subject"), headers.known(SUBJECT));
        assert_eq!(headers.known(WellKnown::of("ce_id")), None);
    }

    #[test]
    fn every_cut_of_encoded_headers_is_refused_or_whole() {
        let headers = Headers::builder().push("ce_id", "7").push("own-name", "x".repeat(300)).build();
        let whole = headers.encoded();
        let cuts_that_decode: Vec<usize> =
            (0..=whole.len()).filter(|cut| Headers::decode(whole.slice(..*cut)).is_ok()).collect();
        assert_eq!(cuts_that_decode, [0, 3, whole.len()]);
    }
}
