//! The batch: rows of equal length with their targets.

use crate::tokenize::Document;

/// The target of a position that is not scored (the convention of PyTorch's cross entropy).
pub const IGNORED: i64 = -100;
/// The segment of padding.
pub const PADDING: u32 = u32::MAX;

/// A stretch of a document in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Index of the document in the list the batch was made from.
    pub document: u32,
    /// First token of the document that is in the row.
    pub offset: u32,
    /// How many tokens of it are in the row.
    pub len: u32,
    /// Column of the row at which it begins.
    pub column: u32,
}

/// Rows of tokens for one forward pass, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Number of rows.
    pub rows: usize,
    /// Length of every row.
    pub len: usize,
    /// `[rows * len]` token ids; padding holds the padding id.
    pub tokens: Vec<u32>,
    /// `[rows * len]` the token to predict at each position, or [`IGNORED`].
    pub targets: Vec<i64>,
    /// `[rows * len]` number of the document inside its row, from 0; [`PADDING`] for padding. Attention stays inside.
    pub segments: Vec<u32>,
    /// `[rows * len]` positions, from 0 in every segment; 0 in padding.
    pub positions: Vec<u32>,
    /// For each row, the pieces in it; the index of a piece is its segment.
    pub documents: Vec<Vec<Piece>>,
}

/// One scored position of a batch and the token it predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoredToken {
    /// Index into [`Batch::targets`].
    pub index: usize,
    /// Index of the document.
    pub document: u32,
    /// Index in the document of the token that is predicted.
    pub token: u32,
}

impl Batch {
    /// Lays out pieces. A position's target is the next token of its document if `scores(piece, token)` allows; `pad` fills.
    pub(super) fn new(
        documents: &[Document],
        rows: Vec<Vec<Piece>>,
        len: usize,
        pad: u32,
        scores: impl Fn(usize, &Piece, usize) -> bool,
    ) -> Self {
        let size = rows.len() * len;
        let mut batch = Self {
            rows: rows.len(),
            len,
            tokens: vec![pad; size],
            targets: vec![IGNORED; size],
            segments: vec![PADDING; size],
            positions: vec![0; size],
            documents: Vec::new(),
        };
        for (row, pieces) in rows.iter().enumerate() {
            for (segment, piece) in pieces.iter().enumerate() {
                let document = &documents[piece.document as usize];
                let at = row * len + piece.column as usize;
                for step in 0..piece.len as usize {
                    let token = piece.offset as usize + step;
                    batch.tokens[at + step] = document.tokens[token];
                    batch.segments[at + step] = segment as u32;
                    batch.positions[at + step] = step as u32;
                    if document.loss.get(token + 1) == Some(&true) && scores(row, piece, token + 1) {
                        batch.targets[at + step] = i64::from(document.tokens[token + 1]);
                    }
                }
            }
        }
        batch.documents = rows;
        batch
    }

    /// How many positions are scored.
    pub fn scored(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORED).count()
    }

    /// How many positions hold tokens rather than padding.
    pub fn filled(&self) -> usize {
        self.documents
            .iter()
            .flatten()
            .map(|piece| piece.len as usize)
            .sum()
    }

    /// The scored positions in order, each with the document and token it is about.
    pub fn scored_tokens(&self) -> impl Iterator<Item = ScoredToken> + '_ {
        self.documents.iter().enumerate().flat_map(move |(row, pieces)| {
            pieces.iter().flat_map(move |piece| {
                let at = row * self.len + piece.column as usize;
                (0..piece.len).filter_map(move |step| {
                    let index = at + step as usize;
                    (self.targets[index] != IGNORED).then_some(ScoredToken {
                        index,
                        document: piece.document,
                        token: piece.offset + step + 1,
                    })
                })
            })
        })
    }
}
