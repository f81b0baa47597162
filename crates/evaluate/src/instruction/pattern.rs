//! What is looked for in a response. Words of the data are text, not patterns.

use regex::{Error, Regex, RegexBuilder, escape};

/// White space of Python.
const SPACE: &str = r"[\s\x1c-\x1f]";
/// A character that belongs to a word for Python: no combining mark does.
const WORD: &str = r"[\p{L}\p{N}_]";
/// Any other.
const NO_WORD: &str = r"[^\p{L}\p{N}_]";

/// A text anywhere, in any case.
pub(super) fn keyword(text: &str) -> Result<Regex, Error> {
    RegexBuilder::new(&escape(text)).case_insensitive(true).build()
}

/// A text between word boundaries, in any case.
pub(super) fn whole_word(text: &str) -> Result<Regex, Error> {
    let word = Regex::new(WORD)?;
    // The boundary lies where one of the two characters beside it is of a word.
    let beside = |c: Option<char>| c.is_some_and(|c| word.is_match(c.encode_utf8(&mut [0; 4])));
    let (first, last) = (beside(text.chars().next()), beside(text.chars().next_back()));
    let before = if first {
        format!("(?:^|{NO_WORD})")
    } else {
        WORD.to_owned()
    };
    let after = if last {
        format!("(?:$|{NO_WORD})")
    } else {
        WORD.to_owned()
    };
    RegexBuilder::new(&format!("{before}{}{after}", escape(text)))
        .case_insensitive(true)
        .build()
}

/// The mark of a postscript, in a response in lower case.
pub(super) fn postscript(marker: &str) -> Result<Regex, Error> {
    match marker {
        "P.P.S" => Regex::new(&format!(r"p\.{SPACE}?p\.{SPACE}?s")),
        "P.S." => Regex::new(&format!(r"p\.{SPACE}?s\.")),
        other => Regex::new(&escape(&other.to_lowercase())),
    }
}

/// The head of a section: its name and a number.
pub(super) fn section(name: &str) -> Result<Regex, Error> {
    Regex::new(&format!(r"{}{SPACE}?\d+", escape(name)))
}

/// A line that begins with a star; `layout::bullets` counts the others. A star alone takes the next line in, as Python's does.
pub(super) fn bullet() -> Result<Regex, Error> {
    Regex::new(&format!(r"(?m)^{SPACE}*\*[^*].*$"))
}

/// A word.
pub(super) fn word() -> Result<Regex, Error> {
    Regex::new(r"\w+")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{following, holds};

    #[test]
    fn keywords_are_text_in_any_case() {
        let id = "keywords:existence";
        let both = json!({"keywords": ["Cat", "über"]});
        assert_eq!(
            following(id, both, &["cats ÜBER", "a cat", "CAT über"]),
            ["cats ÜBER", "CAT über"]
        );
        // No pattern, and none that cannot be compiled.
        let special = json!({"keywords": ["c++", "a.b", "(x", "[", "^$"]});
        assert_eq!(
            following(id, special, &["C++ a.b (x [ ^$", "c++ aXb (x [ ^$"]),
            ["C++ a.b (x [ ^$"]
        );
    }

    #[test]
    fn keywords_are_counted_anywhere() {
        let id = "keywords:frequency";
        let given = |relation: &str| json!({"keyword": " the ", "frequency": 2, "relation": relation});
        let texts = ["The end", "the other", "then THE", "no", "a+b"];
        assert_eq!(
            following(id, given("at least"), &texts),
            ["the other", "then THE"]
        );
        assert_eq!(
            following(id, given("less than"), &texts),
            ["The end", "no", "a+b"]
        );
        assert!(holds(
            id,
            json!({"keyword": "aa", "frequency": 2, "relation": "less than"}),
            "aaa"
        ));
    }

    #[test]
    fn forbidden_words_are_whole() {
        let id = "keywords:forbidden_words";
        let words = json!({"forbidden_words": ["rain", "c++", "two words"]});
        let texts = [
            "trains rain_",
            "RAIN.",
            "a\nrain",
            "c++11",
            "c++ 1",
            "ac++",
            "Two  words",
            "Two words!",
            "rain",
        ];
        assert_eq!(
            following(id, words, &texts),
            ["trains rain_", "c++ 1", "ac++", "Two  words"]
        );
        // A combining mark ends a word, as in Python.
        assert!(!holds(id, json!({"forbidden_words": ["cafe"]}), "cafe\u{301}"));
        assert!(holds(id, json!({"forbidden_words": ["caf"]}), "café"));
    }

    #[test]
    fn words_are_letters_digits_and_marks() {
        let id = "length_constraints:number_words";
        let given = |relation: &str| json!({"num_words": 3, "relation": relation});
        let texts = [
            "one two three",
            "one, two",
            "it's one",
            "— one two …",
            "यह हिन्दी है",
        ];
        assert_eq!(
            following(id, given("at least"), &texts),
            ["one two three", "it's one", "यह हिन्दी है"]
        );
        assert_eq!(
            following(id, given("less than"), &texts),
            ["one, two", "— one two …"]
        );
    }

    #[test]
    fn postscripts_have_a_mark() {
        let id = "detectable_content:postscript";
        let texts = [
            "x\nP.S. y",
            "p. s. y",
            "p.p.s y",
            "P. P. S",
            "p.s y",
            "PS: y",
            "tip.s.",
            "Note: y",
        ];
        let found = following(id, json!({"postscript_marker": "P.S."}), &texts);
        assert_eq!(found, ["x\nP.S. y", "p. s. y", "tip.s."]);
        let found = following(id, json!({"postscript_marker": "P.P.S"}), &texts);
        assert_eq!(found, ["p.p.s y", "P. P. S"]);
        assert_eq!(
            following(id, json!({"postscript_marker": "NOTE:"}), &texts),
            ["Note: y"]
        );
    }

    #[test]
    fn sections_have_a_name_and_a_number() {
        let id = "detectable_format:multiple_sections";
        let given = json!({"section_spliter": "Section", "num_sections": 2});
        let texts = [
            "Section 1\na\nSection 2\nb",
            "Section1Section2",
            "SECTION 1 SECTION 2",
            "Section 1, Section A",
            "Section  1 Section 2",
        ];
        assert_eq!(
            following(id, given, &texts),
            ["Section 1\na\nSection 2\nb", "Section1Section2"]
        );
        assert!(holds(
            id,
            json!({"section_spliter": "Part (", "num_sections": 1}),
            "Part ( 1"
        ));
    }
}
