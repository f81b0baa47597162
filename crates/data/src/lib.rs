//! Text to token batches: tokenizers, readers, packing and an exactly resumable cursor.
//!
//! Floor 2, no burn. Data flows one way: [`Source`] → [`Record`] → [`tokenize()`] → [`Document`] → batches of
//! token ids for `train` and `evaluate`. Every order and every draw depends on a seed and a counter alone.

mod batch;
mod chat;
mod error;
mod random;
mod record;
mod source;
mod split;
mod tokenize;
mod tokenizer;

pub use batch::{Batch, Cursor, IGNORED, Loader, LoaderOptions, PADDING, Window, evaluation_batches};
pub use chat::{CHATML, ChatTemplate, ScoredText};
pub use error::{Error, Place, Result};
pub use record::{Message, Record};
pub use source::{Columns, Format, Input, Records, Source, read};
pub use split::{Overlap, Split, overlap};
pub use tokenize::{Document, Overlong, TokenizeOptions, tokenize, tokenize_blocks, tokenize_one};
pub use tokenizer::{SpecialTokens, Tokenizer};
