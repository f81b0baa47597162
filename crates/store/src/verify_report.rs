//! What a verification is asked and what it answers.

use std::fmt;

use serde::Serialize;

use crate::error::StoreError;

/// How much of an artifact is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names and sizes only.
    Sizes,
    /// Names and sizes of all, and the chunks whose number a seeded choice of so many in a thousand falls on.
    Sample {
        /// Chunks read, in thousandths.
        per_mille: u32,
        /// Another seed reads other chunks.
        seed: u64,
    },
    /// Every byte.
    Full,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Bytes read so far.
    pub bytes: u64,
    /// Bytes that will be read.
    pub total: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Objects in the manifest.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Everything that is wrong, by path and offset.
    pub problems: Vec<Problem>,
    /// Objects at the place that the manifest does not list: harmless, but not part of the artifact.
    pub strays: Vec<String>,
    /// Keys of unfinished publications at the place: what a commit left that was killed, or of a writer that is late.
    /// Harmless; the next publication here removes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<String>,
}

impl VerifyReport {
    /// Is every object what was published (as far as it was read)?
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    /// The first part that could not be read, as an error that may pass: whether it is damaged is not known.
    pub fn unreadable(&self) -> Option<StoreError> {
        self.problems.iter().find_map(|problem| match &problem.kind {
            ProblemKind::Unreadable { reason, .. } => Some(StoreError::Backend {
                action: "read",
                at: problem.path.clone(),
                message: reason.clone(),
                transient: true,
            }),
            _ => None,
        })
    }
}

/// One thing that is wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Path within the artifact.
    pub path: String,
    /// What is wrong.
    #[serde(flatten)]
    pub kind: ProblemKind,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "problem")]
#[non_exhaustive]
pub enum ProblemKind {
    /// It is not there.
    Missing,
    /// It ends too early or goes on past its end.
    Size {
        /// Bytes in the manifest.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// The bytes `start..end` are not those that were published.
    Bytes {
        /// First byte of the chunk.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// Digest in the manifest.
        expected: String,
        /// Digest of what is there.
        found: String,
    },
    /// The bytes `start..end` cannot be read.
    Unreadable {
        /// First byte of the chunk.
        start: u64,
        /// One past its last byte.
        end: u64,
        /// The backend's words.
        reason: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.kind {
            ProblemKind::Missing => write!(f, "{path}: missing"),
            ProblemKind::Size { expected, found } if found < expected => {
                write!(f, "{path}: bytes {found}..{expected} are missing")
            }
            ProblemKind::Size { expected, found } => {
                write!(f, "{path}: bytes {expected}..{found} were not published")
            }
            ProblemKind::Bytes {
                start,
                end,
                expected,
                found,
            } => {
                write!(
                    f,
                    "{path}: bytes {start}..{end} changed (digest {found}, published {expected})"
                )
            }
            ProblemKind::Unreadable { start, end, reason } => {
                write!(f, "{path}: bytes {start}..{end} cannot be read: {reason}")
            }
        }
    }
}

impl Problem {
    /// The first byte concerned.
    pub(crate) fn start(&self) -> u64 {
        match &self.kind {
            ProblemKind::Missing => 0,
            ProblemKind::Size { expected, found } => *expected.min(found),
            ProblemKind::Bytes { start, .. } | ProblemKind::Unreadable { start, .. } => *start,
        }
    }
}
