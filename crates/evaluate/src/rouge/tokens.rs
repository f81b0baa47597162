//! Text into sentences, sentences into words.

use std::borrow::Cow;

use super::Variant;
use super::stem::stem;

/// Words of one sentence.
type Words<'a> = Vec<Cow<'a, str>>;

/// Letters of the longest words that keep their endings.
const SHORT: usize = 3;

/// The sentences of a text that hold words.
pub(super) fn sentences(variant: Variant, text: &str) -> Vec<Words<'_>> {
    let lines = |stemmed: bool| {
        text.split('\n')
            .map(|line| alphanumeric(line, stemmed))
            .filter(|words| !words.is_empty())
            .collect()
    };
    match variant {
        Variant::Google => lines(false),
        Variant::GoogleStemmed => lines(true),
        Variant::Pypi => text
            .split('.')
            .filter(|piece| !piece.is_empty())
            .map(between_blanks)
            .collect(),
    }
}

/// Runs of a–z and 0–9, in lower case.
fn alphanumeric(line: &str, stemmed: bool) -> Words<'_> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut end = |word: &mut String| {
        let word = std::mem::take(word);
        if stemmed && word.len() > SHORT {
            words.push(Cow::Owned(stem(word)));
        } else if !word.is_empty() {
            words.push(Cow::Owned(word));
        }
    };
    for letter in line.chars().flat_map(char::to_lowercase) {
        if letter.is_ascii_alphanumeric() {
            word.push(letter);
        } else {
            end(&mut word);
        }
    }
    end(&mut word);
    words
}

/// What stands between blanks; an empty word if nothing does.
fn between_blanks(sentence: &str) -> Words<'_> {
    let words: Words<'_> = sentence
        .split(is_blank)
        .filter(|word| !word.is_empty())
        .map(Cow::Borrowed)
        .collect();
    if words.is_empty() {
        return vec![Cow::Borrowed("")];
    }
    words
}

/// Blanks of Python's `str.split`: white space, and four separators of ASCII.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sentences_and_accents_end_words() {
        let found = sentences(Variant::Google, "Don't, 3.5!\n\n…\nNaïve\r\u{212a}elvin");
        assert_eq!(found, [vec!["don", "t", "3", "5"], vec!["na", "ve", "kelvin"]]);
        let found = sentences(Variant::GoogleStemmed, "Running dogs ran");
        assert_eq!(found, [vec!["run", "dog", "ran"]]);
    }

    #[test]
    fn full_stops_end_sentences() {
        let found = sentences(Variant::Pypi, "It's 3.5, Sir..\u{1f}\u{a0}. ok\u{85}ok");
        let expected = [vec!["It's", "3"], vec!["5,", "Sir"], vec![""], vec!["ok", "ok"]];
        assert_eq!(found, expected);
        assert!(sentences(Variant::Pypi, "..").is_empty());
    }
}
