//! What does not change a merge's result.

use tributary_tensorfile::DEFAULT_SHARD_BYTES;

/// What does not change the result, only how it is made and cut into files.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeOptions {
    /// Bytes that all block buffers together may take, whatever the number and size of the models.
    pub memory: u64,
    /// Threads; by default as many as there are cores.
    pub threads: Option<usize>,
    /// Largest file of tensors written, in bytes.
    pub max_shard_bytes: u64,
    /// Measure the task vectors (norms, cosines) even if the method does not need them, where the models and the base
    /// are read anyway.
    pub diagnostics: bool,
}

impl Default for MergeOptions {
    fn default() -> Self {
        MergeOptions {
            memory: 256 << 20,
            threads: None,
            max_shard_bytes: DEFAULT_SHARD_BYTES,
            diagnostics: true,
        }
    }
}
