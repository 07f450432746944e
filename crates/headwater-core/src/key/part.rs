//! The partition part of a key: what alone decides its partition.
//!
//! The first component of a tuple, and the whole of any other key. So all keys `(customer, _)` of one customer lie in
//! one partition, and a range over them is answered by one shard.

use bytes::Bytes;
use serde::ser::{Impossible, Serialize, SerializeTuple, SerializeTupleStruct, Serializer};

use super::{Cause, KeyError, text};

/// The text form of a key's partition part.
///
/// ```
/// use headwater_core::key::{partition_text, text};
///
/// assert_eq!(partition_text(&("c1", 7))?, text(&"c1")?);
/// assert_eq!(partition_text(&"c1")?, text(&"c1")?);
/// # Ok::<(), headwater_core::key::KeyError>(())
/// ```
///
/// # Errors
///
/// As [`text`](super::text()).
pub fn partition_text<T: Serialize + ?Sized>(key: &T) -> Result<Bytes, KeyError> {
    match key.serialize(FirstComponent) {
        Ok(Some(first)) => first,
        Ok(None) | Err(_) => text(key),
    }
}

/// The name of a tuple struct that has the partition part of its first component, and not all of that component.
///
/// What is kept beside a key under a larger key (a window, say) must lie where the key itself lies.
pub const BESIDE_FIRST: &str = "BesideFirst";

type First = Option<Result<Bytes, KeyError>>;

/// Answers the text of a tuple's first component; `None` for whatever is no tuple.
struct FirstComponent;

/// A tuple of which the first component may have been seen.
struct Components {
    first: First,
    /// Whether the partition part of the first component decides.
    is_beside: bool,
}

impl Components {
    fn component<T: ?Sized + Serialize>(&mut self, value: &T) {
        let is_beside = self.is_beside;
        self.first.get_or_insert_with(|| if is_beside { partition_text(value) } else { text(value) });
    }
}

macro_rules! no_tuple {
    ($($method:ident($($kind:ty),*)),* $(,)?) => {
        $(fn $method(self, $(_: $kind),*) -> Result<First, Cause> { Ok(None) })*
    };
}

impl Serializer for FirstComponent {
    type Ok = First;
    type Error = Cause;
    type SerializeSeq = Impossible<First, Cause>;
    type SerializeTuple = Components;
    type SerializeTupleStruct = Components;
    type SerializeTupleVariant = Impossible<First, Cause>;
    type SerializeMap = Impossible<First, Cause>;
    type SerializeStruct = Impossible<First, Cause>;
    type SerializeStructVariant = Impossible<First, Cause>;

    no_tuple! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_i128(i128), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64),
        serialize_u128(u128), serialize_f32(f32), serialize_f64(f64), serialize_char(char), serialize_str(&str),
        serialize_bytes(&[u8]), serialize_none(), serialize_unit(), serialize_unit_struct(&'static str),
        serialize_unit_variant(&'static str, u32, &'static str),
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<First, Cause> {
        Ok(None)
    }
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<First, Cause> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<First, Cause> {
        Ok(None)
    }
    fn serialize_tuple(self, _: usize) -> Result<Components, Cause> {
        Ok(Components { first: None, is_beside: false })
    }
    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Components, Cause> {
        Ok(Components { first: None, is_beside: name == BESIDE_FIRST })
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Cause> {
        Err(Cause::new("no tuple"))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Cause> {
        Err(Cause::new("no tuple"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Cause> {
        Err(Cause::new("no tuple"))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Cause> {
        Err(Cause::new("no tuple"))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Cause> {
        Err(Cause::new("no tuple"))
    }
}

impl SerializeTuple for Components {
    type Ok = First;
    type Error = Cause;
    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Cause> {
        self.component(value);
        Ok(())
    }
    fn end(self) -> Result<First, Cause> {
        Ok(self.first)
    }
}

impl SerializeTupleStruct for Components {
    type Ok = First;
    type Error = Cause;
    fn serialize_field<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Cause> {
        self.component(value);
        Ok(())
    }
    fn end(self) -> Result<First, Cause> {
        Ok(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_component_of_a_tuple_alone_decides() {
        #[derive(serde::Serialize)]
        struct Id(String);
        #[derive(serde::Serialize)]
        struct Pair(String, u8);
        #[derive(serde::Serialize)]
        struct Named {
            a: u8,
        }
        let part = |key: Result<Bytes, KeyError>| key.unwrap();
        assert_eq!(part(partition_text(&("a", 1))), "a");
        assert_eq!(part(partition_text(&(Id("a".into()), (1, 2)))), "a");
        assert_eq!(part(partition_text(&((1, "x"), 2))), "[1,\"x\"]");
        assert_eq!(part(partition_text(&Pair("a".into(), 1))), "a");
        assert_eq!(part(partition_text(&Id("a".into()))), "a");
        assert_eq!(part(partition_text(&Named { a: 1 })), "{\"a\":1}");
        assert_eq!(part(partition_text(&vec!["a", "b"])), "[\"a\",\"b\"]");
    }
}
