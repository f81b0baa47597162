//! Inputs of a tensor that stay in memory between its passes.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The inputs' bytes of a whole tensor, block by block, filled by the first pass.
pub(super) struct Held {
    pub(super) blocks: Vec<OnceLock<Vec<Vec<u8>>>>,
    /// What its buffers take.
    pub(super) bytes: u64,
    pool: Arc<Pool>,
}

impl Held {
    pub(super) fn new(blocks: usize, bytes: u64, pool: &Arc<Pool>) -> Held {
        Held {
            blocks: (0..blocks).map(|_| OnceLock::new()).collect(),
            bytes,
            pool: Arc::clone(pool),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let buffers = self.blocks.drain(..).filter_map(OnceLock::into_inner).flatten();
        self.pool.free().extend(buffers);
    }
}

/// Buffers of one size, made when first wanted and kept to the end: taking one costs far less than new memory does, and no
/// more of them come into being than were held at one time.
pub(super) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
    buffer: usize,
}

impl Pool {
    /// Of buffers of so many bytes.
    pub(super) fn new(buffer: usize) -> Pool {
        Pool {
            free: Mutex::default(),
            buffer,
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` bytes of any content.
    pub(super) fn take(&self, len: usize) -> Vec<u8> {
        let free = self.free().pop();
        let mut buffer = free.unwrap_or_else(|| Vec::with_capacity(self.buffer.max(len)));
        buffer.resize(len, 0);
        buffer
    }
}
