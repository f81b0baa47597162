//! The tokenizer of the result as files: a model's own, or the base's with the other models' tokens.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::tokens::Tokens;
use crate::config::Compat;
use crate::error::{MergeError, Result};
use crate::source::Source;

/// Files that make up a tokenizer in Hugging Face's layout.
pub(crate) const TOKENIZER_FILES: &[&str] = &[
    TOKENIZER,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Is it a file that says in another form what `tokenizer.json` says?
pub(crate) fn is_another_form(file: &str) -> bool {
    matches!(
        file,
        "tokenizer.model" | "vocab.json" | "vocab.txt" | "merges.txt" | "added_tokens.json"
    )
}

/// A tokenizer that can be given more tokens.
pub(super) struct Tokenizer {
    file: Value,
    tokens: Tokens,
    config: Option<Map<String, Value>>,
    /// One more than the highest number.
    next: usize,
    is_changed: bool,
}

impl Tokenizer {
    /// The tokenizer of a model.
    pub(super) fn of(name: &str, source: &Source) -> Result<Tokenizer> {
        let refuse = |reason: String| MergeError::Model {
            model: name.to_string(),
            reason,
        };
        let bytes = source.small_file(TOKENIZER)?;
        let bytes = bytes.ok_or_else(|| {
            refuse(format!(
                "it has no {TOKENIZER}, which matching rows by token needs"
            ))
        })?;
        let tokens = Tokens::parse(&bytes).map_err(|error| refuse(format!("{TOKENIZER}: {error}")))?;
        let file: Value = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(format!("{TOKENIZER}: {}", tributary_tensorfile::printable(error))))?;
        if !file.is_object() {
            return Err(refuse(format!("{TOKENIZER} is not an object")));
        }
        let config = source.small_file(TOKENIZER_CONFIG)?;
        let config = config.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        let config = config.map_err(|error| {
            refuse(format!(
                "{TOKENIZER_CONFIG}: {}",
                tributary_tensorfile::printable(error)
            ))
        })?;
        Ok(Tokenizer {
            next: tokens.rows(),
            file,
            tokens,
            config,
            is_changed: false,
        })
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Gives it every token of `others` that it has not. Tokens that text is split into are added to the vocabulary with
    /// the merges that make them, after its own; as mergekit does it they become tokens that are looked for literally.
    pub(super) fn unite(&mut self, others: &[Tokenizer], compat: Option<Compat>) {
        for other in others {
            let special: BTreeMap<&str, &Value> = other.added().collect();
            for (_, token) in other.tokens.by_number() {
                if !special.contains_key(token) && self.tokens.number(token).is_none() {
                    self.add_plain(token, compat);
                }
            }
            if compat.is_none() {
                self.add_merges(other);
            }
        }
        for other in others {
            let mut special: Vec<(&str, &Value)> = other.added().collect();
            special.sort_by_key(|(_, entry)| entry.get("id").and_then(Value::as_u64));
            for (token, entry) in special {
                if self.tokens.number(token).is_none() {
                    self.add_entry(token, entry.clone());
                }
            }
        }
    }

    /// Gives it a token that is looked for literally, if it has it not.
    pub(super) fn add(&mut self, token: &str) {
        if self.tokens.number(token).is_none() {
            let entry = json!({"single_word": false, "lstrip": false, "rstrip": false, "normalized": true,
                "special": false});
            self.add_entry(token, entry);
        }
    }

    /// The tokens that are looked for literally.
    fn added(&self) -> impl Iterator<Item = (&str, &Value)> {
        let entries = self.file.get("added_tokens").and_then(Value::as_array);
        let named = entries.into_iter().flatten();
        named.filter_map(|entry| Some((entry.get("content")?.as_str()?, entry)))
    }

    fn add_plain(&mut self, token: &str, compat: Option<Compat>) {
        let vocabulary = self
            .file
            .pointer_mut("/model/vocab")
            .and_then(Value::as_object_mut);
        match vocabulary.filter(|_| compat.is_none()) {
            Some(vocabulary) => {
                vocabulary.insert(token.to_string(), json!(self.next));
                self.take_number(token);
            }
            // A list is numbered by position, and the next number may be taken by a token that is not in it.
            None => self.add(token),
        }
    }

    fn add_merges(&mut self, other: &Tokenizer) {
        let theirs = other.file.pointer("/model/merges").and_then(Value::as_array);
        let vocabulary = self
            .file
            .pointer("/model/vocab")
            .and_then(Value::as_object)
            .cloned();
        let has = |token: &str| {
            vocabulary
                .as_ref()
                .is_some_and(|vocabulary| vocabulary.contains_key(token))
        };
        let can_be_made =
            |(left, right): &(String, String)| has(left) && has(right) && has(&format!("{left}{right}"));
        let ours = self
            .file
            .pointer_mut("/model/merges")
            .and_then(Value::as_array_mut);
        let (Some(theirs), Some(ours)) = (theirs, ours) else {
            return;
        };
        let known: std::collections::BTreeSet<(String, String)> = ours.iter().filter_map(pair).collect();
        let as_list = ours.first().is_none_or(Value::is_array);
        let missing = theirs
            .iter()
            .filter_map(pair)
            .filter(|pair| !known.contains(pair) && can_be_made(pair));
        let missing: Vec<Value> = missing
            .map(|(left, right)| {
                if as_list {
                    json!([left, right])
                } else {
                    json!(format!("{left} {right}"))
                }
            })
            .collect();
        self.is_changed |= !missing.is_empty();
        ours.extend(missing);
    }

    fn add_entry(&mut self, token: &str, mut entry: Value) {
        if let Some(fields) = entry.as_object_mut() {
            fields.insert("id".to_string(), json!(self.next));
            fields.insert("content".to_string(), json!(token));
        }
        let decoder = self
            .config
            .as_mut()
            .and_then(|config| config.get_mut("added_tokens_decoder"));
        if let (Some(decoder), Some(mut fields)) =
            (decoder.and_then(Value::as_object_mut), entry.as_object().cloned())
        {
            fields.remove("id");
            decoder.insert(self.next.to_string(), Value::Object(fields));
        }
        match self.file.get_mut("added_tokens").and_then(Value::as_array_mut) {
            Some(entries) => entries.push(entry),
            None => self.file["added_tokens"] = json!([entry]),
        }
        self.take_number(token);
    }

    fn take_number(&mut self, token: &str) {
        self.tokens.insert(token, self.next);
        self.next += 1;
        self.is_changed = true;
    }

    /// The files that differ from the model's own.
    pub(super) fn changed_files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        if self.is_changed {
            let config = self
                .config
                .clone()
                .map(|config| (TOKENIZER_CONFIG, Value::Object(config)));
            for (name, value) in std::iter::once((TOKENIZER, self.file.clone())).chain(config) {
                let mut bytes = serde_json::to_vec_pretty(&value).unwrap_or_default();
                bytes.push(b'\n');
                files.insert(name.to_string(), bytes);
            }
        }
        files
    }
}

/// The two sides of a merge, in either way of writing one.
fn pair(merge: &Value) -> Option<(String, String)> {
    match merge {
        Value::String(text) => text
            .split_once(' ')
            .map(|(left, right)| (left.to_string(), right.to_string())),
        Value::Array(sides) => match sides.as_slice() {
            [Value::String(left), Value::String(right)] => Some((left.clone(), right.clone())),
            _ => None,
        },
        _ => None,
    }
}
