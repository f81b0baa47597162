//! Packing for training: an endless stream of rows over shuffled documents, resumable at any row.
//!
//! The order of documents in an epoch is a permutation drawn from (seed, epoch); rows are filled from that
//! order front to back, a document that does not fit being cut and continued in the next row as a segment of
//! its own (its first token there is context: the cut costs no scored token). Rows are numbered; with several
//! data-parallel workers, worker `rank` of `world` takes the rows `rank`, `rank + world`, …

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Batch, IGNORED, PADDING};
use crate::error::{Error, Result};
use crate::random::Draws;
use crate::tokenize::Document;

/// How rows are made.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Rows of a batch of this worker.
    pub rows: usize,
    /// Tokens of a row.
    pub len: usize,
    /// Seed of the order.
    pub seed: u64,
    /// Whether epochs are shuffled.
    pub shuffle: bool,
    /// Whether several documents share a row; otherwise each starts a row and the rest is padding.
    pub pack: bool,
    /// This worker.
    pub rank: usize,
    /// All workers.
    pub world: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self { rows: 8, len: 512, seed: 0, shuffle: true, pack: true, rank: 0, world: 1 }
    }
}

/// Where a loader stands: the next token that goes into a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Epoch, counted from 0.
    pub epoch: u64,
    /// Documents of the epoch that are used up.
    pub document: u64,
    /// Tokens of the next document that are used up.
    pub token: u64,
    /// Rows made by all workers together.
    pub row: u64,
}

/// An endless, deterministic stream of batches.
#[derive(Clone, Debug)]
pub struct Loader {
    documents: Arc<Vec<Document>>,
    options: LoaderOptions,
    cursor: Cursor,
    /// Epoch and its order, kept between rows.
    order: Option<(u64, Vec<u32>)>,
}

impl Loader {
    /// A loader at its beginning.
    ///
    /// # Errors
    /// [`Error::NothingToScore`] without documents to predict anything from, [`Error::Option`] for sizes of 0.
    pub fn new(documents: Arc<Vec<Document>>, options: LoaderOptions) -> Result<Self> {
        let fault = |option: &'static str, problem: &str| Err(Error::Option { option, problem: problem.to_owned() });
        if options.rows == 0 || options.len < 2 {
            return fault("rows and len", "a batch needs at least one row of two tokens");
        }
        if options.world == 0 || options.rank >= options.world {
            return fault("rank", "it must be below the number of workers");
        }
        if !documents.iter().any(|document| document.tokens.len() > 1) {
            return Err(Error::NothingToScore { documents: documents.len(), hint: String::new() });
        }
        Ok(Self { documents, options, cursor: Cursor::default(), order: None })
    }

    /// Where the next batch begins.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes to a cursor of a loader with the same documents and options.
    ///
    /// # Errors
    /// [`Error::Cursor`] if the cursor cannot be of this data.
    pub fn seek(&mut self, cursor: Cursor) -> Result<()> {
        let inside = cursor.document <= self.documents.len() as u64
            && self.tokens_at(cursor).is_none_or(|tokens| cursor.token < tokens.max(1) as u64);
        if !inside {
            let problem = format!("{cursor:?} does not lie in {} documents: the data has changed", self.documents.len());
            return Err(Error::Cursor { problem });
        }
        self.cursor = cursor;
        Ok(())
    }

    fn tokens_at(&mut self, cursor: Cursor) -> Option<usize> {
        let index = *self.order(cursor.epoch).get(cursor.document as usize)?;
        Some(self.documents[index as usize].tokens.len())
    }

    fn order(&mut self, epoch: u64) -> &[u32] {
        let Self { documents, options, order, .. } = self;
        if order.as_ref().is_none_or(|(held, _)| *held != epoch) {
            let mut indices: Vec<u32> = (0..documents.len() as u32).collect();
            if options.shuffle {
                Draws::new(&[options.seed, epoch]).shuffle(&mut indices);
            }
            *order = Some((epoch, indices));
        }
        order.as_ref().map_or(&[], |(_, indices)| indices)
    }

    /// The next batch of this worker.
    pub fn next_batch(&mut self) -> Batch {
        let LoaderOptions { rows, len, rank, world, .. } = self.options;
        let mut batch = Batch { rows, len, ..Batch::default() };
        while batch.tokens.len() < rows * len {
            let mine = self.cursor.row % world as u64 == rank as u64;
            self.fill_row(if mine { Some(&mut batch) } else { None });
            self.cursor.row += 1;
        }
        batch
    }

    /// Makes the next row, into `batch` or for another worker.
    fn fill_row(&mut self, mut batch: Option<&mut Batch>) {
        let len = self.options.len;
        let mut filled = 0;
        let mut segment = 0;
        while filled < len {
            if self.cursor.document as usize == self.documents.len() {
                self.cursor.epoch += 1;
                self.cursor.document = 0;
            }
            let (epoch, at) = (self.cursor.epoch, self.cursor.document as usize);
            let index = self.order(epoch)[at] as usize;
            let document = &self.documents[index];
            let start = self.cursor.token as usize;
            let left = document.tokens.len().saturating_sub(start);
            // One token alone predicts nothing, so a document ends with the row that holds its last but one.
            if left < 2 {
                self.cursor.document += 1;
                self.cursor.token = 0;
                continue;
            }
            if len - filled < 2 {
                break;
            }
            let taken = left.min(len - filled);
            if let Some(batch) = batch.as_deref_mut() {
                append(batch, document, start, taken, segment);
            }
            filled += taken;
            segment += 1;
            if taken == left {
                self.cursor.document += 1;
                self.cursor.token = 0;
            } else {
                // The last token of a piece has no target inside it: it is repeated as the next piece's context.
                self.cursor.token += taken as u64 - 1;
            }
            if !self.options.pack {
                break;
            }
        }
        if let Some(batch) = batch {
            let missing = len - filled;
            batch.tokens.extend(std::iter::repeat_n(0, missing));
            batch.targets.extend(std::iter::repeat_n(IGNORED, missing));
            batch.segments.extend(std::iter::repeat_n(PADDING, missing));
        }
    }
}

fn append(batch: &mut Batch, document: &Document, start: usize, taken: usize, segment: u32) {
    batch.tokens.extend_from_slice(&document.tokens[start..start + taken]);
    batch.targets.extend((start + 1..=start + taken).map(|next| {
        if next < start + taken && document.loss[next] { i64::from(document.tokens[next]) } else { IGNORED }
    }));
    batch.segments.extend(std::iter::repeat_n(segment, taken));
    batch.documents.push(document.id.clone());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn documents(lengths: &[usize]) -> Arc<Vec<Document>> {
        let document = |(index, &len): (usize, &usize)| Document {
            tokens: (0..len).map(|at| (index * 1000 + at) as u32).collect(),
            loss: vec![true; len],
            id: index.to_string(),
            part: 0,
        };
        Arc::new(lengths.iter().enumerate().map(document).collect())
    }

    proptest! {
        #[test]
        fn resuming_anywhere_gives_the_same_batches(
            lengths in prop::collection::vec(1usize..40, 1..20),
            rows in 1usize..4,
            len in 2usize..30,
            split in 0usize..12,
            pack: bool,
            shuffle: bool,
        ) {
            prop_assume!(lengths.iter().any(|len| *len > 1));
            let documents = documents(&lengths);
            let options = LoaderOptions { rows, len, seed: 5, shuffle, pack, ..Default::default() };
            let mut straight = Loader::new(documents.clone(), options.clone()).unwrap();
            let mut first = straight.clone();
            for _ in 0..split {
                prop_assert_eq!(straight.next_batch(), first.next_batch());
            }
            let cursor: Cursor = serde_json::from_str(&serde_json::to_string(&first.cursor()).unwrap()).unwrap();
            let mut second = Loader::new(documents, options).unwrap();
            second.seek(cursor).unwrap();
            for _ in 0..6 {
                prop_assert_eq!(straight.next_batch(), second.next_batch());
            }
        }

        #[test]
        fn an_epoch_scores_every_token_but_the_first_of_a_document_once(
            lengths in prop::collection::vec(1usize..40, 1..20),
            len in 2usize..30,
            pack: bool,
        ) {
            prop_assume!(lengths.iter().any(|len| *len > 1));
            let options = LoaderOptions { rows: 1, len, pack, ..Default::default() };
            let mut loader = Loader::new(documents(&lengths), options).unwrap();
            let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
            let target: usize = lengths.iter().map(|len| len - 1).sum();
            let mut count = 0;
            while count < target {
                let batch = loader.next_batch();
                for (at, target) in batch.targets.iter().enumerate().filter(|(_, target)| **target >= 0) {
                    prop_assert_eq!(i64::from(batch.tokens[at]) + 1, *target);
                    if count < lengths.iter().map(|len| len - 1).sum() {
                        *seen.entry(*target).or_default() += 1;
                        count += 1;
                    }
                }
            }
            prop_assert!(seen.values().all(|times| *times == 1));
            prop_assert_eq!(seen.len(), target);
        }

        #[test]
        fn workers_share_the_rows_of_one(
            lengths in prop::collection::vec(2usize..40, 1..20),
            world in 1usize..=8,
            len in 2usize..30,
        ) {
            let documents = documents(&lengths);
            let options = LoaderOptions { rows: 1, len, seed: 1, ..Default::default() };
            let mut all = Loader::new(documents.clone(), options.clone()).unwrap();
            let mut workers: Vec<Loader> = (0..world)
                .map(|rank| Loader::new(documents.clone(), LoaderOptions { rank, world, ..options.clone() }).unwrap())
                .collect();
            for row in 0..3 * world {
                prop_assert_eq!(all.next_batch(), workers[row % world].next_batch());
            }
        }
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        let mut loader = Loader::new(documents(&[5, 5]), LoaderOptions::default()).unwrap();
        assert!(loader.seek(Cursor { document: 3, ..Cursor::default() }).is_err());
        assert!(loader.seek(Cursor { document: 1, token: 9, ..Cursor::default() }).is_err());
        assert!(Loader::new(documents(&[1, 1]), LoaderOptions::default()).is_err());
    }
}
