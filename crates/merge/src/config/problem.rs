//! Mistakes of a document, each with its place, the text that stands there and, where one is near, the right word.

use std::fmt;

use super::tree::Place;

/// One mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The key it is about, e.g. `models[1].parameters.weight`; empty for the whole document.
    pub path: String,
    /// Is it about the key itself and not about its value?
    pub at_key: bool,
    /// What is wrong, a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it stands, if the document came from a file.
    pub place: Option<Place>,
}

impl Problem {
    pub(crate) fn value(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            path: path.into(),
            at_key: false,
            message: message.into(),
            help: None,
            place: None,
        }
    }

    pub(crate) fn key(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            at_key: true,
            ..Problem::value(path, message)
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// "did you mean …?" if there is such a word, else the list of all words.
    pub(crate) fn suggest(self, nearest: Option<&str>, known: &[&str]) -> Problem {
        match nearest {
            Some(word) => self.help(format!("did you mean {word:?}?")),
            None if known.is_empty() => self,
            None => self.help(format!("known: {}", known.join(", "))),
        }
    }

    pub(crate) fn at(mut self, place: Option<Place>) -> Problem {
        self.place = place;
        self
    }
}

/// On one line: `models[0].model: text expected, found a number (quote it)`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() && !self.at_key {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// All mistakes of one file, with the lines they stand in.
#[derive(Clone, Debug, PartialEq)]
pub struct Problems {
    /// The file, as the user named it.
    pub file: String,
    /// In the order of their places.
    pub problems: Vec<Problem>,
    lines: Vec<String>,
}

impl Problems {
    pub(crate) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Problems {
        for problem in &mut problems {
            // Several lines are ours; what stands in them may be anybody's.
            let lines: Vec<String> = problem
                .message
                .lines()
                .map(tributary_tensorfile::printable)
                .collect();
            problem.message = lines.join("\n");
        }
        problems.sort_by_key(|problem| problem.place.map_or((0, 0), |place| (place.line, place.column)));
        let all: Vec<&str> = text.lines().collect();
        let lines = problems
            .iter()
            .map(|problem| {
                let line = problem
                    .place
                    .and_then(|place| all.get(place.line.saturating_sub(1)).copied());
                visible(line.unwrap_or_default()).take(MAX_LINE).collect()
            })
            .collect();
        Problems {
            file: file.to_string(),
            problems,
            lines,
        }
    }

    /// The line of the file that problem number `index` stands in; empty if it has no place.
    pub fn line(&self, index: usize) -> &str {
        self.lines.get(index).map_or("", String::as_str)
    }
}

/// A line of the document, fit for a terminal, letter by letter so that columns stay.
fn visible(line: &str) -> impl Iterator<Item = char> {
    line.chars().map(|letter| match letter {
        '\t' => ' ',
        letter if letter.is_control() => char::REPLACEMENT_CHARACTER,
        letter => letter,
    })
}

/// Characters shown of a line.
const MAX_LINE: usize = 160;

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(
            f,
            "{} {} in {}",
            count,
            if count == 1 { "mistake" } else { "mistakes" },
            self.file
        )?;
        for (index, problem) in self.problems.iter().enumerate() {
            match problem.place {
                Some(place) => {
                    write!(
                        f,
                        "\n{}:{}:{}: {}",
                        self.file, place.line, place.column, problem.message
                    )?;
                    let number = place.line.to_string();
                    let start = place.column.saturating_sub(1);
                    let room = self.line(index).chars().count().saturating_sub(start).max(1);
                    let marks = "^".repeat(place.length.clamp(1, room));
                    write!(f, "\n{number} | {}", self.line(index))?;
                    write!(
                        f,
                        "\n{} | {}{marks}",
                        " ".repeat(number.len()),
                        " ".repeat(start.min(MAX_LINE))
                    )?;
                }
                None if problem.path.is_empty() => write!(f, "\n{}: {}", self.file, problem.message)?,
                None => write!(f, "\n{}: {}: {}", self.file, problem.path, problem.message)?,
            }
            if let Some(help) = &problem.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
