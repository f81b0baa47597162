//! Tokenizers: rows of embeddings are merged by number, so a number must mean the same token in every model.

use std::collections::BTreeMap;

use serde_json::Value;

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
        let (Some(expected), Some(found)) = (expected.as_ref(), tokens(bytes)) else {
            warnings.push(format!(
                "the tokenizers of {first_name} and {name} could not be compared"
            ));
            continue;
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

/// Every token and its number.
pub(crate) fn tokens(bytes: &[u8]) -> Option<BTreeMap<String, u64>> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    let mut tokens = BTreeMap::new();
    match file.get("model")?.get("vocab")? {
        Value::Object(entries) => {
            tokens.extend(
                entries
                    .iter()
                    .filter_map(|(token, number)| Some((token.clone(), number.as_u64()?))),
            );
        }
        // Unigram: a list of (token, score), numbered by position.
        Value::Array(entries) => {
            let named = entries
                .iter()
                .zip(0..)
                .filter_map(|(entry, number)| Some((entry.get(0)?.as_str()?.to_string(), number)));
            tokens.extend(named);
        }
        _ => return None,
    }
    for added in file
        .get("added_tokens")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let (Some(token), Some(number)) = (
            added.get("content").and_then(Value::as_str),
            added.get("id").and_then(Value::as_u64),
        ) {
            tokens.insert(token.to_string(), number);
        }
    }
    Some(tokens)
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
