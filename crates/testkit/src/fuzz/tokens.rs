//! Where the words of a text stand: strings, numbers, names, brackets, line starts. Works on any bytes.

use std::ops::Range;

/// The tokens of `text`, in order; blanks between them are left out, the start of a line with its indent is one.
pub(super) fn tokens(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let run = |is_part: fn(u8) -> bool| {
            let length = text[at + 1..].iter().take_while(|byte| is_part(**byte)).count();
            at + 1 + length
        };
        let end = match byte {
            b'"' | b'\'' => end_of_string(text, at),
            b'\n' => run(|byte| byte == b' '),
            b'0'..=b'9' | b'-' | b'.' => {
                run(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'))
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => run(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            b' ' => {
                at += 1;
                continue;
            }
            _ => at + 1,
        };
        found.push(at..end);
        at = end;
    }
    found
}

fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'\\' => at += 1,
            b'\n' => return start + 1,
            _ if byte == text[start] => return at,
            _ => {}
        }
    }
    start + 1
}

/// The token, or, where it opens a bracket, everything up to the one that closes it.
pub(super) fn group(text: &[u8], tokens: &[Range<usize>], index: usize) -> Range<usize> {
    let first = tokens[index].clone();
    if !matches!(text[first.start], b'[' | b'{') {
        return first;
    }
    let mut depth = 0usize;
    for token in &tokens[index..] {
        match text[token.start] {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return first.start..token.end;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_numbers_names_and_brackets_are_tokens() {
        let text = br#"{"a\"b": [1e-5, nul]}"#;
        let tokens = tokens(text);
        let words: Vec<&str> = tokens
            .iter()
            .map(|token| std::str::from_utf8(&text[token.clone()]).unwrap_or_default())
            .collect();
        assert_eq!(words, ["{", r#""a\"b""#, ":", "[", "1e-5", ",", "nul", "]", "}"]);
        assert_eq!(&text[group(text, &tokens, 3)], b"[1e-5, nul]");
        assert_eq!(group(text, &tokens, 0), 0..text.len());
    }
}
