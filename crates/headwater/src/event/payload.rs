//! The payload of an event without the tag of its enum, by standing between the event and serde_json.

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor};
use serde::ser::{self, Serialize, Serializer};
use serde_json::Error;

/// The event's type and the JSON of its data.
pub(crate) fn encode<E: Serialize>(event: &E) -> Result<(&'static str, Vec<u8>), Error> {
    let mut value = Vec::with_capacity(128);
    let mut type_name = None;
    let mut json = serde_json::Serializer::new(&mut value);
    event.serialize(Untagged { json: &mut json, type_name: &mut type_name })?;
    Ok((type_name.unwrap_or_else(short_name::<E>), value))
}

/// The event of this type with this data.
pub(crate) fn decode<E: de::DeserializeOwned>(type_name: &str, payload: &[u8]) -> Result<E, Error> {
    E::deserialize(Tagged { type_name, payload })
}

fn short_name<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

type Json<'w> = serde_json::Serializer<&'w mut Vec<u8>>;

/// Writes the content of an outermost variant, and remembers the variant's name.
struct Untagged<'a, 'w> {
    json: &'a mut Json<'w>,
    type_name: &'a mut Option<&'static str>,
}

/// The fields of a variant, written as those of a plain sequence or structure.
struct Fields<C>(C);

macro_rules! pass_on {
    ($($method:ident($kind:ty)),* $(,)?) => {
        $(fn $method(self, value: $kind) -> Result<(), Error> { self.json.$method(value) })*
    };
}

impl<'a, 'w> Serializer for Untagged<'a, 'w> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = <&'a mut Json<'w> as Serializer>::SerializeSeq;
    type SerializeTuple = <&'a mut Json<'w> as Serializer>::SerializeTuple;
    type SerializeTupleStruct = <&'a mut Json<'w> as Serializer>::SerializeTupleStruct;
    type SerializeTupleVariant = Fields<<&'a mut Json<'w> as Serializer>::SerializeTuple>;
    type SerializeMap = <&'a mut Json<'w> as Serializer>::SerializeMap;
    type SerializeStruct = <&'a mut Json<'w> as Serializer>::SerializeStruct;
    type SerializeStructVariant = Fields<<&'a mut Json<'w> as Serializer>::SerializeStruct>;

    pass_on! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_f32(f32),
        serialize_f64(f64), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.json.serialize_none()
    }
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Error> {
        self.json.serialize_some(value)
    }
    fn serialize_unit(self) -> Result<(), Error> {
        self.json.serialize_unit()
    }
    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Error> {
        self.json.serialize_unit_struct(name)
    }
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.json.serialize_newtype_struct(name, value)
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        self.json.serialize_seq(len)
    }
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, Error> {
        self.json.serialize_tuple(len)
    }
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, Error> {
        self.json.serialize_tuple_struct(name, len)
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Error> {
        self.json.serialize_map(len)
    }
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, Error> {
        self.json.serialize_struct(name, len)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        *self.type_name = Some(variant);
        self.json.serialize_unit()
    }
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        *self.type_name = Some(variant);
        value.serialize(self.json)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        *self.type_name = Some(variant);
        self.json.serialize_tuple(len).map(Fields)
    }
    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        *self.type_name = Some(variant);
        self.json.serialize_struct(name, len).map(Fields)
    }
}

impl<C: ser::SerializeTuple<Ok = (), Error = Error>> ser::SerializeTupleVariant for Fields<C> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Error> {
        self.0.serialize_element(value)
    }
    fn end(self) -> Result<(), Error> {
        self.0.end()
    }
}

impl<C: ser::SerializeStruct<Ok = (), Error = Error>> ser::SerializeStructVariant for Fields<C> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: ?Sized + Serialize>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.0.serialize_field(key, value)
    }
    fn end(self) -> Result<(), Error> {
        self.0.end()
    }
}

/// A payload that answers an enum as the variant that `type_name` names.
struct Tagged<'a> {
    type_name: &'a str,
    payload: &'a [u8],
}

impl<'a> Tagged<'a> {
    fn json<T>(
        payload: &'a [u8],
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::SliceRead<'a>>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut json = serde_json::Deserializer::from_slice(payload);
        let value = read(&mut json)?;
        json.end()?;
        Ok(value)
    }
}

macro_rules! read_json {
    ($($method:ident($($argument:ident: $kind:ty),*)),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, Error> {
            Tagged::json(self.payload, |json| json.$method($($argument,)* visitor))
        })*
    };
}

impl<'de> Deserializer<'de> for Tagged<'de> {
    type Error = Error;

    read_json! {
        deserialize_any(), deserialize_bool(), deserialize_i8(), deserialize_i16(), deserialize_i32(),
        deserialize_i64(), deserialize_u8(), deserialize_u16(), deserialize_u32(), deserialize_u64(),
        deserialize_f32(), deserialize_f64(), deserialize_char(), deserialize_str(), deserialize_string(),
        deserialize_bytes(), deserialize_byte_buf(), deserialize_option(), deserialize_unit(),
        deserialize_unit_struct(name: &'static str), deserialize_newtype_struct(name: &'static str),
        deserialize_seq(), deserialize_tuple(len: usize),
        deserialize_tuple_struct(name: &'static str, len: usize), deserialize_map(),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_identifier(), deserialize_ignored_any(),
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }
}

impl<'de> EnumAccess<'de> for Tagged<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: de::value::StrDeserializer<'_, Error> = self.type_name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Tagged::json(self.payload, |json| json.deserialize_ignored_any(de::IgnoredAny)).map(drop)
    }
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        Tagged::json(self.payload, |json| seed.deserialize(json))
    }
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        Tagged::json(self.payload, |json| json.deserialize_tuple(len, visitor))
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Tagged::json(self.payload, |json| json.deserialize_struct("", fields, visitor))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{decode, encode};
    use serde::de;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Event {
        Opened,
        Named(String),
        Moved(i64, i64),
        Paid {
            pence: u64,
        },
        #[serde(rename = "closed-for-good")]
        Closed(Option<u8>),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Plain {
        n: u8,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Inside {
        A { n: u8 },
    }

    fn round_trips<E: Serialize + de::DeserializeOwned + PartialEq + std::fmt::Debug>(
        event: E,
        type_name: &str,
        payload: &str,
    ) {
        let (written_type, written) = encode(&event).unwrap();
        assert_eq!((written_type, std::str::from_utf8(&written).unwrap()), (type_name, payload));
        assert_eq!(decode::<E>(type_name, payload.as_bytes()).unwrap(), event);
    }

    #[test]
    fn the_type_is_the_variant_and_the_payload_its_content() {
        round_trips(Event::Opened, "Opened", "null");
        round_trips(Event::Named("Å".into()), "Named", "\"Å\"");
        round_trips(Event::Moved(-1, 2), "Moved", "[-1,2]");
        round_trips(Event::Paid { pence: 5 }, "Paid", "{\"pence\":5}");
        round_trips(Event::Closed(None), "closed-for-good", "null");
        round_trips(Plain { n: 1 }, "Plain", "{\"n\":1}");
        round_trips(Inside::A { n: 1 }, "Inside", "{\"kind\":\"A\",\"n\":1}");
    }

    #[test]
    fn an_unknown_type_and_a_truncated_payload_are_named() {
        let unknown = decode::<Event>("Lost", b"null").unwrap_err().to_string();
        assert!(unknown.contains("Lost"), "{unknown}");
        assert!(decode::<Event>("Paid", b"{\"pence\":").is_err());
        assert!(decode::<Event>("Paid", b"{\"pence\":5} x").is_err());
    }
}
