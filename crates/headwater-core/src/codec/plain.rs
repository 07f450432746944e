//! Codecs of plain keys and values, as other Kafka clients write them.

use bytes::Bytes;

use super::{Codec, CodecError, KeyCodec};
use crate::key::{Key, KeyError, decode_text, partition_text, text};

/// The text form of keys: strings raw, everything else as JSON. See [`key`](crate::key).
///
/// For strings it is what Kafka's `StringSerializer` writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

impl<K: Key> Codec<K> for Text {
    fn name(&self) -> String {
        "text".to_owned()
    }

    fn encode(&self, key: &K) -> Result<Bytes, CodecError> {
        text(key).map_err(CodecError::encode::<K>)
    }

    fn decode(&self, bytes: &[u8]) -> Result<K, CodecError> {
        decode_text(bytes).map_err(CodecError::decode::<K>)
    }
}

impl<K: Key> KeyCodec<K> for Text {
    /// The first component of a tuple, so that all keys of one partition part lie in one partition.
    fn partition_part(&self, key: &K, encoded: &Bytes) -> Result<Bytes, KeyError> {
        // Only the text of a tuple, an array, has a part of its own.
        if encoded.first() == Some(&b'[') { partition_text(key) } else { Ok(encoded.clone()) }
    }
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn name(&self) -> String {
        "raw".to_owned()
    }

    fn encode(&self, value: &Bytes) -> Result<Bytes, CodecError> {
        Ok(value.clone())
    }

    fn decode(&self, bytes: &[u8]) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn decode_shared(&self, bytes: &Bytes) -> Result<Bytes, CodecError> {
        Ok(bytes.clone())
    }
}

impl Codec<Vec<u8>> for Raw {
    fn name(&self) -> String {
        "raw".to_owned()
    }

    fn encode(&self, value: &Vec<u8>) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(value))
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(bytes.to_vec())
    }
}

impl KeyCodec<Vec<u8>> for Raw {}

/// Lets a record's null stand for the absent value of an `Option`, whatever codec the values have.
///
/// ```
/// use headwater_core::codec::{Codec, Nullable, Text};
///
/// let keys = Nullable(Text);
/// assert_eq!(keys.encode_nullable(&None::<String>)?, None);
/// assert_eq!(Codec::<Option<String>>::decode_null(&keys)?, None);
/// # Ok::<(), headwater_core::codec::CodecError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Nullable<C>(pub C);

impl<C: Codec<T>, T> Codec<Option<T>> for Nullable<C> {
    fn name(&self) -> String {
        format!("nullable {}", self.0.name())
    }

    /// # Errors
    ///
    /// An absent value has no bytes: only a null record can hold it.
    fn encode(&self, value: &Option<T>) -> Result<Bytes, CodecError> {
        let absent = || CodecError::encode::<Option<T>>("an absent value is a null, which has no bytes");
        self.0.encode(value.as_ref().ok_or_else(absent)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Option<T>, CodecError> {
        self.0.decode(bytes).map(Some)
    }

    fn decode_shared(&self, bytes: &Bytes) -> Result<Option<T>, CodecError> {
        self.0.decode_shared(bytes).map(Some)
    }

    fn encode_nullable(&self, value: &Option<T>) -> Result<Option<Bytes>, CodecError> {
        value.as_ref().map(|value| self.0.encode(value)).transpose()
    }

    fn decode_null(&self) -> Result<Option<T>, CodecError> {
        Ok(None)
    }
}

impl<C: KeyCodec<K>, K> KeyCodec<Option<K>> for Nullable<C> {
    /// That of the key; of an absent one, which may lie in any partition, nothing at all.
    fn partition_part(&self, key: &Option<K>, encoded: &Bytes) -> Result<Bytes, KeyError> {
        key.as_ref().map_or(Ok(Bytes::new()), |key| self.0.partition_part(key, encoded))
    }
}

/// Integers in big-endian, as Kafka's `ShortSerializer`, `IntegerSerializer` and `LongSerializer` write them.
#[derive(Debug, Clone, Copy, Default)]
pub struct BigEndian;

/// An integer of fixed width.
pub trait Integer: Copy + Send + Sync + 'static {
    /// Its bytes, the highest first.
    fn to_big_endian(self) -> Bytes;

    /// The integer in `bytes`, if they are as many as it has.
    fn from_big_endian(bytes: &[u8]) -> Option<Self>;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Integer for $type {
            fn to_big_endian(self) -> Bytes {
                Bytes::copy_from_slice(&self.to_be_bytes())
            }

            fn from_big_endian(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

integers! { i16 i32 i64 u16 u32 u64 }

impl<T: Integer> Codec<T> for BigEndian {
    fn name(&self) -> String {
        format!("big-endian of {} bytes", size_of::<T>())
    }

    fn encode(&self, value: &T) -> Result<Bytes, CodecError> {
        Ok(value.to_big_endian())
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let wrong_length = || format!("{} bytes where {} are needed", bytes.len(), size_of::<T>());
        T::from_big_endian(bytes).ok_or_else(|| CodecError::decode::<T>(wrong_length()))
    }
}

impl<T: Integer> KeyCodec<T> for BigEndian {}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn round_trip<T: PartialEq + Debug>(codec: &impl Codec<T>, value: T, bytes: &[u8]) {
        assert_eq!(codec.encode(&value).unwrap(), bytes, "{value:?}");
        assert_eq!(codec.decode(bytes).unwrap(), value);
        assert_eq!(codec.decode_shared(&Bytes::copy_from_slice(bytes)).unwrap(), value);
    }

    #[test]
    fn values_are_written_as_kafka_s_own_serializers_write_them() {
        round_trip(&BigEndian, 1_i64, &[0, 0, 0, 0, 0, 0, 0, 1]);
        round_trip(&BigEndian, -2_i64, &[255, 255, 255, 255, 255, 255, 255, 254]);
        round_trip(&BigEndian, 258_i32, &[0, 0, 1, 2]);
        round_trip(&BigEndian, u16::MAX, &[255, 255]);
        round_trip(&Text, "caf\u{e9}".to_owned(), "caf\u{e9}".as_bytes());
        round_trip(&Text, ("c1".to_owned(), 5_u64), br#"["c1",5]"#);
        round_trip(&Raw, Bytes::from_static(&[0, 159]), &[0, 159]);
        round_trip(&Raw, vec![0, 159], &[0, 159]);
    }

    #[test]
    fn bytes_of_another_length_are_no_integer() {
        for bytes in [&b""[..], b"1234567", b"123456789"] {
            let error = Codec::<i64>::decode(&BigEndian, bytes).unwrap_err().to_string();
            assert!(error.contains("where 8 are needed"), "{error}");
        }
    }

    #[test]
    fn the_partition_part_of_a_text_key_is_its_first_component() {
        fn part<K: Key>(key: K) -> Bytes {
            Text.partition_part(&key, &Text.encode(&key).unwrap()).unwrap()
        }
        assert_eq!(part(("c1".to_owned(), 5)), "c1");
        assert_eq!(part("c1".to_owned()), "c1");
        assert_eq!(part("[c1".to_owned()), "[c1");
        assert_eq!(
            BigEndian.partition_part(&7_i32, &BigEndian.encode(&7).unwrap()).unwrap(),
            [0, 0, 0, 7][..]
        );
    }
}
