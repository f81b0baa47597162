//! Words in capital letters, cut as nltk's tokenizer of English cuts them: IT'S is two of them, and so are CAN'T and CANNOT.

use super::sentences;
use super::text::{is_space, is_upper};

/// Marks that stand alone.
const MARKS: &str = "«“‘„»”’`\"[](){}<>;@#$%&*?!‒–—―";

/// Quotes and brackets that may stand after a last period.
const CLOSING: &str = "])}>\"'»”’ ";

/// What is cut off the end of a word: first one of these, then one of the others.
const POSSESSIVES: [&str; 6] = ["'s", "'S", "'m", "'M", "'d", "'D"];
const CONTRACTIONS: [&str; 8] = ["'ll", "'LL", "'re", "'RE", "'ve", "'VE", "n't", "N'T"];

/// After these an apostrophe before a word stays with it.
const CLITICS: [&str; 8] = ["re", "ve", "ll", "m", "t", "s", "d", "n"];

/// Words that are two, and the letters of the first.
const JOINED: [(&str, usize); 8] = [
    ("CANNOT", 3),
    ("D'YE", 1),
    ("GIMME", 3),
    ("GONNA", 3),
    ("GOTTA", 3),
    ("LEMME", 3),
    ("MORE'N", 4),
    ("WANNA", 3),
];

/// Words of a text in capital letters.
pub(super) fn count(text: &str) -> usize {
    let pieces = sentences::split(text)
        .into_iter()
        .flat_map(|sentence| pieces(without_period(sentence)));
    pieces.flat_map(words).filter(|word| is_upper(word)).count()
}

/// The sentence up to its last period.
fn without_period(sentence: &str) -> &str {
    let end = sentence.trim_end_matches(|c| CLOSING.contains(c) || is_space(c));
    end.strip_suffix('.').unwrap_or(sentence)
}

/// What stands between white space and marks.
fn pieces(sentence: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut before) = (0, ' ');
    let mut characters = sentence.char_indices();
    while let Some((at, c)) = characters.next() {
        let rest = characters.as_str();
        let twin = rest.starts_with(c) && "-.'".contains(c);
        let alone = twin
            || is_space(c)
            || MARKS.contains(c)
            || ",:".contains(c) && !rest.starts_with(|c: char| c.is_ascii_digit());
        if alone {
            pieces.push(&sentence[start..at]);
            if twin {
                characters.next();
            }
            start = sentence.len() - characters.as_str().len();
        } else if c == '\'' && !is_word(before) {
            let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
            if !word.is_empty() && !CLITICS.contains(&word.to_lowercase().as_str()) {
                pieces.push(&sentence[start..at]);
                start = at + 1;
            }
        }
        before = c;
    }
    pieces.push(&sentence[start..]);
    pieces
}

/// The words of a piece.
fn words(piece: &str) -> Vec<&str> {
    let piece = cut(piece, &["'"]).0;
    let (piece, possessive) = cut(piece, &POSSESSIVES);
    let (piece, contraction) = cut(piece, &CONTRACTIONS);
    let mut words = joined(piece);
    words.extend([contraction, possessive]);
    words
}

/// The text and the ending that it has, if more than an apostrophe stands before it.
fn cut<'a>(text: &'a str, endings: &[&str]) -> (&'a str, &'a str) {
    let split = |ending: &&str| {
        let head = text.strip_suffix(*ending)?;
        (!head.is_empty() && !head.ends_with('\'')).then(|| text.split_at(head.len()))
    };
    endings.iter().find_map(split).unwrap_or((text, ""))
}

/// The text, cut around and within the words that are two.
fn joined(text: &str) -> Vec<&str> {
    let upper = text.to_ascii_uppercase();
    let mut cuts = Vec::new();
    for (word, first) in JOINED {
        for (at, _) in upper.match_indices(word) {
            let (before, after) = (&text[..at], &text[at + word.len()..]);
            let ends = if word == "WANNA" {
                after.is_empty()
            } else {
                !after.starts_with(is_word)
            };
            if ends && !before.ends_with(is_word) {
                cuts.extend([at, at + first, at + word.len()]);
            }
        }
    }
    cuts.sort_unstable();
    let mut words = Vec::new();
    let mut start = 0;
    for cut in cuts {
        words.push(&text[start..cut]);
        start = cut;
    }
    words.push(&text[start..]);
    words
}

/// A letter, a digit or an underscore?
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_whole_in_capitals() {
        assert_eq!(count("NASA sent THE Rover, A-1 and x to MARS."), 4);
        assert_eq!(count("no capitals, Only Some. 12 !"), 0);
        assert_eq!(count("ÉTÉ ÜBER straße ЖУК"), 3);
    }

    #[test]
    fn contractions_are_cut() {
        assert_eq!(count("I'M"), 2);
        assert_eq!(count("IT'S SHE'D WE'LL CAN'T"), 8);
        // One at the end of a sentence is cut too, one before another mark is not.
        assert_eq!((count("IT'S."), count("IT'S... x")), (2, 2));
        assert_eq!(
            (
                count("CANNOT"),
                count("GONNA"),
                count("CANNOTS"),
                count("END.CANNOT")
            ),
            (2, 2, 1, 3)
        );
        assert_eq!((count("DOGS' 'HELLO' O'NEIL"), count("I’M")), (3, 2));
    }

    #[test]
    fn marks_cut_words_but_hyphens_and_numbers_do_not() {
        assert_eq!(count("A,B:C;D(E)F[G]H*I/J"), 9);
        assert_eq!(count("X-RAY U.S. A:1,000 A--B C...D"), 7);
    }
}
