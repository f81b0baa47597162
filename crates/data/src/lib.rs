//! Text to token batches: tokenizers, readers, packing and an exactly resumable cursor.
//!
//! Stands between the store (files of text, model directories) and the crates that compute (training, evaluation). The way of
//! a text, one module a station:
//!
//! [`Source`] reads [`Record`]s from plain text, JSON lines and parquet → [`Split`] keeps one side of the held-out split →
//! [`tokenize()`] makes [`Document`]s with the [`Tokenizer`] and its [`ChatTemplate`] → [`Loader`] packs them into batches for
//! training, [`EvaluationBatches`] cuts them into windows for measuring. [`synth`] makes up records of a small world of its own.
//!
//! Invariants: nothing depends on the number of threads, on hash order or on the clock; everything random is a function of a
//! seed and a position; malformed input is an error that names its place, never a panic.

pub mod synth;

mod batch;
mod chat;
mod error;
mod random;
mod record;
mod source;
mod split;
mod tokenize;
mod tokenizer;

pub use batch::{
    Batch, Cursor, EvaluationBatches, EvaluationOptions, IGNORED, Loader, LoaderOptions, PADDING, Padding,
    Piece, ScoredToken,
};
pub use chat::{CHATML, ChatTemplate, ScoredText};
pub use error::{Error, Place, Result};
pub use record::{Message, Record};
pub use source::{Columns, DEFAULT_SEPARATOR, Format, Input, Records, Source, read};
pub use split::{Overlap, Split, overlap};
pub use synth::{Corpus, World, write_corpus};
pub use tokenize::{Document, Overlong, TokenizeOptions, tokenize, tokenize_blocks, tokenize_one};
pub use tokenizer::{SpecialTokens, Tokenizer};
