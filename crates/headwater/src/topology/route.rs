//! Which partition a key's values lie in: the bytes that decide it.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use headwater_core::key::{Key, KeyError, partition_text, text};

/// The bytes whose hash is a key's partition; or why there are none.
pub(crate) struct Route<K> {
    of: Arc<dyn Fn(&K) -> Result<Bytes, String> + Send + Sync>,
    /// Where the values of a tuple lie where its first component alone does: a route of that component.
    of_first: Option<Arc<dyn Any + Send + Sync>>,
}

impl<K> Clone for Route<K> {
    fn clone(&self) -> Self {
        Self { of: self.of.clone(), of_first: self.of_first.clone() }
    }
}

impl<K: 'static> Route<K> {
    pub(crate) fn new(of: impl Fn(&K) -> Result<Bytes, String> + Send + Sync + 'static) -> Self {
        Self { of: Arc::new(of), of_first: None }
    }

    pub(crate) fn of(&self, key: &K) -> Result<Bytes, String> {
        (self.of)(key)
    }

    /// That of a key and something more, which lies where the key alone does.
    pub(crate) fn extended<R: 'static>(&self) -> Route<(K, R)> {
        let of = self.of.clone();
        Route { of: Arc::new(move |(key, _)| of(key)), of_first: Some(Arc::new(self.clone())) }
    }
}

impl<K: Key> Route<K> {
    /// That of keys in their text form.
    pub(crate) fn text() -> Self {
        Self::new(|key| partition_text(key).map_err(told))
    }
}

impl<P: Key, R: Key> Route<(P, R)> {
    /// The bytes that decide for all keys that begin alike.
    pub(crate) fn of_first(&self, first: &P) -> Result<Bytes, String> {
        match self.of_first.as_ref().and_then(|route| route.downcast_ref::<Route<P>>()) {
            Some(route) => route.of(first),
            None => text(first).map_err(told),
        }
    }
}

fn told(error: KeyError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lies_with_its_first<P: Key>(of: &Route<P>, first: P) {
        let extended = of.extended::<u32>();
        let expected = of.of(&first).unwrap();
        assert_eq!(extended.of_first(&first).unwrap(), expected);
        assert_eq!(extended.of(&(first, 7)).unwrap(), expected);
    }

    #[test]
    fn a_key_and_more_lies_where_the_key_alone_does_and_is_asked_for_there() {
        lies_with_its_first(&Route::text(), "c1".to_owned());
        lies_with_its_first(&Route::text(), ("c1".to_owned(), 3));
        let big_endian = Route::new(|key: &u64| Ok(Bytes::copy_from_slice(&key.to_be_bytes())));
        lies_with_its_first(&big_endian, 7);
        lies_with_its_first(&big_endian.extended::<String>(), (7, "a".to_owned()));
    }

    #[test]
    fn of_a_tuple_the_first_component_decides() {
        let route = Route::<(String, u32)>::text();
        assert_eq!(route.of(&("c1".to_owned(), 1)).unwrap(), "c1");
        assert_eq!(route.of_first(&"c1".to_owned()).unwrap(), "c1");
    }
}
