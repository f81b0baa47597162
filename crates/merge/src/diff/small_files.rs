//! What differs outside the tensors: configuration and tokenizer.

use serde_json::{Map, Value};

use super::report::{FieldDiff, FileDiff, FileState, TokenizerDiff};
use crate::error::Result;
use crate::source::Source;
use crate::vocabulary::TOKENIZER_FILES;
use crate::vocabulary::Tokens;

const VOCABULARY: &str = "tokenizer.json";

/// Fields that differ, objects field by field.
pub(super) fn configurations(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<FieldDiff> {
    let mut found = Vec::new();
    compare("", a, b, &mut found);
    found.sort_by(|a, b| a.field.cmp(&b.field));
    found
}

fn compare(path: &str, a: &Map<String, Value>, b: &Map<String, Value>, found: &mut Vec<FieldDiff>) {
    let only_in_b = b.keys().filter(|key| !a.contains_key(*key));
    for key in a.keys().chain(only_in_b) {
        let field = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (a.get(key), b.get(key)) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => compare(&field, a, b, found),
            (a, b) if a != b => found.push(FieldDiff {
                field,
                a: a.cloned(),
                b: b.cloned(),
            }),
            _ => {}
        }
    }
}

/// Files of the tokenizer that differ, and tokens if both have a vocabulary.
pub(super) fn tokenizers(a: &Source, b: &Source) -> Result<TokenizerDiff> {
    let mut diff = TokenizerDiff::default();
    for name in TOKENIZER_FILES {
        let (in_a, in_b) = (a.small_file(name)?, b.small_file(name)?);
        let state = match (&in_a, &in_b) {
            (Some(_), None) => FileState::OnlyInA,
            (None, Some(_)) => FileState::OnlyInB,
            (Some(a), Some(b)) if a != b => FileState::Differs,
            _ => continue,
        };
        diff.files.push(FileDiff {
            name: (*name).to_string(),
            state,
        });
        if *name == VOCABULARY
            && let (Some(a), Some(b)) = (in_a, in_b)
        {
            vocabularies(&a, &b, &mut diff);
        }
    }
    Ok(diff)
}

fn vocabularies(a: &[u8], b: &[u8], diff: &mut TokenizerDiff) {
    let (Ok(a), Ok(b)) = (Tokens::parse(a), Tokens::parse(b)) else {
        return;
    };
    for (token, number) in a.iter() {
        match b.number(token) {
            None => diff.only_in_a.push(token.to_string()),
            Some(other) if other != number => diff.renumbered.push((token.to_string(), number, other)),
            Some(_) => {}
        }
    }
    let only_in_b = b.iter().filter(|(token, _)| a.number(token).is_none());
    diff.only_in_b = only_in_b.map(|(token, _)| token.to_string()).collect();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_compared_to_the_last_one() {
        let a = json!({"x": 1, "rope": {"type": "yarn", "factor": 2.0}, "gone": null});
        let b = json!({"rope": {"type": "yarn", "factor": 4.0}, "x": 1, "new": [1]});
        let (Value::Object(a), Value::Object(b)) = (a, b) else {
            unreachable!()
        };
        let said: Vec<String> = configurations(&a, &b)
            .iter()
            .map(|field| format!("{}: {:?} {:?}", field.field, field.a, field.b))
            .collect();
        assert_eq!(
            said,
            [
                "gone: Some(Null) None",
                "new: None Some(Array [Number(1)])",
                "rope.factor: Some(Number(2.0)) Some(Number(4.0))"
            ]
        );
    }

    #[test]
    fn tokens_are_added_removed_and_renumbered() {
        let file = |vocab: &str| format!(r#"{{"model": {{"vocab": {vocab}}}}}"#);
        let mut diff = TokenizerDiff::default();
        let (a, b) = (
            file(r#"{"x": 0, "y": 1, "z": 2}"#),
            file(r#"{"x": 0, "z": 1, "w": 2}"#),
        );
        vocabularies(a.as_bytes(), b.as_bytes(), &mut diff);
        assert_eq!(
            (diff.only_in_a, diff.only_in_b),
            (vec!["y".to_string()], vec!["w".to_string()])
        );
        assert_eq!(diff.renumbered, [("z".to_string(), 2, 1)]);
    }
}
