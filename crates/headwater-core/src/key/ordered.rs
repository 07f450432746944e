//! The ordered form of keys: bytes that compare as the values do.
//!
//! Every component says itself where it ends, so a sequence of components is just their concatenation, and the
//! encoding of a tuple's first component is a prefix of every tuple that has it, and of no other.
//!
//! | value | bytes |
//! |---|---|
//! | `bool` | `00` or `01` |
//! | unsigned integer | big-endian, as wide as its type |
//! | signed integer | the same with the sign bit flipped |
//! | `char` | its code point as a `u32` |
//! | string, bytes | as they are, `00` written as `00 FF`, then `00 00` |
//! | `Option` | `00`, or `01` and the value |
//! | enum variant | its index (one byte; from 255 on `FF` and a big-endian `u32`), then what it carries |
//! | sequence (`Vec`, `BTreeSet`) | `01` before each element, then `00` |
//! | tuple, array, struct, newtype | the components, nothing between |
//! | unit | nothing |
//!
//! The form does not describe itself: it is read back by the type that wrote it. Types are asked for their binary form
//! (`is_human_readable` is false), so an id of 16 bytes stays one. Three kinds of type need care:
//!
//! - One whose serde form does not sort as it does. Dates and decimals that serialise as strings sort as those strings
//!   (`"10"` before `"9"`); wrap an integer instead. Enums sort by declaration, as derived `Ord` does while
//!   discriminants are not set by hand.
//! - One that reads back "whatever is there" (untagged and internally tagged enums, flattened structs): it cannot be
//!   decoded, and the error says so.
//! - One that leaves fields out when writing (`skip_serializing_if`): refused.

use bytes::Bytes;
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Serialize, ser};

use super::{Cause, KeyError, KeyErrorKind};
use crate::store::KEY_BYTES_MAX;

/// The ordered form of a key.
///
/// ```
/// use headwater_core::key::ordered;
///
/// let (item, customer) = (ordered(&("c1", 7u32))?, ordered("c1")?);
/// assert!(item.starts_with(&customer));
/// assert!(!ordered(&("c10", 7u32))?.starts_with(&customer));
/// # Ok::<(), headwater_core::key::KeyError>(())
/// ```
///
/// # Errors
///
/// As [`encode_ordered`].
pub fn ordered<T: Serialize + ?Sized>(key: &T) -> Result<Bytes, KeyError> {
    let mut out = Vec::with_capacity(32);
    encode_ordered(key, &mut out)?;
    Ok(out.into())
}

/// Appends the ordered form of a key to `out`, which an error leaves as it was.
///
/// # Errors
///
/// [`KeyErrorKind::TooLong`] names the length; [`KeyErrorKind::Unsupported`] names what no key can hold.
pub fn encode_ordered<T: Serialize + ?Sized>(key: &T, out: &mut Vec<u8>) -> Result<(), KeyError> {
    let start = out.len();
    let written = key
        .serialize(&mut Encoder { out })
        .map_err(|cause| KeyError::new::<T>(KeyErrorKind::Unsupported, cause))
        .and_then(|()| fits::<T>(out.len() - start));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn fits<T: ?Sized>(length: usize) -> Result<(), KeyError> {
    if length <= KEY_BYTES_MAX {
        return Ok(());
    }
    let cause = format!("{length} bytes long, the longest a store can hold is {KEY_BYTES_MAX}");
    Err(KeyError::new::<T>(KeyErrorKind::TooLong, cause))
}

/// The key whose ordered form is `bytes`.
///
/// # Errors
///
/// [`KeyErrorKind::Malformed`] if the bytes are no key of the type, or more than one.
pub fn decode_ordered<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, KeyError> {
    let mut decoder = Decoder { rest: bytes };
    let malformed = |cause| KeyError::new::<T>(KeyErrorKind::Malformed, cause);
    let key = T::deserialize(&mut decoder).map_err(malformed)?;
    match decoder.rest.len() {
        0 => Ok(key),
        rest => Err(malformed(Cause(format!("{rest} bytes follow after its end")))),
    }
}

const ESCAPED: [u8; 2] = [0x00, 0xff];
const TERMINATOR: [u8; 2] = [0x00, 0x00];
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;
/// From this variant index on, the index takes four more bytes.
const WIDE_INDEX: u8 = 0xff;

struct Encoder<'a> {
    out: &'a mut Vec<u8>,
}

impl Encoder<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn put_delimited(&mut self, mut bytes: &[u8]) -> Result<(), Cause> {
        while let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
            self.out.extend_from_slice(&bytes[..zero]);
            self.out.extend_from_slice(&ESCAPED);
            bytes = &bytes[zero + 1..];
        }
        self.out.extend_from_slice(bytes);
        self.put(&TERMINATOR)
    }

    fn put_index(&mut self, index: u32) -> Result<(), Cause> {
        match u8::try_from(index) {
            Ok(narrow) if narrow < WIDE_INDEX => self.put(&[narrow]),
            _ => {
                self.out.push(WIDE_INDEX);
                self.put(&index.to_be_bytes())
            }
        }
    }
}

macro_rules! encode_unsigned {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), Cause> {
            self.put(&value.to_be_bytes())
        }
    )*};
}

macro_rules! encode_signed {
    ($($method:ident $type:ty),*) => {$(
        fn $method(self, value: $type) -> Result<(), Cause> {
            self.put(&(value ^ <$type>::MIN).to_be_bytes())
        }
    )*};
}

impl ser::Serializer for &mut Encoder<'_> {
    type Ok = ();
    type Error = Cause;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = ser::Impossible<(), Cause>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    encode_unsigned!(serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128);
    encode_signed!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128);

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Cause> {
        self.put(&[u8::from(value)])
    }

    fn serialize_char(self, value: char) -> Result<(), Cause> {
        self.put(&u32::from(value).to_be_bytes())
    }

    fn serialize_f32(self, _: f32) -> Result<(), Cause> {
        Err(floats_refused())
    }

    fn serialize_f64(self, _: f64) -> Result<(), Cause> {
        Err(floats_refused())
    }

    fn serialize_str(self, value: &str) -> Result<(), Cause> {
        self.put_delimited(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Cause> {
        self.put_delimited(value)
    }

    fn serialize_none(self) -> Result<(), Cause> {
        self.put(&[ABSENT])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Cause> {
        self.out.push(PRESENT);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Cause> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Cause> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<(), Cause> {
        self.put_index(index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Cause> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Cause> {
        self.put_index(index)?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Cause> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Cause> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Cause> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Cause> {
        self.put_index(index)?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Cause> {
        Err(maps_refused())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Cause> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Cause> {
        self.put_index(index)?;
        Ok(self)
    }
}

fn floats_refused() -> Cause {
    Cause::new("a float has no place in a key: not every float equals itself; use an integer")
}

fn maps_refused() -> Cause {
    Cause::new("a map or a flattened struct has no place in a key; use a sequence of pairs")
}

impl ser::SerializeSeq for &mut Encoder<'_> {
    type Ok = ();
    type Error = Cause;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Cause> {
        self.out.push(PRESENT);
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Cause> {
        self.put(&[ABSENT])
    }
}

/// Tuples and structs of every kind are the concatenation of their components.
macro_rules! concatenate {
    ($($trait:ident $method:ident),*) => {$(
        impl ser::$trait for &mut Encoder<'_> {
            type Ok = ();
            type Error = Cause;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Cause> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Cause> {
                Ok(())
            }
        }
    )*};
}

concatenate!(
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! concatenate_fields {
    ($($trait:ident),*) => {$(
        impl ser::$trait for &mut Encoder<'_> {
            type Ok = ();
            type Error = Cause;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Cause> {
                value.serialize(&mut **self)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Cause> {
                Err(Cause(format!("field {name} is left out, so the key could not be read back")))
            }

            fn end(self) -> Result<(), Cause> {
                Ok(())
            }
        }
    )*};
}

concatenate_fields!(SerializeStruct, SerializeStructVariant);

struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Cause> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(ended)?;
        self.rest = rest;
        Ok(*head)
    }

    fn take_flag(&mut self) -> Result<bool, Cause> {
        match self.take()? {
            [ABSENT] => Ok(false),
            [PRESENT] => Ok(true),
            [other] => Err(Cause(format!("byte {other:#04x} where 00 or 01 is expected"))),
        }
    }

    fn take_delimited(&mut self) -> Result<Vec<u8>, Cause> {
        let mut value = Vec::new();
        loop {
            let zero = self.rest.iter().position(|byte| *byte == 0).ok_or_else(ended)?;
            value.extend_from_slice(&self.rest[..zero]);
            self.rest = &self.rest[zero..];
            match self.take()? {
                TERMINATOR => return Ok(value),
                ESCAPED => value.push(0),
                [_, other] => return Err(Cause(format!("byte {other:#04x} after an escape"))),
            }
        }
    }

    fn take_text(&mut self) -> Result<String, Cause> {
        String::from_utf8(self.take_delimited()?).map_err(Cause::new)
    }

    fn take_index(&mut self) -> Result<u32, Cause> {
        match self.take()? {
            [WIDE_INDEX] => self.take().map(u32::from_be_bytes),
            [narrow] => Ok(narrow.into()),
        }
    }

    fn components(&mut self, left: usize) -> Components<'_, 'a> {
        Components { decoder: self, left }
    }
}

fn ended() -> Cause {
    Cause::new("the bytes end before the key does")
}

fn untyped() -> Cause {
    Cause::new(
        "the ordered form does not say what it holds: no untagged, internally tagged or flattened types",
    )
}

macro_rules! decode_unsigned {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
            visitor.$visit(<$type>::from_be_bytes(self.take()?))
        }
    )*};
}

macro_rules! decode_signed {
    ($($method:ident $visit:ident $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
            visitor.$visit(<$type>::from_be_bytes(self.take()?) ^ <$type>::MIN)
        }
    )*};
}

macro_rules! decode_refused {
    ($($method:ident $cause:ident),*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Cause> {
            Err($cause())
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'_> {
    type Error = Cause;

    decode_unsigned!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_u128 visit_u128 u128
    );
    decode_signed!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i128 i128
    );
    decode_refused!(
        deserialize_any untyped, deserialize_ignored_any untyped, deserialize_identifier untyped,
        deserialize_f32 floats_refused, deserialize_f64 floats_refused, deserialize_map maps_refused
    );

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        visitor.visit_bool(self.take_flag()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        let point = u32::from_be_bytes(self.take()?);
        visitor.visit_char(char::from_u32(point).ok_or_else(|| Cause(format!("{point:#x} is no character")))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        visitor.visit_string(self.take_text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        visitor.visit_string(self.take_text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        visitor.visit_byte_buf(self.take_delimited()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        visitor.visit_byte_buf(self.take_delimited()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        if self.take_flag()? { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Cause> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Cause> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Cause> {
        let mut elements = Elements { decoder: self, done: false };
        let value = visitor.visit_seq(&mut elements)?;
        // An array-like visitor may stop without asking for the end; the end marker is still the sequence's.
        if elements.done || !elements.decoder.take_flag()? {
            Ok(value)
        } else {
            Err(Cause::new("the sequence holds more elements than the type"))
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Cause> {
        visitor.visit_seq(self.components(len))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Cause> {
        visitor.visit_seq(self.components(len))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cause> {
        visitor.visit_seq(self.components(fields.len()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cause> {
        visitor.visit_enum(self)
    }
}

/// The components of a tuple or struct, whose number the type knows.
struct Components<'d, 'a> {
    decoder: &'d mut Decoder<'a>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Components<'_, '_> {
    type Error = Cause;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Cause> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// The elements of a sequence, each behind its marker.
struct Elements<'d, 'a> {
    decoder: &'d mut Decoder<'a>,
    done: bool,
}

impl<'de> de::SeqAccess<'de> for &mut Elements<'_, '_> {
    type Error = Cause;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Cause> {
        if self.done || !self.decoder.take_flag()? {
            self.done = true;
            return Ok(None);
        }
        seed.deserialize(&mut *self.decoder).map(Some)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Decoder<'_> {
    type Error = Cause;
    type Variant = Self;

    fn variant_seed<V: de::DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Cause> {
        let index: de::value::U32Deserializer<Cause> = self.take_index()?.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Decoder<'_> {
    type Error = Cause;

    fn unit_variant(self) -> Result<(), Cause> {
        Ok(())
    }

    fn newtype_variant_seed<T: de::DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Cause> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Cause> {
        visitor.visit_seq(self.components(len))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Cause> {
        visitor.visit_seq(self.components(fields.len()))
    }
}

#[cfg(test)]
#[path = "ordered_tests.rs"]
mod tests;
