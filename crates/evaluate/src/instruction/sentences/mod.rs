//! Sentences: the method of Kiss and Strunk 2006, "Unsupervised Multilingual Sentence Boundary Detection", without its training.
//!
//! Where a sentence may end and which words stand beside it is decided as nltk's Punkt does. The words it learned (abbreviations,
//! words that begin sentences, which words are ever in lower case) are short lists here.

mod decision;
mod tokens;

use super::text::is_space;
use decision::ends_sentence;
use tokens::{ends_word, tokens};

/// The sentences of a text.
pub(super) fn split(text: &str) -> Vec<&str> {
    let end = text.trim_end_matches(is_space).len();
    let mut sentences = Vec::new();
    // Where the sentence begins.
    let mut start = 0;
    let mut ends = ends(text).into_iter().peekable();
    while let Some(End { stop, next }) = ends.next() {
        // Quotes and brackets that close after the end belong to the sentence.
        let rest = &text[next..ends.peek().map_or(end, |end| end.stop)];
        let after = rest.trim_start_matches(is_closing);
        let begin = after.trim_start_matches(is_space);
        let closed = after.is_empty() || after.starts_with("--") || begin.len() < after.len();
        if after.len() < rest.len() && closed {
            sentences.push(
                text.get(start..next + rest.len() - after.len())
                    .unwrap_or_default(),
            );
            start = next + rest.len() - begin.len();
        } else {
            sentences.extend(text.get(start..stop).filter(|sentence| !sentence.is_empty()));
            start = next;
        }
    }
    sentences.extend(text.get(start..end).filter(|sentence| !sentence.is_empty()));
    sentences
}

/// Where a sentence ends and where the next begins.
struct End {
    stop: usize,
    next: usize,
}

/// The ends within a text.
fn ends(text: &str) -> Vec<End> {
    let mut found = Vec::new();
    // The last mark not yet decided: its place, the end of what stands after it, and where the next sentence would begin.
    let mut last: Option<(usize, usize, usize)> = None;
    // Where the word before it begins, and where that word ends.
    let (mut word, mut word_end) = (0, 0);
    let decide = |(mark, after, next), word: usize, found: &mut Vec<End>| {
        let line = text[..word].trim_end_matches([' ', '\t']);
        if breaks(&text[word..after], line.is_empty() || line.ends_with('\n')) {
            found.push(End { stop: mark + 1, next });
        }
    };
    for (mark, _) in text.match_indices(['.', '?', '!']) {
        let rest = &text[mark + 1..];
        let token = rest.trim_start_matches(is_space);
        let (after, next) = if token.len() < rest.len() && !token.is_empty() {
            let token_start = text.len() - token.len();
            (
                token_start + token.find(is_space).unwrap_or(token.len()),
                token_start,
            )
        } else if let Some(c) = rest.chars().next().filter(|c| ends_word(*c)) {
            (mark + 1 + c.len_utf8(), mark + 1)
        } else {
            continue;
        };
        // The word before begins after the last white space since the mark before, or where that mark's word does.
        let space = text[word_end..mark].rfind([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        let begin = space.filter(|at| *at > 0).map_or(word, |at| word_end + at + 1);
        if let Some(last) = last.filter(|_| word_end <= begin) {
            decide(last, word, &mut found);
        }
        (word, word_end, last) = (begin, mark, Some((mark, after, next)));
    }
    if let Some(last) = last {
        decide(last, word, &mut found);
    }
    found
}

/// Does a sentence end before the last of the tokens?
fn breaks(context: &str, begins_line: bool) -> bool {
    let tokens: Vec<&str> = context.split('\n').flat_map(tokens).collect();
    let mut pairs = tokens.windows(2).enumerate();
    pairs.any(|(at, pair)| ends_sentence(pair[0], pair[1], begins_line && at == 0))
}

/// Quotes and brackets that close.
fn is_closing(c: char) -> bool {
    "\"')]}‘’“”«»".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_at_marks() {
        assert_eq!(
            split("One. Two!  Three?\nfour"),
            ["One.", "Two!", "Three?", "four"]
        );
        assert_eq!(split("Really?!! Yes."), ["Really?!!", "Yes."]);
        assert_eq!(split("no end"), ["no end"]);
        assert!(split("").is_empty() && split(" \n ").is_empty());
    }

    #[test]
    fn closing_quotes_and_brackets_stay_with_their_sentence() {
        assert_eq!(
            split("He said \"Go.\" Then he left."),
            ["He said \"Go.\"", "Then he left."]
        );
        assert_eq!(split("(Done.) “Good.” Bye."), ["(Done.)", "“Good.”", "Bye."]);
        assert_eq!(
            split("Write to [name]. Thank you (much). Bye."),
            ["Write to [name].", "Thank you (much).", "Bye."]
        );
    }

    #[test]
    fn abbreviations_end_no_sentence() {
        assert_eq!(
            split("Dr. Smith met Mrs. Jones at 5 p.m. today. He left."),
            ["Dr. Smith met Mrs. Jones at 5 p.m. today.", "He left."]
        );
        // Before a word that begins sentences they do.
        assert_eq!(
            split("He lives in the U.S. The others do not."),
            ["He lives in the U.S.", "The others do not."]
        );
        // As nltk has it.
        assert_eq!(
            split("Apples, pears, etc. are fruit."),
            ["Apples, pears, etc.", "are fruit."]
        );
    }

    #[test]
    fn letters_before_names_are_initials() {
        assert_eq!(split("J. Bach wrote it."), ["J. Bach wrote it."]);
        assert_eq!(split("A. Start\nB. Go on"), ["A.", "Start\nB.", "Go on"]);
        assert_eq!(
            split("It was J. Bach. He wrote it."),
            ["It was J. Bach.", "He wrote it."]
        );
        assert_eq!(
            split("This is plan B. We go on."),
            ["This is plan B.", "We go on."]
        );
        assert_eq!(split("C. Elegans"), ["C. Elegans"]);
    }

    #[test]
    fn numbers_and_dots() {
        assert_eq!(split("It is 3.5 m. long."), ["It is 3.5 m. long."]);
        assert_eq!(split("1. First\n2. Second"), ["1.", "First\n2.", "Second"]);
        assert_eq!(split("1. eggs and 2. milk"), ["1. eggs and 2. milk"]);
        assert_eq!(
            split("Wait... what? Wait... The end."),
            ["Wait... what?", "Wait...", "The end."]
        );
        assert_eq!(
            split("See example.com. It is v1.2."),
            ["See example.com.", "It is v1.2."]
        );
    }

    #[test]
    fn characters_are_whole() {
        assert_eq!(
            split("日本。はい! „Ja.“ ¿Qué? ü"),
            ["日本。はい!", "„Ja.“", "¿Qué?", "ü"]
        );
    }
}
