//! GGUF: llama.cpp's container of a model, its tokenizer and its quantised tensors (versions 2 and 3).
//!
//! [`file`] reads and checks the container with [`cursor`] and [`metadata`]; [`kind`] and [`blocks`] know how values
//! are stored and turn them into f32; [`llama`] makes a Hugging Face model of it, [`rotary`] its rotary scaling,
//! [`vocabulary`] its tokenizer, whose text is cut as [`split`] says.

mod blocks;
mod cursor;
mod file;
mod kind;
mod llama;
mod metadata;
mod rotary;
mod split;
mod vocabulary;

pub use file::{Gguf, GgufTensor};
pub use kind::QuantType;
pub(crate) use llama::GgufModel;
pub use metadata::{Metadata, MetadataValue};
