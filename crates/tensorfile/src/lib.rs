//! Tensor files: safetensors, GGUF and llama2.c, read by range and written shard by shard.
//!
//! Floor 0 of the house: it knows bytes, element types and file formats, and neither async, burn nor the
//! network. Storage comes in through two traits, [`ReadAt`] (bytes at an offset) and [`Directory`] (files
//! by plain name), which the store implements for remote objects and this crate for local files.
//!
//! Invariants: a header is checked completely before anything is allocated in proportion to a number found
//! in it; a bad file is a [`TensorFileError`] naming file, tensor and offset, never a panic; tensors move
//! one at a time or in blocks, so memory is bounded by one tensor.

mod checkpoint;
mod convert;
mod directory;
mod dtype;
mod error;
mod foreign;
pub mod gguf;
mod header;
mod json_values;
mod layout;
mod llama2c;
mod read_at;
mod sentencepiece;
mod tokenizer_files;
mod unique_map;

pub use checkpoint::{Checkpoint, INDEX_FILE, SINGLE_FILE, Shard, TensorInfo};
pub use convert::{from_f32, round_to_bf16, to_f32};
pub use directory::{Directory, LocalDirectory, check_file_name};
pub use dtype::DType;
pub use error::{Result, TensorFileError, printable};
pub use foreign::Foreign;
pub use header::{Entry, Header, MAX_HEADER_BYTES, header_length, parse_header, read_header};
pub use json_values::count_json_values;
pub use layout::{DEFAULT_SHARD_BYTES, ModelLayout, PlacedTensor, ShardLayout, TensorSpec, write_model};
pub use read_at::{MappedFile, ReadAt};
