//! Reading the parts of a tree, noting where each stands and collecting every mistake on the way.
//!
//! [`super::decode_document`] reads the whole with these; parameters are read here.

use std::collections::{BTreeMap, BTreeSet};

use super::parameter::{Case, ParameterValue, Scalar, Setting};
use super::problem::Problem;
use super::spec::{FloatType, Parameters};
use super::suggest::nearest;
use super::tree::{Key, Node, Place, Value};

const CASE_KEYS: &[&str] = &["filter", "value"];

/// Reads what is written for one parameter.
///
/// # Errors
/// Every mistake in it; paths start at the parameter.
pub(crate) fn decode_parameter(node: &Node) -> Result<ParameterValue, Vec<Problem>> {
    let mut decoder = Decoder::default();
    match decoder.parameter(node, "") {
        Some(value) if decoder.problems.is_empty() => Ok(value),
        _ => Err(decoder.problems),
    }
}

/// Reads trees and remembers what was wrong, and where everything stands.
#[derive(Default)]
pub(super) struct Decoder {
    pub(super) problems: Vec<Problem>,
    /// Places of keys and of values by path.
    pub(super) places: BTreeMap<String, (Option<Place>, Option<Place>)>,
    /// Paths that a misspelt key was probably meant for: not missing, then.
    meant: BTreeSet<String>,
}

impl Decoder {
    pub(super) fn parameters(&mut self, node: &Node, path: &str) -> Parameters {
        if matches!(node.value, Value::Null) {
            return BTreeMap::new();
        }
        let Value::Map(entries) = &node.value else {
            self.expected("a mapping", node, path);
            return BTreeMap::new();
        };
        let mut parameters = BTreeMap::new();
        for (key, node) in entries {
            let path = self.place(path, key, node);
            if let Some(value) = self.parameter(node, &path) {
                parameters.insert(key.text.clone(), value);
            }
        }
        parameters
    }

    fn parameter(&mut self, node: &Node, path: &str) -> Option<ParameterValue> {
        let is_case = |node: &Node| matches!(node.value, Value::Map(_));
        match &node.value {
            Value::Map(_) => Some(ParameterValue {
                cases: vec![self.case(node, path)?],
            }),
            Value::List(items) if items.iter().any(is_case) => {
                let cases = items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| self.case(item, &format!("{path}[{index}]")));
                Some(ParameterValue {
                    cases: cases.collect(),
                })
            }
            _ => Some(ParameterValue {
                cases: vec![Case {
                    filter: None,
                    setting: self.setting(node, path)?,
                }],
            }),
        }
    }

    fn case(&mut self, node: &Node, path: &str) -> Option<Case> {
        let entries = self.map(node, path, CASE_KEYS)?;
        let (mut filter, mut setting, mut has_value) = (None, None, false);
        for (path, key, node) in entries {
            if key == "filter" {
                filter = self.optional_text(node, &path);
            } else {
                has_value = true;
                setting = self.setting(node, &path);
            }
        }
        if !has_value {
            self.problems
                .push(Problem::value(path, "\"value\" is missing").at(node.place));
        }
        Some(Case {
            filter,
            setting: setting?,
        })
    }

    fn setting(&mut self, node: &Node, path: &str) -> Option<Setting> {
        match &node.value {
            Value::Flag(flag) => Some(Setting::Scalar(Scalar::Flag(*flag))),
            Value::Number(number) => Some(Setting::Scalar(Scalar::Number(*number))),
            Value::Text(text) => Some(Setting::Scalar(Scalar::Word(text.clone()))),
            Value::List(items) if !items.is_empty() => {
                let mut points = Vec::with_capacity(items.len());
                for item in items {
                    match item.value {
                        Value::Number(number) => points.push(number),
                        _ => {
                            self.expected("a number in a gradient", item, path);
                            return None;
                        }
                    }
                }
                Some(Setting::Gradient(points))
            }
            _ => {
                self.expected("a value", node, path);
                None
            }
        }
    }

    pub(super) fn float_type(&mut self, node: &Node, path: &str) -> Option<FloatType> {
        let text = self.optional_text(node, path)?;
        match float_type(&text) {
            Ok(found) => Some(found),
            Err(problem) => {
                let problem = Problem {
                    path: path.to_string(),
                    ..problem
                };
                self.problems.push(problem.at(node.place));
                None
            }
        }
    }

    pub(super) fn text(&mut self, node: &Node, path: &str) -> Option<String> {
        match &node.value {
            // What a text names is said again in messages and reports.
            Value::Text(text) if text.contains(char::is_control) => {
                self.problems
                    .push(Problem::value(path, "must not hold control characters").at(node.place));
                None
            }
            Value::Text(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::Text(_) => {
                self.problems
                    .push(Problem::value(path, "must not be empty").at(node.place));
                None
            }
            _ => {
                self.expected("text", node, path);
                None
            }
        }
    }

    pub(super) fn optional_text(&mut self, node: &Node, path: &str) -> Option<String> {
        if matches!(node.value, Value::Null) {
            None
        } else {
            self.text(node, path)
        }
    }

    pub(super) fn list<'a>(&mut self, node: &'a Node, path: &str, what: &str) -> Option<&'a [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.expected(&format!("a list of {what}"), node, path);
                None
            }
        }
    }

    /// The entries of a mapping with known keys, as (path, key, value); the others become problems.
    pub(super) fn map<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        known: &[&str],
    ) -> Option<Vec<(String, &'a str, &'a Node)>> {
        let Value::Map(entries) = &node.value else {
            self.expected("a mapping", node, path);
            return None;
        };
        let mut found = Vec::with_capacity(entries.len());
        for (key, node) in entries {
            let parent = path;
            let path = self.place(path, key, node);
            let text = key.text.as_str();
            if known.contains(&text) {
                found.push((path, text, node));
            } else {
                let problem = Problem::key(path, format!("unknown key {text:?}")).at(key.place);
                let near = nearest(text, known.iter().copied());
                self.meant.extend(near.map(|word| join(parent, word)));
                self.problems.push(problem.suggest(near, known));
            }
        }
        Some(found)
    }

    /// The entries of a mapping with keys of the writer's choice, as (path, key, value).
    pub(super) fn named<'a>(&mut self, node: &'a Node, path: &str) -> Vec<(String, &'a str, &'a Node)> {
        match &node.value {
            Value::Null => Vec::new(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, node)| (self.place(path, key, node), key.text.as_str(), node))
                .collect(),
            _ => {
                self.expected("a mapping", node, path);
                Vec::new()
            }
        }
    }

    /// Says that a key is missing, unless it was misspelt.
    pub(super) fn require(&mut self, node: &Node, path: &str, key: &str) {
        if self.is_missing(&join(path, key)) {
            self.problems
                .push(Problem::value(path, format!("{key:?} is missing")).at(node.place));
        }
    }

    /// A whole number that is not negative.
    pub(super) fn count(&mut self, node: &Node, path: &str) -> Option<usize> {
        match node.value {
            Value::Number(number) if number.fract() == 0.0 && (0.0..1e15).contains(&number) => {
                Some(number as usize)
            }
            _ => {
                self.expected("a whole number from 0", node, path);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, node: &Node, path: &str) -> bool {
        let Value::Flag(flag) = node.value else {
            self.expected("true or false", node, path);
            return false;
        };
        flag
    }

    /// Notes where a key and its value stand; returns the path.
    pub(super) fn place(&mut self, path: &str, key: &Key, node: &Node) -> String {
        let path = join(path, &key.text);
        self.places.insert(path.clone(), (key.place, node.place));
        path
    }

    pub(super) fn is_missing(&self, path: &str) -> bool {
        !self.places.contains_key(path) && !self.meant.contains(path)
    }

    pub(super) fn expected(&mut self, what: &str, node: &Node, path: &str) {
        let problem =
            Problem::value(path, format!("{what} expected, found {}", node.value.kind())).at(node.place);
        self.problems.push(match (what, &node.value) {
            ("text", Value::Number(_) | Value::Flag(_)) => problem.help("put it in quotes"),
            _ => problem,
        });
    }
}

/// The type of that name, or what to say of a name that is none.
pub(crate) fn float_type(name: &str) -> Result<FloatType, Problem> {
    let known = FloatType::ALL.map(FloatType::name);
    let wrong = || Problem::value("", format!("unknown type {name:?}")).suggest(nearest(name, known), &known);
    FloatType::from_name(name).ok_or_else(wrong)
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_string()
    } else {
        format!("{path}.{key}")
    }
}
