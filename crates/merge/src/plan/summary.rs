//! A plan in figures, for people and for `--json`.

use serde::Serialize;

/// What a merge will do and cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanSummary {
    /// The method.
    pub method: &'static str,
    /// The base model, if there is one.
    pub base: Option<String>,
    /// The models.
    pub models: Vec<String>,
    /// Elements of all merged tensors.
    pub parameters: u64,
    /// Tensors that are merged.
    pub tensors_merged: usize,
    /// Tensors that are copied as they are.
    pub tensors_copied: usize,
    /// Files of tensors that will be written.
    pub shards: usize,
    /// Bytes of tensors that will be read, all passes together.
    pub bytes_to_read: u64,
    /// Bytes of tensor files that will be written.
    pub bytes_to_write: u64,
    /// How often the inputs are read at most: once more if the method must know them all before it combines the first, and
    /// once for each measurement of a tensor that cannot be held in memory meanwhile.
    pub passes: u32,
    /// Bytes that all block buffers together will take at most, with what is held of a tensor between two passes over it.
    pub memory: u64,
    /// Threads that move blocks.
    pub workers: usize,
    /// Elements of a block.
    pub block_elements: usize,
    /// What the user should know.
    pub warnings: Vec<String>,
}
