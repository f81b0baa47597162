//! What does not change a merge's result.

use crate::portion::Portion;

/// Files of this size are what a merge that is killed loses at most, and what processes share.
const SHARD_BYTES: u64 = 1_000_000_000;

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
    /// Which of several processes this is, each of which makes some of the files.
    pub portion: Portion,
}

impl Default for MergeOptions {
    fn default() -> Self {
        MergeOptions {
            memory: 256 << 20,
            threads: None,
            max_shard_bytes: SHARD_BYTES,
            diagnostics: true,
            portion: Portion::WHOLE,
        }
    }
}
