//! A [`Node`] to a typed value, with every error at its place.
//!
//! Stands between the document and the settings types of jobs. serde stops at the first error; [`from_node`] notes
//! it, takes the offending entry out and reads again, so that one reading reports every unknown key and every
//! wrong value, and a missing key only if it really was not written.

use serde::de::DeserializeOwned;

use crate::finding::{Finding, Rule, suggestion};
use crate::node::{Node, NodeValue};
use crate::node_reader::{Cause, NodeReader, ReadError};

/// Most errors collected from one mapping.
const MAX_ERRORS: usize = 20;

/// Reads a typed value.
///
/// # Errors
/// Everything found wrong, in document order of discovery; never empty.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Vec<Finding>> {
    let mut errors: Vec<Finding> = Vec::new();
    let mut pruned = node.clone();
    // Mappings (by path) and keys that were taken out, whose absence is not the writer's fault.
    let mut taken: Vec<Vec<String>> = Vec::new();
    loop {
        let error = match T::deserialize(NodeReader(&pruned)) {
            Ok(value) if errors.is_empty() => return Ok(value),
            Ok(_) => return Err(errors),
            Err(error) => error,
        };
        if let Cause::Missing { field } = &error.cause {
            let mut path = error.path.clone();
            path.push((*field).to_owned());
            if taken.contains(&path) {
                return Err(errors);
            }
            errors.push(describe(&pruned, &error));
            return Err(errors);
        }
        let finding = describe(&pruned, &error);
        let path = blame(&pruned, error);
        errors.push(finding);
        if errors.len() >= MAX_ERRORS || path.is_empty() || !remove(&mut pruned, &path) {
            return Err(errors);
        }
        taken.push(path);
    }
}

/// The path to take out: where the error is, or the key a buffered reading (tagged enums) could not place.
fn blame(root: &Node, error: ReadError) -> Vec<String> {
    let mut path = error.path;
    if let Cause::UnknownField { field, .. } = &error.cause
        && path.last() != Some(field)
        && root.nearest(&path.join(".")).entry(field).is_some()
    {
        path.push(field.clone());
    }
    path
}

/// Takes the entry at `path` out of its mapping. Items of lists stay (the positions of the others would move), so
/// for them the whole entry that holds the list goes.
fn remove(root: &mut Node, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut node = &mut *root;
    for part in parents {
        let next = match &mut node.value {
            NodeValue::Mapping(entries) => entries
                .iter_mut()
                .find(|entry| entry.key == *part)
                .map(|entry| &mut entry.value),
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
        _ => remove(root, parents),
    }
}

/// The error in words, at its place.
fn describe(root: &Node, error: &ReadError) -> Finding {
    let node = root.nearest(&error.path.join("."));
    let name = error
        .path
        .iter()
        .rev()
        .find(|part| part.parse::<usize>().is_err());
    match &error.cause {
        Cause::UnknownField { field, known } => {
            let parent = match error.path.last() {
                Some(last) if last == field => root.nearest(&error.path[..error.path.len() - 1].join(".")),
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
            let expected = in_words(expected);
            let of = name.map_or(String::new(), |name| format!("`{name}` "));
            let finding = Finding::at(
                Rule::WrongType,
                node,
                format!("{of}expects {expected}, found {}", node.describe()),
            );
            finding
                .label(format!("expected {expected}"))
                .maybe_help(quote_help(&expected, node))
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

/// serde's words for what it expected, in a reader's words.
fn in_words(expected: &str) -> String {
    match expected {
        "a string" | "string" | "str" | "a borrowed string" => "a text".into(),
        "a boolean" | "bool" => "`true` or `false`".into(),
        "f32" | "f64" => "a number".into(),
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" => "a whole number from 0 to 4294967295".into(),
        "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
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
