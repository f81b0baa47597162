//! A JSON object read as a list of entries, refusing a key that stands in it twice.
//!
//! serde's own maps keep the last of two equal keys, so that two readers can see two different models in one file.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::error::quoted;

/// Most entries: more tensors than any model has, and few enough to be held.
pub(crate) const MAX_ENTRIES: usize = 1 << 19;

/// The entries of a JSON object, in the order of the file, all keys different.
#[derive(Debug)]
pub(crate) struct UniqueMap<V>(pub(crate) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueMapVisitor(PhantomData))
    }
}

struct UniqueMapVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueMapVisitor<V> {
    type Value = UniqueMap<V>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, V)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map
                .next_value()
                .map_err(|error| A::Error::custom(format!("{}: {error}", quoted(&key))))?;
            if entries.len() == MAX_ENTRIES {
                return Err(A::Error::custom(format!("more than {MAX_ENTRIES} entries")));
            }
            entries.push((key, value));
        }
        match first_twice(entries.iter().map(|(key, _)| key.as_str())) {
            Some(key) => Err(A::Error::custom(format!("{} stands twice", quoted(key)))),
            None => Ok(UniqueMap(entries)),
        }
    }
}

/// The first in alphabetical order of the names that are not unique. Sorting takes less memory than a set.
pub(crate) fn first_twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    sorted
        .windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
}
