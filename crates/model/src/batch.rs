//! A batch of token rows as the decoder takes it.

use std::sync::Arc;

use crate::error::{ModelError, Result};

/// `rows` sequences of `len` tokens, packed with one or more documents each.
#[derive(Clone, Debug)]
pub struct TokenBatch {
    /// Sequences.
    pub rows: usize,
    /// Tokens of a sequence.
    pub len: usize,
    /// `[rows·len]` token ids.
    pub tokens: Arc<[u32]>,
    /// `[rows·len]` position of each token inside its document.
    pub positions: Vec<u32>,
    /// `[rows·len]` index within its row of the first token of its document.
    pub first: Vec<u32>,
    /// `[rows·len]` the token to predict after this one; below 0: not scored.
    pub targets: Arc<[i64]>,
}

impl TokenBatch {
    /// Rows of packed documents: a document is a run of equal `segments` inside a row.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the lengths disagree.
    pub fn packed(
        rows: usize,
        len: usize,
        tokens: Vec<u32>,
        segments: &[u32],
        targets: Vec<i64>,
    ) -> Result<Self> {
        let count = rows * len;
        if tokens.len() != count || segments.len() != count || targets.len() != count {
            return Err(ModelError::Input(format!(
                "a batch of {rows}×{len} with {} tokens, {} segments and {} targets",
                tokens.len(),
                segments.len(),
                targets.len()
            )));
        }
        let (mut positions, mut first) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for row in segments.chunks(len.max(1)) {
            let mut start = 0;
            for (at, segment) in row.iter().enumerate() {
                if at > 0 && row[at - 1] != *segment {
                    start = at;
                }
                first.push(start as u32);
                positions.push((at - start) as u32);
            }
        }
        Ok(Self {
            rows,
            len,
            tokens: tokens.into(),
            positions,
            first,
            targets: targets.into(),
        })
    }

    /// One document whose tokens each predict the next.
    pub fn document(tokens: &[u32]) -> Self {
        let len = tokens.len();
        let targets = tokens
            .iter()
            .skip(1)
            .map(|&token| i64::from(token))
            .chain([-100])
            .take(len)
            .collect();
        Self {
            rows: 1,
            len,
            tokens: tokens.into(),
            positions: (0..len as u32).collect(),
            first: vec![0; len],
            targets,
        }
    }

    /// Tokens with a target.
    pub fn scored(&self) -> usize {
        self.targets.iter().filter(|&&target| target >= 0).count()
    }

    /// Checks ids against a vocabulary.
    ///
    /// # Errors
    /// [`ModelError::Input`] naming the first id outside it.
    pub fn check(&self, vocab_size: usize) -> Result<()> {
        let outside = |id: &i64| *id >= vocab_size as i64;
        let token = self.tokens.iter().map(|&token| i64::from(token)).find(outside);
        match token.or_else(|| self.targets.iter().copied().find(outside)) {
            None => Ok(()),
            Some(id) => Err(ModelError::Input(format!(
                "token {id} is outside the model's vocabulary of {vocab_size}: the data was tokenised for another model"
            ))),
        }
    }
}
