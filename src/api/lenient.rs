//! How values of answers are read: a shape that nobody expects costs what it stands in as little as can be.

use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A `null` is as good as a missing field.
pub(in crate::api) fn lenient<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A value of which nobody can say what it will be. What holds others is passed over, however much it is.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar {
    Flag(bool),
    Number(u64),
    Text(String),
    /// Null, or what is none of these.
    Other,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Flag(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar::Number(value))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// A flag that only informs: one of a shape that nobody knows must not spoil the desktop that it stands in.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(match Scalar::deserialize(deserializer)? {
        Scalar::Flag(flag) => flag,
        Scalar::Text(text) => text.eq_ignore_ascii_case("true"),
        Scalar::Number(_) | Scalar::Other => false,
    })
}

/// How many there are in all: a number, or its digits in a text. Anything else tells none, which is not the same as 0.
pub(super) fn total<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Scalar::deserialize(deserializer)? {
        Scalar::Number(total) => Some(total),
        Scalar::Text(digits) => digits.trim().parse().ok(),
        Scalar::Flag(_) | Scalar::Other => None,
    })
}

/// A list of an answer, its entries read one by one: one that can't be read costs itself, and no other.
///
/// What can't be used is counted and not kept, so that a long answer without meaning takes no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T> {
    pub(crate) entries: Vec<T>,
    /// Entries that the answer held, usable or not: what an offset counts.
    pub(crate) received: usize,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), received: 0 }
    }
}

/// What may stand in a [`List`].
pub(crate) trait Entry: Sized {
    /// `None` where the entry can't be used.
    fn read(json: &str) -> Option<Self>;

    /// How many things it holds, itself included.
    fn weight(&self) -> usize {
        1
    }
}

/// Things in one list at most. A page has some hundred entries; many more would take many times an answer's bytes.
pub(super) const MAX_LISTED: usize = 250_000;

impl<'de, T: Entry> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneByOne<T>(PhantomData<T>);

        impl<'de, T: Entry> Visitor<'de> for OneByOne<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
                let (mut read, mut weight) = (List::default(), 0);
                while let Some(entry) = list.next_element::<Box<RawValue>>()? {
                    read.received += 1;
                    let entry = T::read(entry.get());
                    // What can't be used costs time all the same.
                    weight += entry.as_ref().map_or(1, T::weight);
                    if weight > MAX_LISTED {
                        return Err(A::Error::custom("the list is longer than any page can be"));
                    }
                    read.entries.extend(entry);
                }
                Ok(read)
            }
        }

        deserializer.deserialize_seq(OneByOne(PhantomData))
    }
}

/// A `T` that was a JSON object on the wire.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OnlyMap(PhantomData))
    }
}
