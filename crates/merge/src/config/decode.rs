//! From a tree to a [`MergeSpec`], collecting every mistake on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::parameter::{Case, ParameterValue, Scalar, Setting};
use super::problem::Problem;
use super::spec::{FloatType, MergeSpec, ModelSpec};
use super::suggest::nearest;
use super::tree::{Key, Node, Place, Value};

const DOCUMENT_KEYS: &[&str] = &[
    "merge_method",
    "base_model",
    "models",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
];
/// What mergekit has in a document and this version has not.
const NOT_YET: &[&str] = &["slices", "modules", "tokenizer", "chat_template", "name"];
const MODEL_KEYS: &[&str] = &["model", "name", "parameters"];
const CASE_KEYS: &[&str] = &["filter", "value"];

/// What a tree says, as far as it could be understood.
pub(crate) struct Decoded {
    /// `None` if something necessary is missing.
    pub(crate) spec: Option<MergeSpec>,
    pub(crate) problems: Vec<Problem>,
    /// Places of keys and of values by path.
    pub(crate) places: BTreeMap<String, (Option<Place>, Option<Place>)>,
}

/// Reads the document; never stops at the first mistake.
pub(crate) fn decode(root: &Node) -> Decoded {
    let mut decoder = Decoder::default();
    let spec = decoder.document(root);
    Decoded {
        spec,
        problems: decoder.problems,
        places: decoder.places,
    }
}

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

#[derive(Default)]
struct Decoder {
    problems: Vec<Problem>,
    places: BTreeMap<String, (Option<Place>, Option<Place>)>,
    /// Paths that a misspelt key was probably meant for: not missing, then.
    meant: BTreeSet<String>,
}

impl Decoder {
    fn document(&mut self, root: &Node) -> Option<MergeSpec> {
        if matches!(root.value, Value::Null) {
            self.problems
                .push(Problem::value("", "the document is empty").at(root.place));
            return None;
        }
        let entries = self.map(root, "", DOCUMENT_KEYS, NOT_YET)?;
        let mut spec = MergeSpec {
            merge_method: String::new(),
            base_model: None,
            models: Vec::new(),
            parameters: BTreeMap::new(),
            dtype: None,
            out_dtype: None,
            tokenizer_source: None,
        };
        for (path, key, node) in entries {
            match key {
                "merge_method" => spec.merge_method = self.text(node, &path).unwrap_or_default(),
                "base_model" => spec.base_model = self.optional_text(node, &path),
                "models" => spec.models = self.models(node, &path),
                "parameters" => spec.parameters = self.parameters(node, &path),
                "dtype" => spec.dtype = self.float_type(node, &path),
                "out_dtype" => spec.out_dtype = self.float_type(node, &path),
                _ => spec.tokenizer_source = self.optional_text(node, &path),
            }
        }
        for required in ["merge_method", "models"] {
            let refused = required == "models"
                && ["slices", "modules"]
                    .iter()
                    .any(|key| self.places.contains_key(*key));
            if self.is_missing(required) && !refused {
                self.problems
                    .push(Problem::value("", format!("{required:?} is missing")).at(root.place));
            }
        }
        Some(spec)
    }

    fn models(&mut self, node: &Node, path: &str) -> Vec<ModelSpec> {
        let Some(items) = self.list(node, path, "models") else {
            return Vec::new();
        };
        let mut models = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.places.insert(path.clone(), (item.place, item.place));
            let Some(entries) = self.map(item, &path, MODEL_KEYS, &[]) else {
                continue;
            };
            let mut model = ModelSpec {
                model: String::new(),
                name: None,
                parameters: BTreeMap::new(),
            };
            for (path, key, node) in entries {
                match key {
                    "model" => model.model = self.text(node, &path).unwrap_or_default(),
                    "name" => model.name = self.optional_text(node, &path),
                    _ => model.parameters = self.parameters(node, &path),
                }
            }
            if self.is_missing(&format!("{path}.model")) {
                self.problems
                    .push(Problem::value(&path, "\"model\" is missing").at(item.place));
            }
            models.push(model);
        }
        models
    }

    fn parameters(&mut self, node: &Node, path: &str) -> BTreeMap<String, ParameterValue> {
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
        let entries = self.map(node, path, CASE_KEYS, &[])?;
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

    fn float_type(&mut self, node: &Node, path: &str) -> Option<FloatType> {
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

    fn text(&mut self, node: &Node, path: &str) -> Option<String> {
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

    fn optional_text(&mut self, node: &Node, path: &str) -> Option<String> {
        if matches!(node.value, Value::Null) {
            None
        } else {
            self.text(node, path)
        }
    }

    fn list<'a>(&mut self, node: &'a Node, path: &str, what: &str) -> Option<&'a [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                self.expected(&format!("a list of {what}"), node, path);
                None
            }
        }
    }

    /// The entries of a mapping with known keys, as (path, key, value); the others become problems.
    fn map<'a>(
        &mut self,
        node: &'a Node,
        path: &str,
        known: &[&str],
        not_yet: &[&str],
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
            } else if not_yet.contains(&text) {
                let message = format!("{text:?} is part of mergekit's format, but not of this version yet");
                let problem = Problem::key(path, message).at(key.place);
                self.problems.push(match text {
                    "slices" | "modules" => problem.help("list whole models under \"models\""),
                    "tokenizer" => problem.help("\"tokenizer_source: base\" is there"),
                    _ => problem,
                });
            } else {
                let problem = Problem::key(path, format!("unknown key {text:?}")).at(key.place);
                let near = nearest(text, known.iter().copied());
                self.meant.extend(near.map(|word| join(parent, word)));
                self.problems.push(problem.suggest(near, known));
            }
        }
        Some(found)
    }

    /// Notes where a key and its value stand; returns the path.
    fn place(&mut self, path: &str, key: &Key, node: &Node) -> String {
        let path = join(path, &key.text);
        self.places.insert(path.clone(), (key.place, node.place));
        path
    }

    fn is_missing(&self, path: &str) -> bool {
        !self.places.contains_key(path) && !self.meant.contains(path)
    }

    fn expected(&mut self, what: &str, node: &Node, path: &str) {
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

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_string()
    } else {
        format!("{path}.{key}")
    }
}
