//! The arguments of one instruction, read by name and type.

use serde_json::{Map, Value};

use super::Bound;
use super::error::{InstructionError, Result};
use super::text::trim;

const COUNT: &str = "a whole number, 0 or more";
const TEXT: &str = "a text that is not empty";
const TEXTS: &str = "a list of texts that are not empty";
const RELATION: &str = r#""less than" or "at least""#;

/// What is above this is not exact as a JSON number with a fraction.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// The arguments of one instruction.
pub(super) struct Arguments<'a> {
    id: &'static str,
    given: &'a Map<String, Value>,
    read: Vec<&'static str>,
}

impl<'a> Arguments<'a> {
    pub(super) fn new(id: &'static str, given: &'a Map<String, Value>) -> Self {
        Self {
            id,
            given,
            read: Vec::new(),
        }
    }

    /// How often something is there. Tables that know no whole numbers write 3 as 3.0.
    pub(super) fn count(&mut self, argument: &'static str) -> Result<u64> {
        self.get(argument, COUNT, |value| {
            let whole = |number: &f64| number.fract() == 0.0 && (0.0..=LARGEST).contains(number);
            value
                .as_u64()
                .or_else(|| value.as_f64().filter(whole).map(|number| number as u64))
        })
    }

    /// A count with its relation.
    pub(super) fn bound(&mut self, count: &'static str, relation: &'static str) -> Result<Bound> {
        let limit = self.count(count)?;
        self.get(relation, RELATION, |value| match value.as_str()? {
            "less than" => Some(Bound::LessThan(limit)),
            "at least" => Some(Bound::AtLeast(limit)),
            _ => None,
        })
    }

    /// A text, without the space around it.
    pub(super) fn text(&mut self, argument: &'static str) -> Result<&'a str> {
        self.get(argument, TEXT, |value| {
            value.as_str().map(trim).filter(|text| !text.is_empty())
        })
    }

    /// One or more texts, as they are.
    pub(super) fn texts(&mut self, argument: &'static str) -> Result<Vec<&'a str>> {
        self.get(argument, TEXTS, |value| {
            let texts: Option<Vec<&str>> = value.as_array()?.iter().map(Value::as_str).collect();
            texts.filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.is_empty()))
        })
    }

    /// What `read` makes of an argument.
    pub(super) fn get<T>(
        &mut self,
        argument: &'static str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T> {
        self.read.push(argument);
        match self.given.get(argument) {
            None | Some(Value::Null) => Err(InstructionError::Missing {
                id: self.id,
                argument,
                expected: expected.to_owned(),
            }),
            Some(value) => read(value).ok_or_else(|| InstructionError::Invalid {
                id: self.id,
                argument,
                expected: expected.to_owned(),
                found: value.to_string(),
            }),
        }
    }

    /// The error of an argument that cannot be looked for.
    pub(super) fn pattern<T>(&self, argument: &'static str, compiled: Result<T, regex::Error>) -> Result<T> {
        compiled.map_err(|source| InstructionError::Pattern {
            id: self.id,
            argument,
            source,
        })
    }

    /// Everything that is given must have been read.
    pub(super) fn finish(self) -> Result<()> {
        let surplus =
            |(name, value): &(&String, &Value)| !value.is_null() && !self.read.contains(&name.as_str());
        match self.given.iter().find(surplus) {
            None => Ok(()),
            Some((argument, _)) => Err(InstructionError::Surplus {
                id: self.id,
                argument: argument.clone(),
                known: match self.read.is_empty() {
                    true => "none".to_owned(),
                    false => self.read.join(", "),
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::InstructionError;
    use super::super::tests::{holds, parse};

    #[test]
    fn null_is_not_there() {
        let instruction = parse(
            "punctuation:no_comma",
            json!({"num_words": null, "relation": null}),
        )
        .unwrap();
        assert_eq!(instruction.id(), "punctuation:no_comma");
        assert_eq!(
            parse("keywords:existence", json!({"keywords": null}))
                .unwrap_err()
                .to_string(),
            r#"the instruction keywords:existence needs the argument "keywords": a list of texts that are not empty"#
        );
        // A table without whole numbers.
        assert!(holds(
            "detectable_format:number_bullet_lists",
            json!({"num_bullets": 1.0}),
            "- a"
        ));
    }

    #[test]
    fn errors_name_what_is_known() {
        let message = |id: &str, arguments: Value| parse(id, arguments).unwrap_err().to_string();
        let unknown = message("keywords:existance", json!({}));
        assert!(
            unknown.starts_with("no instruction is called \"keywords:existance\"; known are change_case:"),
            "{unknown}"
        );
        assert!(
            unknown.ends_with("punctuation:no_comma, startend:end_checker, startend:quotation"),
            "{unknown}"
        );
        assert_eq!(
            message("punctuation:no_comma", json!({"num_words": 3})),
            r#"the instruction punctuation:no_comma has no argument "num_words"; it takes none"#
        );
        assert_eq!(
            message(
                "length_constraints:number_words",
                json!({"num_words": 3, "relation": "at most"})
            ),
            r#"the argument "relation" of the instruction length_constraints:number_words must be "less than" or "at least", not "at most""#
        );
        for wrong in [json!(-1), json!("3"), json!(1.5), json!(1e300), json!([3])] {
            let error = parse(
                "detectable_format:number_bullet_lists",
                json!({"num_bullets": wrong}),
            )
            .unwrap_err();
            assert!(
                matches!(
                    error,
                    InstructionError::Invalid {
                        argument: "num_bullets",
                        ..
                    }
                ),
                "{error}"
            );
        }
        for wrong in [json!([]), json!("word"), json!(["a", 1]), json!(["a", ""])] {
            assert!(parse("keywords:existence", json!({"keywords": wrong})).is_err());
        }
        for nth in [json!(0), json!(3), json!(1.5)] {
            let given = json!({"num_paragraphs": 2, "nth_paragraph": nth, "first_word": "a"});
            let error = parse("length_constraints:nth_paragraph_first_word", given)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("must be a whole number, 1 to 2 (num_paragraphs), not"),
                "{error}"
            );
        }
        for letter in ["", "ab", " ", "İ"] {
            let given = json!({"letter": letter, "let_frequency": 1, "let_relation": "at least"});
            assert!(parse("keywords:letter_frequency", given).is_err(), "{letter}");
        }
        let language = message("language:response_language", json!({"language": "tlh"}));
        assert!(
            language.contains("must be one of en, es, pt,") && language.ends_with("not \"tlh\""),
            "{language}"
        );
        let long = message("keywords:existence", json!({"keywords": ["é".repeat(1 << 20)]}));
        assert!(
            long.starts_with("the instruction keywords:existence cannot look for its argument \"keywords\""),
            "{long}"
        );
    }
}
