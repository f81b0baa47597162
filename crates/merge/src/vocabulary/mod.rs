//! Tokenizers: whose goes with the result, and which rows of which model belong to each of its tokens.
//!
//! Stands between [`crate::config`] (what is wanted) and [`crate::plan`]: an [`Alignment`] gives the tokenizer's files and,
//! for every model, a [`RowMap`] that the engine reads embeddings through. Tokenizers are files here, never run.

mod alignment;
mod compare;
mod rows;
mod template;
mod tokenizer;
mod tokens;

pub(crate) use alignment::{Alignment, Vocabulary};
pub(crate) use compare::compare_tokenizers;
pub(crate) use rows::{RowMap, Rows, Run};
pub(crate) use template::{AUTO_TEMPLATE, is_hidden_by_template, set_template, template_names};
pub(crate) use tokenizer::{TOKENIZER_FILES, is_another_form};
pub(crate) use tokens::Tokens;
