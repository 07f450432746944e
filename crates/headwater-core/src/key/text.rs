//! The text form of keys: what other consumers of a topic read.
//!
//! A value that serialises as a string (also one inside newtypes, also a variant without data) is that string, raw.
//! Everything else is its JSON: an integer its digits, a tuple an array. The form is typed: the string `5` and the
//! number `5` are the same text, and the type that reads it back says which one it is.
//!
//! So a type that reads back "whatever is there" (an untagged enum, a JSON value) gets the string if it accepts one,
//! and should not be a key. An option is JSON also around a string, so that `Some("null")` is not `None`.

use bytes::Bytes;
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::ser::Impossible;
use serde::{Serialize, ser};

use super::{Cause, KeyError, KeyErrorKind};

/// The text form of a key.
///
/// ```
/// use headwater_core::key::text;
///
/// assert_eq!(text("c1")?, "c1");
/// assert_eq!(text(&5u64)?, "5");
/// assert_eq!(text(&("c1", 5))?, r#"["c1",5]"#);
/// # Ok::<(), headwater_core::key::KeyError>(())
/// ```
///
/// # Errors
///
/// [`KeyErrorKind::Unsupported`] if JSON cannot hold the value.
pub fn text<T: Serialize + ?Sized>(key: &T) -> Result<Bytes, KeyError> {
    let unsupported = |cause: Cause| KeyError::new::<T>(KeyErrorKind::Unsupported, cause);
    match key.serialize(RawText) {
        Ok(raw) => Ok(raw.into()),
        Err(NoText::OtherKind) => {
            serde_json::to_vec(key).map(Bytes::from).map_err(|error| unsupported(Cause::new(error)))
        }
        Err(NoText::Failed(cause)) => Err(unsupported(cause)),
    }
}

/// The key whose text form is `bytes`.
///
/// # Errors
///
/// [`KeyErrorKind::Malformed`] if the bytes are no key of the type.
pub fn decode_text<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, KeyError> {
    let decode = |untyped| T::deserialize(TextDecoder { bytes, untyped });
    decode(Untyped::Raw)
        .or_else(|cause| decode(Untyped::Json).map_err(|_| cause))
        .map_err(|cause| KeyError::new::<T>(KeyErrorKind::Malformed, cause))
}

/// Gives the string that a value serialises as, if it does.
struct RawText;

/// Why a value has no raw text.
#[derive(Debug)]
enum NoText {
    /// It does not serialise as a string.
    OtherKind,
    /// It does not serialise.
    Failed(Cause),
}

impl std::fmt::Display for NoText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OtherKind => f.write_str("no string"),
            Self::Failed(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for NoText {}

impl ser::Error for NoText {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Failed(Cause::new(message))
    }
}

macro_rules! other_kind {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<$ok, NoText> {
            Err(NoText::OtherKind)
        }
    )*};
}

impl ser::Serializer for RawText {
    type Ok = String;
    type Error = NoText;
    type SerializeSeq = Impossible<String, NoText>;
    type SerializeTuple = Impossible<String, NoText>;
    type SerializeTupleStruct = Impossible<String, NoText>;
    type SerializeTupleVariant = Impossible<String, NoText>;
    type SerializeMap = Impossible<String, NoText>;
    type SerializeStruct = Impossible<String, NoText>;
    type SerializeStructVariant = Impossible<String, NoText>;

    other_kind! {
        serialize_bool(bool) -> String;
        serialize_i8(i8) -> String;
        serialize_i16(i16) -> String;
        serialize_i32(i32) -> String;
        serialize_i64(i64) -> String;
        serialize_i128(i128) -> String;
        serialize_u8(u8) -> String;
        serialize_u16(u16) -> String;
        serialize_u32(u32) -> String;
        serialize_u64(u64) -> String;
        serialize_u128(u128) -> String;
        serialize_f32(f32) -> String;
        serialize_f64(f64) -> String;
        serialize_bytes(&[u8]) -> String;
        serialize_none() -> String;
        serialize_unit() -> String;
        serialize_unit_struct(&'static str) -> String;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<String, NoText> {
        Err(NoText::OtherKind)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<String, NoText> {
        Err(NoText::OtherKind)
    }

    fn serialize_char(self, value: char) -> Result<String, NoText> {
        Ok(value.to_string())
    }

    fn serialize_str(self, value: &str) -> Result<String, NoText> {
        Ok(value.to_owned())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<String, NoText> {
        Ok(name.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<String, NoText> {
        value.serialize(self)
    }
}

/// Answers the text raw where the type asks for a string, and as JSON otherwise.
struct TextDecoder<'a> {
    bytes: &'a [u8],
    untyped: Untyped,
}

/// What a type gets that does not say what it asks for.
#[derive(Clone, Copy)]
enum Untyped {
    Raw,
    Json,
}

impl<'a> TextDecoder<'a> {
    fn raw(&self) -> Result<&'a str, Cause> {
        std::str::from_utf8(self.bytes).map_err(Cause::new)
    }

    /// Runs `read` on the text as JSON, which must end where the value does.
    fn json<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::SliceRead<'a>>) -> serde_json::Result<T>,
    ) -> Result<T, Cause> {
        let mut json = serde_json::Deserializer::from_slice(self.bytes);
        let value = read(&mut json).map_err(Cause::new)?;
        json.end().map_err(Cause::new)?;
        Ok(value)
    }
}

macro_rules! decode_json {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, Cause> {
            self.json(|json| json.$method($($name,)* visitor))
        }
    )*};
}

macro_rules! decode_raw {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
            visitor.visit_str(self.raw()?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for TextDecoder<'de> {
    type Error = Cause;

    decode_raw! { deserialize_char deserialize_str deserialize_string deserialize_identifier }

    decode_json! {
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_ignored_any();
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        match self.untyped {
            Untyped::Raw => visitor.visit_str(self.raw()?),
            Untyped::Json => self.json(|json| de::Deserializer::deserialize_any(json, visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Cause> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cause> {
        let raw = self.raw()?;
        if raw.starts_with('{') && !variants.contains(&raw) {
            return self.json(|json| json.deserialize_enum(name, variants, visitor));
        }
        visitor.visit_enum(raw.into_deserializer())
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
