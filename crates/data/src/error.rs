//! What can go wrong between a file of text and a batch of tokens.
//!
//! One enum for the crate. Every variant says where (path with line or row, or the name of the option) and, where a
//! person can do something about it, what to do next. Texts are lower-case fragments, so that callers can prefix them.

use std::fmt;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of reading, tokenising or batching data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The artifact store failed; its own message carries the object's name.
    #[error(transparent)]
    Store(#[from] tributary_store::StoreError),

    /// Bytes of a file could not be read.
    #[error("{path}: cannot read at byte {offset}: {source}")]
    Read {
        /// File the bytes belong to.
        path: String,
        /// Byte offset of the read that failed.
        offset: u64,
        /// The operating system's or the store's reason.
        source: std::io::Error,
    },

    /// A file that must be there is not.
    #[error("{path}: no such file{hint}")]
    Missing {
        /// The file looked for.
        path: String,
        /// What to do about it; empty or starting with a semicolon.
        hint: String,
    },

    /// The format of a file cannot be told, or it has none of the forms we read.
    #[error("{path}: {problem}")]
    Format {
        /// The file.
        path: String,
        /// What is the matter, and what would be right.
        problem: String,
    },

    /// One record of a file is malformed.
    #[error("{path}, {place}: {problem}")]
    Malformed {
        /// The file.
        path: String,
        /// The line or row, counted from 1.
        place: Place,
        /// What is the matter with it.
        problem: String,
    },

    /// A record has none of the keys (or columns) we know, or too many of them.
    #[error("{path}, {place}: {problem} (found: {found}){suggestion}", found = list(found))]
    Keys {
        /// The file.
        path: String,
        /// The line, or `columns` for a file with a schema.
        place: Place,
        /// What is the matter.
        problem: String,
        /// The keys that are there.
        found: Vec<String>,
        /// What to write instead; empty or starting with a semicolon.
        suggestion: String,
    },

    /// A parquet file is damaged or uses something we do not read.
    #[error("{path}: parquet: {problem}")]
    Parquet {
        /// The file.
        path: String,
        /// The parquet reader's words.
        problem: String,
    },

    /// A tokenizer cannot be loaded, trained or applied.
    #[error("tokenizer {name}: {problem}")]
    Tokenizer {
        /// Where the tokenizer comes from.
        name: String,
        /// What is the matter.
        problem: String,
    },

    /// A chat template does not compile or refuses these messages.
    #[error("chat template: {problem}")]
    ChatTemplate {
        /// The template engine's words, or the template's own (`raise_exception`).
        problem: String,
    },

    /// Loss on the assistant's turns cannot be placed because the template rewrites earlier text when a turn is added.
    #[error(
        "chat template: not prefix-stable: rendering {turns} message(s) is not a prefix of rendering them all \
         (they part at byte {byte}, near {near:?}); assistant turns cannot be told from the rest: \
         train on the whole text (`completion_only: false`) or use a template that only appends"
    )]
    NotPrefixStable {
        /// How many leading messages were rendered.
        turns: usize,
        /// First byte at which the two renderings differ.
        byte: usize,
        /// The shorter rendering around that byte.
        near: String,
    },

    /// A record could not be turned into tokens.
    #[error("record {index}: {source}")]
    Record {
        /// Position of the record in its stream, counted from 0.
        index: usize,
        /// Why.
        source: Box<Error>,
    },

    /// An option has a value that cannot work.
    #[error("option `{option}`: {problem}")]
    Option {
        /// The option's name as in its struct.
        option: &'static str,
        /// What is the matter, and what would be right.
        problem: String,
    },

    /// There is nothing to make a batch of.
    #[error("no document has a token to score ({documents} document(s) given){hint}")]
    NothingToScore {
        /// How many documents were given.
        documents: usize,
        /// What to look at; empty or starting with a semicolon.
        hint: String,
    },

    /// A cursor does not belong to these documents and options.
    #[error("data cursor: {problem}")]
    Cursor {
        /// What differs.
        problem: String,
    },
}

/// Where in a file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A line of a text file, from 1.
    Line(u64),
    /// A row of a table, from 1.
    Row(u64),
    /// The table's schema.
    Schema,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
            Self::Schema => write!(f, "schema"),
        }
    }
}

/// `a, b, c` with at most twelve names, for messages.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let mut out = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        out.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    out
}
