//! JSON as Python reads it.

use serde::de::IgnoredAny;

use super::text::trim;

/// JSON, perhaps in a block of code?
pub(super) fn is_json(response: &str) -> bool {
    let mut text = trim(response);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    let text = trim(text.strip_suffix("```").unwrap_or(text));
    serde_json::from_str::<IgnoredAny>(text).is_ok()
        || serde_json::from_str::<IgnoredAny>(&without_constants(text)).is_ok()
}

/// The text with 0 for each NaN, Infinity and -Infinity outside its strings: Python takes them for JSON.
fn without_constants(text: &str) -> String {
    let (mut result, mut word) = (String::new(), String::new());
    let (mut in_string, mut escaped) = (false, false);
    let flush = |word: &mut String, result: &mut String| {
        let constant = ["NaN", "Infinity", "-Infinity"].contains(&word.as_str());
        result.push_str(if constant { "0" } else { word });
        word.clear();
    };
    for c in text.chars() {
        if !in_string && (c.is_alphanumeric() || "+-.".contains(c)) {
            word.push(c);
            continue;
        }
        flush(&mut word, &mut result);
        result.push(c);
        in_string = in_string != (c == '"' && !escaped);
        escaped = in_string && c == '\\' && !escaped;
    }
    flush(&mut word, &mut result);
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::following;

    #[test]
    fn json_may_stand_in_a_block() {
        let texts = [
            "{\"a\": [1, null, \"é\"]}",
            "```json\n{\"a\": 1}\n```",
            "``` [1] ```",
            "\"\\ud800\"",
            "[NaN, -Infinity, 1e999]",
            "\"a \\\" NaN\"",
            "3",
            "```python\n{}\n```",
            "{\"a\": 1",
            "{'a': 1}",
            "[1,]",
            "[1Infinity]",
            "NaNs",
            "Here: {}",
            "{} {}",
            "\"a\nb\"",
            "",
        ];
        assert_eq!(
            following("detectable_format:json_format", json!({}), &texts),
            texts[..7]
        );
    }
}
