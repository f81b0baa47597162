//! GGUF: llama.cpp's container of a model, its tokenizer and its quantised tensors (versions 2 and 3).
//!
//! [`file`] reads and checks the container, [`blocks`] turns quantised blocks into f32, [`llama`] makes a
//! Hugging Face model of it, [`vocabulary`] its tokenizer.

mod blocks;
mod file;
mod llama;
mod vocabulary;

pub use file::{Gguf, GgufTensor, MetadataValue, QuantType};
pub(crate) use llama::GgufModel;
