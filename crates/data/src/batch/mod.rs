//! Documents to batches of token rows.
//!
//! `pack` fills rows for training and remembers exactly where it stands; `window` cuts documents for
//! evaluation, where each token is scored once.

mod pack;
mod window;

pub use pack::{Cursor, Loader, LoaderOptions};
pub use window::{Window, evaluation_batches};

/// Target of a token whose successor is not scored.
pub const IGNORED: i64 = -100;
/// Segment of padding.
pub const PADDING: u32 = u32::MAX;

/// Rows of tokens as a decoder takes them; all vectors are `[rows·len]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Sequences.
    pub rows: usize,
    /// Tokens of a sequence.
    pub len: usize,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The token to predict after each token, or [`IGNORED`].
    pub targets: Vec<i64>,
    /// Document number inside the row, or [`PADDING`]. Attention stays inside a segment.
    pub segments: Vec<u32>,
    /// Ids of the documents in the batch, in order of appearance.
    pub documents: Vec<String>,
}

impl Batch {
    /// Tokens with a target.
    pub fn scored(&self) -> usize {
        self.targets.iter().filter(|&&target| target >= 0).count()
    }
}
