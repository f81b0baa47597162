//! Tokenizers: rows of embeddings are merged by number, so a number must mean the same token in every model.

use super::tokens::Tokens;

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
        let expected = first_tokens.get_or_insert_with(|| Tokens::parse(first));
        let (expected, found) = match (expected.as_ref(), Tokens::parse(bytes)) {
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
            .filter(|(token, number)| found.number(token) != Some(*number))
            .count();
        let added = found
            .iter()
            .filter(|(token, _)| expected.number(token).is_none())
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
