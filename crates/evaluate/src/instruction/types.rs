//! The types of instruction by id, and how each reads its arguments.

use super::arguments::Arguments;
use super::error::Result;
use super::language::Language;
use super::length::ParagraphStart;
use super::{Rule, pattern};

type Read = fn(&mut Arguments<'_>) -> Result<Rule>;

/// Every type.
pub(super) const TYPES: [(&str, Read); 25] = [
    ("change_case:capital_word_frequency", |given| {
        Ok(Rule::CapitalWords(
            given.bound("capital_frequency", "capital_relation")?,
        ))
    }),
    ("change_case:english_capital", |_| Ok(Rule::EnglishCapital)),
    ("change_case:english_lowercase", |_| Ok(Rule::EnglishLowercase)),
    ("combination:repeat_prompt", |given| {
        Ok(Rule::RepeatPrompt(given.text("prompt_to_repeat")?.to_lowercase()))
    }),
    ("combination:two_responses", |_| Ok(Rule::TwoResponses)),
    ("detectable_content:number_placeholders", |given| {
        Ok(Rule::Placeholders(given.count("num_placeholders")?))
    }),
    ("detectable_content:postscript", |given| {
        let mark = pattern::postscript(given.text("postscript_marker")?);
        Ok(Rule::Postscript(given.pattern("postscript_marker", mark)?))
    }),
    ("detectable_format:constrained_response", |_| {
        Ok(Rule::Constrained)
    }),
    ("detectable_format:json_format", |_| Ok(Rule::Json)),
    ("detectable_format:multiple_sections", |given| {
        let mark = pattern::section(given.text("section_spliter")?);
        Ok(Rule::Sections {
            mark: given.pattern("section_spliter", mark)?,
            least: given.count("num_sections")?,
        })
    }),
    ("detectable_format:number_bullet_lists", |given| {
        let exactly = given.count("num_bullets")?;
        let mark = given.pattern("num_bullets", pattern::bullet())?;
        Ok(Rule::Bullets { mark, exactly })
    }),
    ("detectable_format:number_highlighted_sections", |given| {
        Ok(Rule::Highlights(given.count("num_highlights")?))
    }),
    ("detectable_format:title", |_| Ok(Rule::Title)),
    ("keywords:existence", |given| {
        let keywords = given.texts("keywords")?;
        let keywords = keywords.into_iter().map(pattern::keyword).collect();
        Ok(Rule::Keywords(given.pattern("keywords", keywords)?))
    }),
    ("keywords:forbidden_words", |given| {
        let words = given.texts("forbidden_words")?;
        let words = words.into_iter().map(pattern::whole_word).collect();
        Ok(Rule::ForbiddenWords(given.pattern("forbidden_words", words)?))
    }),
    ("keywords:frequency", |given| {
        let keyword = pattern::keyword(given.text("keyword")?);
        Ok(Rule::Keyword {
            keyword: given.pattern("keyword", keyword)?,
            bound: given.bound("frequency", "relation")?,
        })
    }),
    ("keywords:letter_frequency", |given| {
        let letter = given.get("letter", "one letter", |value| one(value.as_str()?))?;
        let bound = given.bound("let_frequency", "let_relation")?;
        Ok(Rule::Letter { letter, bound })
    }),
    ("language:response_language", |given| {
        let expected = format!("one of {}", Language::codes().join(", "));
        let language = given.get("language", &expected, |value| Language::of(value.as_str()?))?;
        Ok(Rule::ResponseLanguage(language))
    }),
    ("length_constraints:nth_paragraph_first_word", |given| {
        let paragraphs = given.count("num_paragraphs")?;
        let nth = given.get(
            "nth_paragraph",
            &format!("a whole number, 1 to {paragraphs} (num_paragraphs)"),
            |value| {
                value
                    .as_f64()
                    .filter(|nth| (1.0..=paragraphs as f64).contains(nth) && nth.fract() == 0.0)
            },
        )?;
        Ok(Rule::ParagraphStart(ParagraphStart {
            paragraphs,
            nth: nth as usize,
            word: given.text("first_word")?.to_lowercase(),
        }))
    }),
    ("length_constraints:number_paragraphs", |given| {
        Ok(Rule::Paragraphs(given.count("num_paragraphs")?))
    }),
    ("length_constraints:number_sentences", |given| {
        Ok(Rule::Sentences(given.bound("num_sentences", "relation")?))
    }),
    ("length_constraints:number_words", |given| {
        let bound = given.bound("num_words", "relation")?;
        let word = given.pattern("num_words", pattern::word())?;
        Ok(Rule::Words { word, bound })
    }),
    ("punctuation:no_comma", |_| Ok(Rule::NoComma)),
    ("startend:end_checker", |given| {
        Ok(Rule::End(given.text("end_phrase")?.to_lowercase()))
    }),
    ("startend:quotation", |_| Ok(Rule::Quotation)),
];

/// The one character of a text, in lower case.
fn one(text: &str) -> Option<char> {
    let lower = text.to_lowercase();
    let mut characters = lower.chars();
    characters
        .next()
        .filter(|c| !super::text::is_space(*c) && characters.next().is_none())
}
