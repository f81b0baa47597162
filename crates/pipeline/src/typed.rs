//! A [`Node`] to a typed value, with every error at its place.
//!
//! Stands between the document and the settings types of jobs. serde stops at the first error; [`from_node`] notes
//! it, takes the offending entry out and reads again, so that one reading reports every unknown key and every
//! wrong value, and a missing key only if it really was not written.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use crate::finding::{Finding, Rule, nearest, suggestion};
use crate::node::{Node, NodeValue};
use crate::node_reader::{Cause, NodeReader, ReadError};

/// Most errors collected from one mapping.
const MAX_ERRORS: usize = 20;

/// Reads a typed value.
///
/// # Errors
/// Everything found wrong, in the order of reading; never empty.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Vec<Finding>> {
    let mut errors: Vec<Finding> = Vec::new();
    let mut pruning = Pruning::default();
    let mut pruned = node.clone();
    loop {
        let mut error = match T::deserialize(NodeReader(&pruned)) {
            Ok(value) if errors.is_empty() => return Ok(value),
            Ok(_) => return Err(errors),
            Err(error) => error,
        };
        place_unknown_field(&pruned, &mut error);
        let path = std::mem::take(&mut error.path);
        error.path = pruning.original(&path);
        if pruning.explains(&error) {
            return Err(errors);
        }
        errors.push(describe(node, &error));
        if errors.len() >= MAX_ERRORS
            || matches!(error.cause, Cause::Missing { .. })
            || !remove(&mut pruned, &path)
        {
            return Err(errors);
        }
        pruning.note(node, error);
    }
}

/// What was taken out of a tree, in paths of the whole tree.
#[derive(Default)]
struct Pruning {
    /// Keys that were written, or meant by a key that was misspelt; their absence is not the writer's fault.
    written: BTreeSet<Vec<String>>,
    /// Items taken out of lists, by the list's path.
    items: BTreeMap<Vec<String>, BTreeSet<usize>>,
}

impl Pruning {
    /// The path in the whole tree of a path in the pruned one: items of lists have moved up.
    fn original(&self, path: &[String]) -> Vec<String> {
        let mut whole: Vec<String> = Vec::new();
        for part in path {
            let moved = match (self.items.get(&whole), part.parse::<usize>()) {
                (Some(taken), Ok(index)) => taken
                    .iter()
                    .fold(index, |index, taken| index + usize::from(*taken <= index))
                    .to_string(),
                _ => part.clone(),
            };
            whole.push(moved);
        }
        whole
    }

    /// Is the error nothing but the trace of what was taken out?
    fn explains(&self, error: &ReadError) -> bool {
        match &error.cause {
            Cause::Missing { field } => {
                let mut path = error.path.clone();
                path.push((*field).to_owned());
                self.written.contains(&path)
            }
            _ => self.items.contains_key(&error.path),
        }
    }

    fn note(&mut self, node: &Node, mut error: ReadError) {
        if let (Some(last), parents) = (
            error.path.last().cloned(),
            &error.path[..error.path.len().saturating_sub(1)],
        ) {
            if let (NodeValue::Sequence(_), Ok(index)) = (&node.at(parents).value, last.parse()) {
                self.items.entry(parents.to_vec()).or_default().insert(index);
            }
            if let Cause::UnknownField { field, known } = &error.cause
                && let Some(meant) = nearest(field, known.iter().copied())
            {
                let mut path = parents.to_vec();
                path.push(meant.to_owned());
                self.written.insert(path);
            }
        }
        self.written.insert(std::mem::take(&mut error.path));
    }
}

/// An unknown key that a buffered reading (tagged enums) could not place, placed.
fn place_unknown_field(root: &Node, error: &mut ReadError) {
    if let Cause::UnknownField { field, .. } = &error.cause
        && error.path.last() != Some(field)
        && root.at(&error.path).entry(field).is_some()
    {
        error.path.push(field.clone());
    }
}

/// Takes the entry or item at `path` out.
fn remove(root: &mut Node, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut node = root;
    for part in parents {
        let next = match &mut node.value {
            NodeValue::Mapping(entries) => {
                let entry = entries.iter_mut().find(|entry| entry.key == *part);
                entry.map(|entry| &mut entry.value)
            }
            NodeValue::Sequence(items) => part.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => return false,
        }
    }
    match &mut node.value {
        NodeValue::Mapping(entries) => {
            let before = entries.len();
            entries.retain(|entry| entry.key != *last);
            entries.len() < before
        }
        NodeValue::Sequence(items) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < items.len());
            index.map(|index| items.remove(index)).is_some()
        }
        _ => false,
    }
}

/// The error in words, at its place.
fn describe(root: &Node, error: &ReadError) -> Finding {
    let node = root.at(&error.path);
    let name = error
        .path
        .iter()
        .rev()
        .find(|part| part.parse::<usize>().is_err());
    match &error.cause {
        Cause::UnknownField { field, known } => {
            let parent = match error.path.last() {
                Some(last) if last == field => root.at(&error.path[..error.path.len() - 1]),
                _ => node,
            };
            let span = parent.entry(field).map_or(node.span, |entry| entry.key_span);
            Finding::new(Rule::UnknownKey, span, format!("unknown key `{field}`"))
                .label("nobody reads this")
                .maybe_help(suggestion(field, "known keys", known.iter().copied()))
        }
        Cause::UnknownVariant { variant, known } => {
            let span = node.entry(variant).map_or(node.span, |entry| entry.key_span);
            let mut finding = Finding::at(
                Rule::BadValue,
                node,
                format!("`{variant}` is not one of the choices"),
            )
            .maybe_help(suggestion(variant, "choices", known.iter().copied()));
            finding.span = span;
            finding
        }
        Cause::Missing { field } => Finding::new(
            Rule::MissingKey,
            node.span,
            format!("the key `{field}` is missing"),
        )
        .label("in this mapping")
        .help(format!("add `{field}:`")),
        Cause::Type { expected } => {
            let expected = in_words(expected, &node.value);
            let of = name.map_or(String::new(), |name| format!("`{name}` "));
            let finding = Finding::at(
                Rule::WrongType,
                node,
                format!("{of}expects {expected}, found {}", node.describe()),
            );
            finding.maybe_help(quote_help(&expected, node))
        }
        Cause::Other { message } => {
            let of = name.map_or(String::new(), |name| format!("`{name}`: "));
            Finding::at(Rule::BadValue, node, format!("{of}{message}"))
        }
    }
}

fn quote_help(expected: &str, node: &Node) -> Option<String> {
    let shown = match &node.value {
        NodeValue::Integer(value) => value.to_string(),
        NodeValue::Float(value) => value.to_string(),
        NodeValue::Bool(value) => value.to_string(),
        NodeValue::Text(text) if expected != "a text" && text.parse::<f64>().is_ok() => {
            return Some("write the number without quotes".into());
        }
        _ => return None,
    };
    expected
        .starts_with("a text")
        .then(|| format!("quote it: \"{shown}\""))
}

/// serde's words for what it expected, in a reader's words. Bounds are told to those who went beyond them.
fn in_words(expected: &str, found: &NodeValue) -> String {
    let whole = |bounds: &str| match found {
        NodeValue::Integer(_) => format!("a whole number {bounds}"),
        _ => "a whole number".into(),
    };
    match expected {
        "a string" | "string" | "str" | "a borrowed string" => "a text".into(),
        "a boolean" | "bool" => "`true` or `false`".into(),
        "f32" | "f64" => "a number".into(),
        "u8" => whole("from 0 to 255"),
        "u16" => whole("from 0 to 65535"),
        "u32" => whole("from 0 to 4294967295"),
        "u64" | "usize" => whole("that is not negative"),
        "i8" => whole("from -128 to 127"),
        "i16" => whole("from -32768 to 32767"),
        "i32" => whole("from -2147483648 to 2147483647"),
        "i64" | "isize" => whole("of 64 bits"),
        text if text.starts_with("a nonzero") => "a whole number, 1 or more".into(),
        text if text.starts_with("struct ") || text == "a map" => "a mapping".into(),
        text if text == "a sequence" || text.starts_with("tuple ") => "a list".into(),
        text if text.starts_with("an array of length ") || text.starts_with("a tuple of size ") => {
            format!("a list of {}", text.rsplit(' ').next().unwrap_or_default())
        }
        text if text.starts_with("enum ") || text.starts_with("string or map") => "one of the choices".into(),
        text => text.to_owned(),
    }
}
