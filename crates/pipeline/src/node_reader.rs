//! serde's view of a [`Node`]: a deserializer whose errors carry the path of the offending node.
//!
//! Used by [`crate::typed`] only. Types are strict: text is never read as a number nor the other way round; an
//! integer is read where a number is wanted; nothing (`key:`) is read as an absent optional value.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::node::{Entry, Node, NodeValue};

/// What went wrong, as serde says it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cause {
    UnknownField {
        field: String,
        known: &'static [&'static str],
    },
    UnknownVariant {
        variant: String,
        known: &'static [&'static str],
    },
    Missing {
        field: &'static str,
    },
    Type {
        expected: String,
    },
    Other {
        message: String,
    },
}

/// A failed reading: what, and the path from the root to where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReadError {
    pub(crate) cause: Cause,
    /// Keys and positions from the root.
    pub(crate) path: Vec<String>,
}

impl ReadError {
    fn new(cause: Cause) -> Self {
        ReadError {
            cause,
            path: Vec::new(),
        }
    }

    /// The same error seen from one level up.
    fn within(mut self, part: impl fmt::Display) -> Self {
        self.path.insert(0, part.to_string());
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.cause, self.path.join("."))
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Cause::Other {
            message: message.to_string(),
        })
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Cause::Type {
            expected: expected.to_string(),
        })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Cause::Type {
            expected: expected.to_string(),
        })
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(Cause::Type {
            expected: expected.to_string(),
        })
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::new(Cause::UnknownVariant {
            variant: variant.to_owned(),
            known,
        })
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(Cause::UnknownField {
            field: field.to_owned(),
            known,
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Cause::Missing { field })
    }
}

/// Reads one node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeReader<'a>(pub(crate) &'a Node);

impl<'de> Deserializer<'de> for NodeReader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.0.value {
            NodeValue::Null => visitor.visit_unit(),
            NodeValue::Bool(value) => visitor.visit_bool(*value),
            NodeValue::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => Err(de::Error::custom(format!("{value} is out of range"))),
            },
            NodeValue::Float(value) => visitor.visit_f64(*value),
            NodeValue::Text(text) => visitor.visit_str(text),
            NodeValue::Sequence(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
            }),
            NodeValue::Mapping(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                value: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0.value {
            NodeValue::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    /// `variant` or `variant: content`.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.0.value {
            NodeValue::Text(text) => visitor.visit_enum(Choice {
                variant: text,
                content: None,
            }),
            NodeValue::Mapping(entries) => match entries.as_slice() {
                [entry] => visitor.visit_enum(Choice {
                    variant: &entry.key,
                    content: Some(entry),
                }),
                _ => Err(de::Error::custom(format!(
                    "expects exactly one of the keys {}",
                    variants.join(", ")
                ))),
            },
            _ => {
                let choices = variants
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>();
                Err(ReadError::new(Cause::Type {
                    expected: format!("one of {}", choices.join(", ")),
                }))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        match self.items.next() {
            None => Ok(None),
            Some((index, item)) => seed
                .deserialize(NodeReader(item))
                .map(Some)
                .map_err(|error| error.within(index)),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        self.value = self.entries.next();
        let Some(entry) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, ReadError> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| error.within(&entry.key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        let Some(entry) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(NodeReader(&entry.value))
            .map_err(|error| error.within(&entry.key))
    }
}

/// One variant of an enum, with its content if it has any.
struct Choice<'a> {
    variant: &'a str,
    content: Option<&'a Entry>,
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = ReadError;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Content<'a>), ReadError> {
        let variant: StrDeserializer<'_, ReadError> = self.variant.into_deserializer();
        Ok((seed.deserialize(variant)?, Content(self.content)))
    }
}

struct Content<'a>(Option<&'a Entry>);

impl Content<'_> {
    fn wanted<T>(&self, read: impl FnOnce(&Entry) -> Result<T, ReadError>) -> Result<T, ReadError> {
        match self.0 {
            None => Err(de::Error::custom(
                "this choice has settings of its own; write it as a mapping",
            )),
            Some(entry) => read(entry).map_err(|error| error.within(&entry.key)),
        }
    }
}

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.0 {
            None => Ok(()),
            Some(Entry {
                value:
                    Node {
                        value: NodeValue::Null,
                        ..
                    },
                ..
            }) => Ok(()),
            Some(entry) => Err(
                <ReadError as de::Error>::custom("this choice has no settings of its own").within(&entry.key),
            ),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        self.wanted(|entry| seed.deserialize(NodeReader(&entry.value)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.wanted(|entry| NodeReader(&entry.value).deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.wanted(|entry| NodeReader(&entry.value).deserialize_any(visitor))
    }
}
