//! Tokenizers: rows of embeddings are merged by number, so a number must mean the same token in every model.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use tributary_tensorfile::printable;

/// Compares each `tokenizer.json` (name, content) with the first one there is; a model without the file is passed over.
pub(crate) fn compare_tokenizers(models: &[(&str, Option<Vec<u8>>)]) -> Vec<String> {
    let mut there = models
        .iter()
        .filter_map(|(name, bytes)| Some((name, bytes.as_deref()?)));
    let Some((first_name, first)) = there.next() else {
        return Vec::new();
    };
    let mut first_tokens = None;
    let mut warnings = Vec::new();
    for (name, bytes) in there.filter(|(_, bytes)| *bytes != first) {
        let expected = first_tokens.get_or_insert_with(|| tokens(first));
        let (expected, found) = match (expected.as_ref(), tokens(bytes)) {
            (Ok(expected), Ok(found)) => (expected, found),
            (expected, found) => {
                let (of, reason) = match expected {
                    Err(reason) => (first_name, reason.clone()),
                    Ok(_) => (name, found.err().unwrap_or_default()),
                };
                warnings.push(format!(
                    "the tokenizers of {first_name} and {name} could not be compared: tokenizer.json of {of}: {reason}"
                ));
                continue;
            }
        };
        let changed = expected
            .iter()
            .filter(|(token, number)| found.get(*token) != Some(number))
            .count();
        let added = found
            .keys()
            .filter(|token| !expected.contains_key(*token))
            .count();
        if changed + added > 0 {
            warnings.push(format!(
                "the tokenizer of {name} differs from that of {first_name} in {} tokens; rows of the embedding are merged by number",
                changed + added
            ));
        }
    }
    warnings
}

/// The most tokens that are looked at.
const MAX_TOKENS: usize = 1 << 21;

/// Every token and its number, or why there are none.
fn tokens(bytes: &[u8]) -> Result<BTreeMap<String, u64>, String> {
    let file: File = serde_json::from_slice(bytes).map_err(printable)?;
    let Tokens(mut tokens) = file.model.vocab;
    let added = file.added_tokens.into_iter().flatten();
    tokens.extend(added.map(|added| (added.content, added.id)));
    Ok(tokens)
}

/// What is looked at of a `tokenizer.json`; the rest, most of it, is passed over as it is read.
#[derive(serde::Deserialize)]
struct File {
    model: Model,
    added_tokens: Option<Vec<Added>>,
}

#[derive(serde::Deserialize)]
struct Model {
    vocab: Tokens,
}

#[derive(serde::Deserialize)]
struct Added {
    content: String,
    id: u64,
}

/// A mapping from tokens to numbers; or Unigram's list of tokens and scores, numbered by position.
struct Tokens(BTreeMap<String, u64>);

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TokensVisitor)
    }
}

struct TokensVisitor;

impl TokensVisitor {
    fn add<E: Error>(tokens: &mut BTreeMap<String, u64>, token: String, number: u64) -> Result<(), E> {
        if tokens.len() == MAX_TOKENS {
            return Err(E::custom(format!("more than {MAX_TOKENS} tokens")));
        }
        tokens.insert(token, number);
        Ok(())
    }
}

impl<'de> Visitor<'de> for TokensVisitor {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vocabulary: an object, or a list of tokens with their scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tokens, A::Error> {
        let mut tokens = BTreeMap::new();
        while let Some((token, number)) = entries.next_entry()? {
            Self::add(&mut tokens, token, number)?;
        }
        Ok(Tokens(tokens))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Tokens, A::Error> {
        let mut tokens = BTreeMap::new();
        for number in 0.. {
            let Some((token, _)) = entries.next_element::<(String, f64)>()? else {
                break;
            };
            Self::add(&mut tokens, token, number)?;
        }
        Ok(Tokens(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_count() {
        let file = |space: &str, vocab: &str| {
            Some(format!("{{{space}\"model\": {{\"vocab\": {vocab}}}}}").into_bytes())
        };
        let same = [
            ("a", file("", r#"{"x": 0, "y": 1}"#)),
            ("b", file(" ", r#"{"y": 1, "x": 0}"#)),
            ("c", None),
        ];
        assert!(compare_tokenizers(&same).is_empty());
        let other = [
            ("a", file("", r#"{"x": 0, "y": 1}"#)),
            ("b", file("", r#"{"x": 1, "z": 0}"#)),
        ];
        let warnings = compare_tokenizers(&other);
        assert!(warnings[0].contains("in 3 tokens"), "{warnings:?}");
    }
}
