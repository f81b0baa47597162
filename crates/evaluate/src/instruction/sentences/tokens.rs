//! Tokens: words with their periods, and the marks between them.

use super::super::text::is_space;

/// The tokens of a line: words with their periods, runs of hyphens or periods, and other marks one by one.
pub(super) fn tokens(line: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let length = match run(rest) {
            0 if "(\"`{[:;&#*@)}]-,".contains(first) => first.len_utf8(),
            0 => {
                let mut inner = rest.char_indices().skip(1).map(|(at, _)| at);
                inner.find(|at| ends_token(&rest[*at..])).unwrap_or(rest.len())
            }
            length => length,
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start_matches(is_space);
    }
    tokens
}

/// Is a word over before this?
fn ends_token(rest: &str) -> bool {
    let ends = |rest: &str| rest.chars().next().is_none_or(|c| is_space(c) || ends_word(c)) || run(rest) > 0;
    ends(rest) || rest.strip_prefix(',').is_some_and(ends)
}

/// Bytes of the run at the beginning: two or more hyphens or periods, or three or more periods with space between.
fn run(text: &str) -> usize {
    let of = |c: char| text.len() - text.trim_start_matches(c).len();
    if text.starts_with("--") {
        return of('-');
    }
    if text.starts_with("..") {
        return of('.');
    }
    let (mut length, mut spaced) = (0, 0);
    let mut rest = text;
    while let Some(after) = rest.strip_prefix('.') {
        let end = text.len() - after.len();
        spaced += 1;
        if spaced >= 3 {
            length = end;
        }
        match after.strip_prefix(is_space) {
            Some(next) => rest = next,
            None => break,
        }
    }
    length
}

/// Marks that a word does not contain.
pub(super) fn ends_word(c: char) -> bool {
    ")\";}]*:@'({[‘’“”«»?!".contains(c)
}
