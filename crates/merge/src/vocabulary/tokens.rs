//! The tokens of a `tokenizer.json` and their numbers.

use std::collections::BTreeMap;

use serde_json::Value;

/// Every token and its number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tokens {
    numbers: BTreeMap<String, usize>,
}

impl Tokens {
    /// Reads a `tokenizer.json`; `None` if it is none that is known here.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Tokens> {
        Tokens::of(&serde_json::from_slice(bytes).ok()?)
    }

    /// Of a `tokenizer.json` as a value.
    pub(crate) fn of(file: &Value) -> Option<Tokens> {
        let number = |value: &Value| usize::try_from(value.as_u64()?).ok();
        let mut numbers = BTreeMap::new();
        match file.get("model")?.get("vocab")? {
            Value::Object(entries) => {
                let named = entries.iter();
                numbers.extend(named.filter_map(|(token, value)| Some((token.clone(), number(value)?))));
            }
            // Unigram: a list of (token, score), numbered by position.
            Value::Array(entries) => {
                let named = entries.iter().enumerate();
                numbers.extend(
                    named.filter_map(|(place, entry)| Some((entry.get(0)?.as_str()?.to_string(), place))),
                );
            }
            _ => return None,
        }
        let added = file.get("added_tokens").and_then(Value::as_array);
        for token in added.into_iter().flatten() {
            if let (Some(text), Some(number)) = (
                token.get("content").and_then(Value::as_str),
                token.get("id").and_then(number),
            ) {
                numbers.insert(text.to_string(), number);
            }
        }
        Some(Tokens { numbers })
    }

    /// Adds a token.
    pub(super) fn insert(&mut self, token: &str, number: usize) {
        self.numbers.insert(token.to_string(), number);
    }

    /// The number of a token.
    pub(crate) fn number(&self, token: &str) -> Option<usize> {
        self.numbers.get(token).copied()
    }

    /// Every token and its number, by text.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.numbers
            .iter()
            .map(|(token, number)| (token.as_str(), *number))
    }

    /// Every token and its number, by number.
    pub(crate) fn by_number(&self) -> Vec<(usize, &str)> {
        let mut tokens: Vec<(usize, &str)> = self.iter().map(|(token, number)| (number, token)).collect();
        tokens.sort_unstable();
        tokens
    }

    /// One more than the highest number.
    pub(crate) fn rows(&self) -> usize {
        self.numbers
            .values()
            .max()
            .map_or(0, |last| last.saturating_add(1))
    }
}
