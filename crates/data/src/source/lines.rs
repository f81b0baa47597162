//! Lines of a file, read block by block.

use std::io;

use crate::error::{Error, Place, Result};
use crate::source::Input;

/// Bytes asked for at a time: large enough that object storage is not asked too often.
const BLOCK: usize = 4 << 20;
/// A longer line is refused, so that a file that is not lines of text cannot fill memory.
const MAX_LINE: usize = 512 << 20;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Number in the file, from 1.
    pub(super) number: u64,
    /// The text without its line break.
    pub(super) text: String,
    /// The line break: `"\n"`, `"\r\n"`, or nothing at the end of the file.
    pub(super) end: &'static str,
}

/// Reads a file's lines in order. After an error of reading it is at its end.
pub(super) struct Lines {
    input: Input,
    block: Vec<u8>,
    /// Bytes of `block` already handed out.
    used: usize,
    /// Offset in the file of the first byte after `block`.
    offset: u64,
    number: u64,
}

impl Lines {
    pub(super) fn new(input: Input) -> Self {
        Self {
            input,
            block: Vec::new(),
            used: 0,
            offset: 0,
            number: 0,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.input.name()
    }

    /// An error about `line`.
    pub(super) fn malformed(&self, line: u64, problem: impl Into<String>) -> Error {
        Error::Malformed {
            path: self.name().to_owned(),
            place: Place::Line(line),
            problem: problem.into(),
        }
    }

    /// Reads the next block behind what is left of the present one. False at the end of the file.
    fn fill(&mut self) -> Result<bool> {
        let left = self.input.len() - self.offset;
        if left == 0 {
            return Ok(false);
        }
        self.block.drain(..self.used);
        self.used = 0;
        let kept = self.block.len();
        let more = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
        self.block.resize(kept + more, 0);
        let read: io::Result<()> = self.input.read_at(self.offset, &mut self.block[kept..]);
        if let Err(err) = read {
            let failed = self.input.failed(self.offset, err);
            self.block.clear();
            self.offset = self.input.len();
            return Err(failed);
        }
        self.offset += more as u64;
        Ok(true)
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut searched = 0;
        let (length, broken) = loop {
            let rest = &self.block[self.used..];
            if let Some(at) = rest[searched..].iter().position(|&byte| byte == b'\n') {
                break (searched + at, true);
            }
            searched = rest.len();
            if searched > MAX_LINE {
                self.number += 1;
                let problem = format!("longer than {} MiB; is this a text file?", MAX_LINE >> 20);
                self.block.clear();
                self.used = 0;
                self.offset = self.input.len();
                return Some(Err(self.malformed(self.number, problem)));
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) if searched == 0 => return None,
                Ok(false) => break (searched, false),
                Err(err) => return Some(Err(err)),
            }
        };
        self.number += 1;
        let mut bytes = &self.block[self.used..self.used + length];
        self.used += length + usize::from(broken);
        let end = match (broken, bytes.strip_suffix(b"\r")) {
            (true, Some(shorter)) => {
                bytes = shorter;
                "\r\n"
            }
            (true, None) => "\n",
            (false, _) => "",
        };
        if self.number == 1 {
            bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        }
        Some(match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Line {
                number: self.number,
                text: text.to_owned(),
                end,
            }),
            Err(err) => Err(self.malformed(
                self.number,
                format!("not UTF-8 at byte {} of the line", err.valid_up_to()),
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8]) -> Vec<(String, &'static str)> {
        Lines::new(Input::from_bytes("x", bytes.to_vec()))
            .map(|line| line.unwrap())
            .map(|line| (line.text, line.end))
            .collect()
    }

    #[test]
    fn line_breaks_of_both_kinds_and_none() {
        let expected =
            [("a", "\n"), ("b", "\r\n"), ("", "\n"), ("c", "")].map(|(text, end)| (text.to_owned(), end));
        assert_eq!(texts(b"\xef\xbb\xbfa\nb\r\n\nc"), expected);
        assert_eq!(texts(b""), []);
    }

    #[test]
    fn lines_across_blocks() {
        let long = "x".repeat(BLOCK + 10);
        let bytes = format!("{long}\nshort\n{long}{long}\n");
        let lines = texts(bytes.as_bytes());
        assert_eq!(
            lines.iter().map(|(text, _)| text.len()).collect::<Vec<_>>(),
            [long.len(), 5, 2 * long.len()]
        );
    }

    #[test]
    fn bad_utf8_names_its_line() {
        let mut lines = Lines::new(Input::from_bytes("f.txt", b"ok\na\xffb\nok".to_vec()));
        assert!(lines.next().unwrap().is_ok());
        assert_eq!(
            lines.next().unwrap().unwrap_err().to_string(),
            "f.txt, line 2: not UTF-8 at byte 1 of the line"
        );
        assert!(lines.next().unwrap().is_ok());
    }
}
