//! The document as a tree whose every part knows where it was written.
//!
//! Stands between the YAML parser ([`crate::yaml`]) and everything that reads settings ([`crate::typed`]).
//! Invariants: keys of a mapping are unique and in document order; a span lies inside the text of its origin.

use serde_json::Value;

/// Which text a span points into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The YAML document.
    Document,
    /// The profile with this number.
    Profile(usize),
    /// The `--set` override with this number.
    Override(usize),
}

/// A stretch of bytes in one of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Which text.
    pub origin: Origin,
    /// First byte.
    pub start: usize,
    /// Number of bytes.
    pub len: usize,
}

impl Span {
    /// The very beginning of the document.
    pub const START: Span = Span {
        origin: Origin::Document,
        start: 0,
        len: 0,
    };
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: NodeValue,
    /// Where it was written. Of a block collection: its first line's first key or dash.
    pub span: Span,
    /// The variable this value came through, if any: `var.steps` or `env:HOME`.
    pub via: Option<String>,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeValue {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false` (no other spelling).
    Bool(bool),
    /// An integer, decimal, `0x…` or `0o…`.
    Integer(i128),
    /// A number with a point or an exponent; finite.
    Float(f64),
    /// Any other scalar, and every quoted one.
    Text(String),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in document order.
    Mapping(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A node made from nothing written: an empty mapping at `span`.
    pub fn empty_mapping(span: Span) -> Self {
        Node {
            value: NodeValue::Mapping(Vec::new()),
            span,
            via: None,
        }
    }

    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// As [`Node::get`], to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            NodeValue::Mapping(entries) => entries
                .iter_mut()
                .find(|entry| entry.key == key)
                .map(|entry| &mut entry.value),
            _ => None,
        }
    }

    /// The entry under `key`, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            NodeValue::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The node at a dotted path (`models.0.model`; empty for this node), or the deepest one on the way there:
    /// a setting that was left out is reported at the mapping that misses it. Keys may hold dots themselves.
    pub fn nearest(&self, path: &str) -> &Node {
        let (mut node, mut rest) = (self, path);
        while !rest.is_empty() {
            let next = match &node.value {
                NodeValue::Mapping(entries) => {
                    let fitting = entries
                        .iter()
                        .filter_map(|entry| Some((&entry.value, below(rest, &entry.key)?)));
                    fitting.min_by_key(|(_, rest)| rest.len())
                }
                NodeValue::Sequence(items) => {
                    let (part, rest) = rest.split_once('.').unwrap_or((rest, ""));
                    part.parse::<usize>()
                        .ok()
                        .and_then(|index| items.get(index))
                        .map(|item| (item, rest))
                }
                _ => None,
            };
            match next {
                Some(next) => (node, rest) = next,
                None => break,
            }
        }
        node
    }

    /// As [`Self::nearest`], with the keys and positions one by one.
    pub(crate) fn at(&self, path: &[String]) -> &Node {
        let mut node = self;
        for part in path {
            let next = match &node.value {
                NodeValue::Mapping(_) => node.get(part),
                NodeValue::Sequence(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// What it is, for `expected …, found …`.
    pub fn describe(&self) -> String {
        match &self.value {
            NodeValue::Null => "nothing".into(),
            NodeValue::Bool(value) => format!("the boolean {value}"),
            NodeValue::Integer(value) => format!("the integer {value}"),
            NodeValue::Float(value) => format!("the number {value}"),
            NodeValue::Text(text) => {
                let shown: String = text.chars().take(40).collect();
                let more = if shown.len() < text.len() { "…" } else { "" };
                format!("the text `{shown}{more}`")
            }
            NodeValue::Sequence(_) => "a list".into(),
            NodeValue::Mapping(_) => "a mapping".into(),
        }
    }

    /// The tree without places, for records.
    pub fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(value) => Value::Bool(*value),
            NodeValue::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => (*value as f64).into(),
            },
            NodeValue::Float(value) => (*value).into(),
            NodeValue::Text(text) => text.as_str().into(),
            NodeValue::Sequence(items) => items.iter().map(Node::to_json).collect(),
            NodeValue::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
        }
    }

    /// Calls `visit` with the dotted path of every scalar text below this node.
    pub fn visit_texts<'a>(&'a self, path: &str, visit: &mut dyn FnMut(&str, &'a Node, &'a str)) {
        let below = |part: &str| {
            if path.is_empty() {
                part.to_owned()
            } else {
                format!("{path}.{part}")
            }
        };
        match &self.value {
            NodeValue::Text(text) => visit(path, self, text),
            NodeValue::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.visit_texts(&below(&index.to_string()), visit);
                }
            }
            NodeValue::Mapping(entries) => {
                for entry in entries {
                    entry.value.visit_texts(&below(&entry.key), visit);
                }
            }
            _ => {}
        }
    }
}

/// What is left of a dotted path behind its first key, if that is `key`.
pub(crate) fn below<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    match path.strip_prefix(key)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}
