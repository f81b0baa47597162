//! The endless stream of training batches, and where in it a run is.
//!
//! The stream is a sequence of rows: those of epoch 0 in its order, then those of epoch 1, and so on. A batch is the next few
//! rows; one may reach over the end of an epoch, so every batch has the same number of rows. The position is therefore two
//! numbers, and since each epoch's plan is a function of (documents, options, epoch), going to a position needs no history:
//! reading on after [`Loader::seek`] gives exactly what an uninterrupted run would have read.
//!
//! With `world` ranks a global batch is the next `world * rows` rows, of which rank `r` gets the `r`-th share. All ranks have
//! the same cursor, and it counts global rows: a run may resume on another number of ranks and misses or repeats none.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::plan::{Plan, PlanOptions};
use super::shape::{Batch, Piece};
use crate::error::{Error, Result};
use crate::tokenize::Document;

/// How long the rows of a batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Always `len`.
    #[default]
    Full,
    /// As long as the longest row of the batch needs.
    Longest,
}

/// What batches to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Rows of a batch (on each rank).
    pub rows: usize,
    /// Tokens of a row; longer documents continue in other rows.
    pub len: usize,
    /// Seed of the order.
    pub seed: u64,
    /// Whether each epoch has an order of its own; else documents come as given.
    pub shuffle: bool,
    /// Whether rows hold several documents; else one each.
    pub pack: bool,
    /// How rows are padded.
    pub padding: Padding,
    /// Token id in padding; see [`crate::Tokenizer::pad`].
    pub pad: u32,
}

impl LoaderOptions {
    /// Packed, shuffled rows of full length.
    pub fn packed(rows: usize, len: usize, seed: u64) -> Self {
        Self {
            rows,
            len,
            seed,
            shuffle: true,
            pack: true,
            padding: Padding::Full,
            pad: 0,
        }
    }
}

/// A position in the stream of rows: everything a checkpoint needs to remember of the data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The epoch the next row is in, from 0.
    pub epoch: u64,
    /// Rows of that epoch already given out, over all ranks.
    pub row: u64,
    /// Digest of the documents and of the options that decide the order. [`Loader::seek`] refuses another one's cursor.
    pub data: String,
}

/// Gives out training batches for ever.
#[derive(Debug, Clone)]
pub struct Loader {
    documents: Arc<Vec<Document>>,
    options: LoaderOptions,
    rank: usize,
    world: usize,
    epoch: u64,
    row: usize,
    plan: Plan,
    data: String,
}

impl Loader {
    /// A loader at the beginning of epoch 0, for one rank of one.
    ///
    /// # Errors
    /// If an option is 0 that must not be, or no document has anything to score.
    pub fn new(documents: Arc<Vec<Document>>, options: LoaderOptions) -> Result<Self> {
        for (option, value) in [("rows", options.rows), ("len", options.len)] {
            if value == 0 || value > u32::MAX as usize {
                return Err(Error::Option {
                    option,
                    problem: format!("{value} is not in 1..=4294967295"),
                });
            }
        }
        if documents.len() > u32::MAX as usize
            || documents
                .iter()
                .any(|document| document.tokens.len() > u32::MAX as usize)
        {
            let problem = "more than 4294967295 documents, or tokens in one document".to_owned();
            return Err(Error::Option {
                option: "documents",
                problem,
            });
        }
        let plan = Plan::new(&documents, plan_options(&options), 0);
        if plan.rows() == 0 {
            let hint = if documents.is_empty() {
                "; the data are empty, or the held-out split took all of them"
            } else {
                "; with loss on completions only, is every completion empty?"
            };
            return Err(Error::NothingToScore {
                documents: documents.len(),
                hint: hint.to_owned(),
            });
        }
        let data = fingerprint(&documents, &options);
        Ok(Self {
            documents,
            options,
            rank: 0,
            world: 1,
            epoch: 0,
            row: 0,
            plan,
            data,
        })
    }

    /// The same stream and position for rank `rank` of `world`.
    pub fn shard(mut self, rank: usize, world: usize) -> Result<Self> {
        if rank >= world {
            return Err(Error::Option {
                option: "shard",
                problem: format!("rank {rank} is not in 0..{world}"),
            });
        }
        (self.rank, self.world) = (rank, world);
        Ok(self)
    }

    /// The next batch; there is always one.
    pub fn next_batch(&mut self) -> Batch {
        let mine = self.rank * self.options.rows..(self.rank + 1) * self.options.rows;
        let mut rows: Vec<Vec<Piece>> = Vec::with_capacity(self.options.rows);
        for index in 0..self.world * self.options.rows {
            if self.row == self.plan.rows() {
                self.enter(self.epoch + 1);
            }
            if mine.contains(&index) {
                rows.push(self.plan.row(self.row).to_vec());
            }
            self.row += 1;
        }
        if self.row == self.plan.rows() {
            self.enter(self.epoch + 1);
        }
        let used = rows
            .iter()
            .flatten()
            .map(|piece| (piece.column + piece.len) as usize)
            .max()
            .unwrap_or(1);
        let len = match self.options.padding {
            Padding::Full => self.options.len,
            Padding::Longest => used,
        };
        Batch::new(&self.documents, rows, len, self.options.pad, |_, _, _| true)
    }

    fn enter(&mut self, epoch: u64) {
        self.plan = Plan::new(&self.documents, plan_options(&self.options), epoch);
        (self.epoch, self.row) = (epoch, 0);
    }

    /// Where the next batch begins.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            row: self.row as u64,
            data: self.data.clone(),
        }
    }

    /// Goes to a cursor taken from a loader of the same documents and options (the number of rows and of ranks may differ).
    ///
    /// # Errors
    /// If the cursor was taken from other data or another order, or points past its epoch.
    pub fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        if cursor.data != self.data {
            let problem = format!(
                "it was taken from other data or another order ({}, here {}): documents, row length, packing, shuffling and \
                 seed must be as they were",
                cursor.data, self.data
            );
            return Err(Error::Cursor { problem });
        }
        if cursor.epoch != self.epoch {
            self.enter(cursor.epoch);
        }
        match usize::try_from(cursor.row) {
            Ok(row) if row < self.plan.rows() => self.row = row,
            _ => {
                let problem = format!(
                    "row {} is past the {} rows of epoch {}",
                    cursor.row,
                    self.plan.rows(),
                    cursor.epoch
                );
                return Err(Error::Cursor { problem });
            }
        }
        Ok(())
    }

    /// Rows of the present epoch (epochs may differ by a few, as documents fit together differently).
    pub fn rows_in_epoch(&self) -> usize {
        self.plan.rows()
    }

    /// Share of the present epoch's rows that holds tokens rather than padding, `0..=1`, if rows are padded fully.
    pub fn filled(&self) -> f64 {
        self.plan.tokens() as f64 / (self.plan.rows() * self.options.len) as f64
    }

    /// How far the stream is, in epochs: 1.5 is in the middle of the second.
    pub fn epochs(&self) -> f64 {
        self.epoch as f64 + self.row as f64 / self.plan.rows() as f64
    }

    /// What batches it makes.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// The documents given out.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }
}

fn plan_options(options: &LoaderOptions) -> PlanOptions {
    PlanOptions {
        len: options.len,
        seed: options.seed,
        shuffle: options.shuffle,
        pack: options.pack,
    }
}

/// Digest of what decides the stream of rows: 16 hexadecimal digits.
fn fingerprint(documents: &[Document], options: &LoaderOptions) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("rows 2 {:?}", plan_options(options)).as_bytes());
    for document in documents {
        hasher.update(&(document.id.len() as u64).to_le_bytes());
        hasher.update(document.id.as_bytes());
        hasher.update(&document.part.to_le_bytes());
        hasher.update(&(document.tokens.len() as u64).to_le_bytes());
        // What counts towards the loss: pieces without any are left out.
        let loss: Vec<u8> = document.loss.iter().map(|counts| u8::from(*counts)).collect();
        hasher.update(&loss);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
