//! Plain text: documents separated by lines of their own.
//!
//! A document ends at a line that equals the separator, by default `<|endoftext|>`, the form in which plain-text corpora of
//! many documents are usually kept. A file without such a line is one document, byte for byte: a book stays a book, and its
//! likelihood can be compared with what another program says of the same file. Guessing at paragraphs instead would cut
//! stories into pieces unasked; who wants it gives the separator `""` (blank lines). The line break before a separator belongs
//! to the separator; documents of white space alone are left out.

use crate::error::Result;
use crate::record::Record;
use crate::source::Input;
use crate::source::lines::Lines;

/// The separator where none is given.
pub const DEFAULT_SEPARATOR: &str = "<|endoftext|>";

pub(super) struct TextRecords {
    lines: Lines,
    separator: String,
}

impl TextRecords {
    pub(super) fn new(input: Input, separator: Option<&str>) -> Self {
        Self {
            lines: Lines::new(input),
            separator: separator.unwrap_or(DEFAULT_SEPARATOR).to_owned(),
        }
    }
}

impl Iterator for TextRecords {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut document = String::new();
        // The break after the last line waits: it is the separator's if one follows.
        let mut pending = "";
        loop {
            let line = match self.lines.next() {
                Some(Ok(line)) => line,
                Some(Err(err)) => return Some(Err(err)),
                None => {
                    document.push_str(pending);
                    return (!document.trim().is_empty()).then_some(Ok(Record::Text(document)));
                }
            };
            if line.text.trim_end() == self.separator {
                if document.trim().is_empty() {
                    document.clear();
                    pending = "";
                    continue;
                }
                return Some(Ok(Record::Text(document)));
            }
            document.push_str(pending);
            document.push_str(&line.text);
            pending = line.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str, separator: Option<&str>) -> Vec<String> {
        TextRecords::new(Input::from_bytes("x.txt", text.to_owned()), separator)
            .map(|record| match record.unwrap() {
                Record::Text(text) => text,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_file_without_separators_is_one_document_to_the_byte() {
        let text = "Chapter 1\n\nIt rained.\r\n\n";
        assert_eq!(documents(text, None), [text]);
    }

    #[test]
    fn end_of_text_lines_separate() {
        assert_eq!(
            documents("a\nb\n<|endoftext|>\n\n<|endoftext|>\nc\n<|endoftext|>\n", None),
            ["a\nb", "c"]
        );
        assert_eq!(
            documents("say <|endoftext|> aloud", None),
            ["say <|endoftext|> aloud"]
        );
    }

    #[test]
    fn blank_lines_separate_paragraphs_when_asked() {
        assert_eq!(
            documents("one\none\n\n \n\ntwo\n", Some("")),
            ["one\none", "two\n"]
        );
    }
}
