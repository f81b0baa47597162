//! A YAML (or JSON) document as a tree whose every key and value knows its place.
//!
//! Stands between the parser and [`super::decode`], so that all mistakes of a document can be reported at once, each
//! with line and column. Values that come from a format without places (JSON) have none. Input is bounded before it
//! is parsed: size, depth, nodes, anchors and documents.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Documents of one file.
const MAX_DOCUMENTS: usize = 64;
/// A merge configuration is a page of text, never a megabyte.
const MAX_BYTES: usize = 1 << 20;

/// Where a key or value stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters; 0 if unknown.
    pub length: usize,
}

impl Place {
    fn new(location: &Location) -> Option<Place> {
        let to_usize = |value: u64| usize::try_from(value).unwrap_or(0);
        (location.line() > 0).then(|| Place {
            line: to_usize(location.line()),
            column: to_usize(location.column()),
            length: to_usize(location.span().len()),
        })
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Option<Place>,
    pub(crate) value: Value,
}

/// A key of a mapping and its place.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) place: Option<Place>,
    pub(crate) text: String,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl Value {
    /// What a message calls this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Flag(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Why a text is no tree: the parser's words and the place they mean.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) place: Option<Place>,
    pub(crate) message: String,
}

impl Node {
    /// A document without content.
    pub(crate) fn empty() -> Node {
        Node {
            place: None,
            value: Value::Null,
        }
    }

    /// Parses the YAML documents of a file; those without content are left out.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Node>, SyntaxError> {
        if text.len() > MAX_BYTES {
            let message = format!(
                "{} bytes; a merge configuration has at most {MAX_BYTES}",
                text.len()
            );
            return Err(SyntaxError { place: None, message });
        }
        let budget = serde_saphyr::budget! {
            max_depth: 32,
            max_anchors: 100,
            max_aliases: 1_000,
            max_nodes: 10_000,
            max_documents: MAX_DOCUMENTS,
            // Of texts together, where aliases repeat them too.
            max_total_scalar_bytes: 4 * MAX_BYTES,
        };
        let options = serde_saphyr::options! { budget: budget, with_snippet: false };
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
            let place = error.location().as_ref().and_then(Place::new);
            SyntaxError {
                place,
                message: message(error.without_snippet(), place.is_some()),
            }
        })
    }
}

/// A tree without places, out of any other format.
impl From<serde_json::Value> for Node {
    fn from(value: serde_json::Value) -> Node {
        let value = match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(flag) => Value::Flag(flag),
            serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::MAX)),
            serde_json::Value::String(text) => Value::Text(text),
            serde_json::Value::Array(items) => Value::List(items.into_iter().map(Node::from).collect()),
            serde_json::Value::Object(entries) => {
                let entry = |(text, value)| (Key { place: None, text }, Node::from(value));
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { place: None, value }
    }
}

/// The parser's words without advice to programmers, and without the place if it is known.
fn message(error: &serde_saphyr::Error, has_place: bool) -> String {
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("key {key:?} appears twice")
        }
        serde_saphyr::Error::Budget {
            breach: serde_saphyr::budget::BudgetBreach::Documents { .. },
            ..
        } => format!("more than {MAX_DOCUMENTS} documents"),
        error => {
            let mut message = error.to_string();
            if let Some(cut) = message.rfind(" at line ").filter(|_| has_place) {
                message.truncate(cut);
            }
            message
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node {
            place: Place::new(&spanned.referenced),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Key {
            place: Place::new(&spanned.referenced),
            text: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if value.is_finite() {
            Ok(Value::Number(value))
        } else {
            Err(E::custom("a number must be finite"))
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map: Vec<(Key, Node)> = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Key, Node>()? {
            if map.iter().any(|(other, _)| other.text == key.text) {
                return Err(A::Error::custom(format!("key {:?} appears twice", key.text)));
            }
            map.push((key, node));
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_places() {
        let nodes = Node::parse_all("a: 1\nb:\n  - x\n  - {c: true, d: 1e-5}\ne: ~\n").unwrap();
        let [node] = nodes.as_slice() else {
            panic!("not one document")
        };
        let Value::Map(entries) = &node.value else {
            panic!("not a map")
        };
        assert_eq!(entries[1].0.text, "b");
        assert_eq!(entries[1].0.place.unwrap().line, 2);
        let Value::List(items) = &entries[1].1.value else {
            panic!("not a list")
        };
        assert_eq!(
            (items[0].place.unwrap().line, items[0].place.unwrap().column),
            (3, 5)
        );
        let Value::Map(inner) = &items[1].value else {
            panic!("not a map")
        };
        assert_eq!(
            inner[1].0.place.unwrap(),
            Place {
                line: 4,
                column: 15,
                length: 1
            }
        );
        assert!(matches!(inner[0].1.value, Value::Flag(true)));
        assert!(matches!(inner[1].1.value, Value::Number(value) if value == 1e-5));
        assert!(matches!(entries[2].1.value, Value::Null));
    }

    #[test]
    fn json_gives_the_same_tree_without_places() {
        let node = Node::from(serde_json::json!({"a": [1, "x", null, {"b": false}]}));
        let Value::Map(entries) = &node.value else {
            panic!("not a map")
        };
        assert!(node.place.is_none() && entries[0].0.place.is_none());
        let Value::List(items) = &entries[0].1.value else {
            panic!("not a list")
        };
        assert!(matches!(&items[1].value, Value::Text(text) if text == "x"));
        assert!(matches!(&items[3].value, Value::Map(_)));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let bomb: String = (0..9).fold("a0: &a0 [x, x]\n".to_string(), |text, i| {
            format!(
                "{text}a{}: &a{} [{}]\n",
                i + 1,
                i + 1,
                vec![format!("*a{i}"); 9].join(", ")
            )
        });
        for text in [
            "[".repeat(1000),
            bomb,
            "a: 1\na: 2\n".to_string(),
            "---\na: 1\n".repeat(MAX_DOCUMENTS + 1),
            "x".repeat(2 << 20),
        ] {
            assert!(Node::parse_all(&text).is_err(), "{}", &text[..text.len().min(40)]);
        }
    }
}
