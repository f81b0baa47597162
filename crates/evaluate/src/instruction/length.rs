//! Paragraphs.

use super::text::{is_blank, is_space, trim};

/// Paragraphs between `***`. None if one that is neither the first nor the last is blank.
pub(super) fn paragraphs(response: &str) -> Option<u64> {
    let parts: Vec<&str> = response.split("***").collect();
    let mut count = 0;
    for (at, part) in parts.iter().enumerate() {
        if !is_blank(part) {
            count += 1;
        } else if at != 0 && at + 1 != parts.len() {
            return None;
        }
    }
    Some(count)
}

/// How many paragraphs between empty lines, and with which word one of them begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParagraphStart {
    /// Paragraphs that are not blank.
    pub(super) paragraphs: u64,
    /// Which of all, from 1.
    pub(super) nth: usize,
    /// Its first word, in lower case.
    pub(super) word: String,
}

impl ParagraphStart {
    pub(super) fn holds(&self, response: &str) -> bool {
        // Blank paragraphs do not count but are numbered, as in the published checker.
        let parts: Vec<&str> = response.split("\n\n").collect();
        let count = parts.iter().filter(|part| !is_blank(part)).count();
        if count as u64 != self.paragraphs || self.nth > count {
            return false;
        }
        let Some(word) = parts
            .get(self.nth - 1)
            .and_then(|part| trim(part).split(is_space).next())
        else {
            return false;
        };
        let word = word.trim_start_matches('\'').trim_start_matches('"');
        let word = word
            .split(['.', ',', '?', '!', '\'', '"'])
            .next()
            .unwrap_or_default();
        // An empty word is none: the one asked for is not empty.
        word.to_lowercase() == self.word
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::following;

    #[test]
    fn paragraphs_are_divided_by_stars() {
        let id = "length_constraints:number_paragraphs";
        let texts = [
            "a\n***\nb",
            "***a***b***",
            "a***\n***b",
            "a",
            "a***b***c",
            "a****b",
            "a\n\nb",
        ];
        assert_eq!(
            following(id, json!({"num_paragraphs": 2}), &texts),
            ["a\n***\nb", "***a***b***", "a****b"]
        );
    }

    #[test]
    fn a_paragraph_begins_with_a_word() {
        let id = "length_constraints:nth_paragraph_first_word";
        let given = json!({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "President"});
        let texts = [
            "a\n\npresident b",
            "a\n\n'\"President's b",
            "a\n\npresidents",
            "a\n\nb\n\npresident",
            "president\n\na",
            // A blank paragraph does not count, but has a number.
            "a\n\n \n\npresident",
            "a\npresident",
        ];
        assert_eq!(
            following(id, given, &texts),
            ["a\n\npresident b", "a\n\n'\"President's b"]
        );
    }
}
