//! The tokens of a `tokenizer.json` and their numbers.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use tributary_tensorfile::printable;

/// Every token and its number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tokens {
    numbers: BTreeMap<String, usize>,
}

impl Tokens {
    /// Reads a `tokenizer.json`; the error says why it has no tokens.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Tokens, String> {
        let file: File = serde_json::from_slice(bytes).map_err(printable)?;
        let Listed(mut numbers) = file.model.vocab;
        let added = file.added_tokens.into_iter().flatten();
        numbers.extend(added.map(|added| (added.content, added.id)));
        if let Some(number) = numbers.values().find(|number| **number >= MAX_TOKENS) {
            return Err(format!(
                "a token has the number {number}; at most {MAX_TOKENS} are read"
            ));
        }
        Ok(Tokens { numbers })
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

/// The most tokens that are looked at.
const MAX_TOKENS: usize = 1 << 21;

/// What is looked at of a `tokenizer.json`; the rest, most of it, is passed over as it is read.
#[derive(serde::Deserialize)]
struct File {
    model: Model,
    added_tokens: Option<Vec<Added>>,
}

#[derive(serde::Deserialize)]
struct Model {
    vocab: Listed,
}

#[derive(serde::Deserialize)]
struct Added {
    content: String,
    id: usize,
}

/// A mapping from tokens to numbers; or Unigram's list of tokens and scores, numbered by position.
struct Listed(BTreeMap<String, usize>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListedVisitor)
    }
}

struct ListedVisitor;

impl ListedVisitor {
    fn add<E: Error>(tokens: &mut BTreeMap<String, usize>, token: String, number: usize) -> Result<(), E> {
        if tokens.len() == MAX_TOKENS {
            return Err(E::custom(format!("more than {MAX_TOKENS} tokens")));
        }
        tokens.insert(token, number);
        Ok(())
    }
}

impl<'de> Visitor<'de> for ListedVisitor {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vocabulary: an object, or a list of tokens with their scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Listed, A::Error> {
        let mut tokens = BTreeMap::new();
        while let Some((token, number)) = entries.next_entry()? {
            Self::add(&mut tokens, token, number)?;
        }
        Ok(Listed(tokens))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Listed, A::Error> {
        let mut tokens = BTreeMap::new();
        for number in 0.. {
            let Some((token, _)) = entries.next_element::<(String, f64)>()? else {
                break;
            };
            Self::add(&mut tokens, token, number)?;
        }
        Ok(Listed(tokens))
    }
}
