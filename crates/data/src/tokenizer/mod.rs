//! Text to token ids and back.
//!
//! `model` holds the [`Tokenizer`] itself, `special` finds out from a model directory's JSON files which tokens have a
//! role, `training` and `merges` learn a byte-level BPE from text. Chat templates are in [`crate::chat`].

mod merges;
mod model;
mod special;
mod training;

pub use model::Tokenizer;
pub use special::SpecialTokens;
