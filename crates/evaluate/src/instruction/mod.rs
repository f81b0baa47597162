//! The verifiable instructions of IFEval: what a response must look like, decided by rules alone.
//!
//! The 25 types of Zhou et al. 2023 (arXiv 2311.07911), "Instruction-Following Evaluation for Large Language Models", with the
//! verdicts of the checkers in lm-evaluation-harness. What differs:
//!
//! - Which language a text is in: another detector decides, and a short text that it is not sure of may be English.
//! - Sentences beside rare abbreviations, initials and dots, where nltk knows more words.
//! - Keywords are text here and patterns there, and ı, İ and I are three letters here. Their words in the data set are the same.
//! - A letter to count that is none, such as `#`, is counted here and replaced by a letter at random there; so are counts of 0.

mod arguments;
mod capitals;
mod error;
mod json;
mod language;
mod layout;
mod length;
mod pattern;
mod sentences;
mod text;
mod types;
mod verdict;

use regex::Regex;
use serde_json::{Map, Value};

pub use error::InstructionError;
pub use verdict::{loose, strict};

use arguments::Arguments;
use error::Result;
use language::Language;

/// One instruction that a response follows or not.
#[derive(Clone, Debug)]
pub struct Instruction {
    id: &'static str,
    rule: Rule,
}

/// What a response must be.
#[derive(Clone, Debug)]
enum Rule {
    CapitalWords(Bound),
    EnglishCapital,
    EnglishLowercase,
    RepeatPrompt(String),
    TwoResponses,
    Placeholders(u64),
    Postscript(Regex),
    Constrained,
    Json,
    Sections { mark: Regex, least: u64 },
    Bullets { mark: Regex, exactly: u64 },
    Highlights(u64),
    Title,
    Keywords(Vec<Regex>),
    ForbiddenWords(Vec<Regex>),
    Keyword { keyword: Regex, bound: Bound },
    Letter { letter: char, bound: Bound },
    ResponseLanguage(Language),
    ParagraphStart(length::ParagraphStart),
    Paragraphs(u64),
    Sentences(Bound),
    Words { word: Regex, bound: Bound },
    NoComma,
    End(String),
    Quotation,
}

/// How often something must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    LessThan(u64),
    AtLeast(u64),
}

impl Bound {
    fn holds(self, count: usize) -> bool {
        match self {
            Self::LessThan(limit) => (count as u64) < limit,
            Self::AtLeast(limit) => count as u64 >= limit,
        }
    }
}

impl Instruction {
    /// Reads one instruction as the data set writes it: an entry of `instruction_id_list` with its entry of `kwargs`. An argument
    /// that is null counts as not there.
    ///
    /// # Errors
    /// If no type has this id, or its arguments are not those of the type.
    pub fn parse(id: &str, arguments: &Map<String, Value>) -> Result<Self> {
        let Some((id, read)) = types::TYPES.iter().find(|(known, _)| *known == id) else {
            return Err(InstructionError::Unknown {
                id: id.to_owned(),
                known: types::TYPES.map(|(known, _)| known).join(", "),
            });
        };
        let mut arguments = Arguments::new(id, arguments);
        let rule = read(&mut arguments)?;
        arguments.finish()?;
        Ok(Self { id, rule })
    }

    /// The id of its type, such as `keywords:existence`.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// Does the response, as it is, follow the instruction? A blank one may: [`strict`] and [`loose`] do not let it.
    pub fn holds(&self, response: &str) -> bool {
        match &self.rule {
            Rule::CapitalWords(bound) => bound.holds(capitals::count(response)),
            Rule::EnglishCapital => text::is_upper(response) && Language::ENGLISH.holds(response),
            Rule::EnglishLowercase => text::is_lower(response) && Language::ENGLISH.holds(response),
            Rule::RepeatPrompt(prompt) => text::trim(response).to_lowercase().starts_with(prompt),
            Rule::TwoResponses => layout::two_responses(response),
            Rule::Placeholders(least) => layout::placeholders(response) as u64 >= *least,
            Rule::Postscript(mark) => mark.is_match(&response.to_lowercase()),
            Rule::Constrained => layout::constrained(response),
            Rule::Json => json::is_json(response),
            Rule::Sections { mark, least } => mark.find_iter(response).count() as u64 >= *least,
            Rule::Bullets { mark, exactly } => layout::bullets(response, mark) as u64 == *exactly,
            Rule::Highlights(least) => layout::highlights(response) as u64 >= *least,
            Rule::Title => layout::title(response),
            Rule::Keywords(keywords) => keywords.iter().all(|keyword| keyword.is_match(response)),
            Rule::ForbiddenWords(words) => !words.iter().any(|word| word.is_match(response)),
            Rule::Keyword { keyword, bound } => bound.holds(keyword.find_iter(response).count()),
            Rule::Letter { letter, bound } => {
                bound.holds(response.to_lowercase().chars().filter(|c| c == letter).count())
            }
            Rule::ResponseLanguage(language) => language.holds(response),
            Rule::ParagraphStart(start) => start.holds(response),
            Rule::Paragraphs(exactly) => length::paragraphs(response).is_some_and(|count| count == *exactly),
            Rule::Sentences(bound) => bound.holds(sentences::split(response).len()),
            Rule::Words { word, bound } => bound.holds(word.find_iter(response).count()),
            Rule::NoComma => !response.contains(','),
            Rule::End(phrase) => text::trim(response)
                .trim_matches('"')
                .to_lowercase()
                .ends_with(phrase),
            Rule::Quotation => layout::quoted(response),
        }
    }
}

#[cfg(test)]
mod tests;
