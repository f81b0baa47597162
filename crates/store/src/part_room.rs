//! Room for the parts of uploads that is used again: the system clears memory that is new, page by page, which takes longer than the
//! copying.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Most buffers kept while nobody uses them: what one object has on its way, and one that is being filled.
const KEPT: usize = 5;
/// Smaller ones are not worth keeping, and would drive the others out.
const WORTHWHILE: usize = 256 << 10;

/// Buffers that parts gave back.
static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn free() -> MutexGuard<'static, Vec<Vec<u8>>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer of `len` bytes, whatever they are.
pub(crate) fn take(len: usize) -> Vec<u8> {
    let mut free = free();
    let fitting = free.iter().rposition(|buffer| buffer.len() == len);
    match fitting {
        Some(at) => free.swap_remove(at),
        None => vec![0; len],
    }
}

/// The first `len` bytes of a part; their room is free again when nobody holds them any more.
pub(crate) fn lend(part: Vec<u8>, len: usize) -> Bytes {
    Bytes::from_owner(Lent { part, len })
}

struct Lent {
    part: Vec<u8>,
    len: usize,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.part[..self.len]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.part);
        if buffer.len() < WORTHWHILE {
            return;
        }
        let mut free = free();
        // The oldest goes: the latest is the one that is wanted again.
        if free.len() == KEPT {
            free.remove(0);
        }
        free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_again_once_nobody_holds_its_bytes() {
        // A length that no other test has.
        const LEN: usize = 300_007;
        let mut part = take(LEN);
        part.fill(7);
        let place = part.as_ptr();
        let bytes = lend(part, LEN - 3);
        assert_eq!(bytes.len(), LEN - 3);
        let slice = bytes.slice(5..9);
        drop(bytes);
        let other = take(LEN);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(slice, [7; 4][..]);
        drop(slice);
        let again = take(LEN);
        assert_eq!((again.as_ptr(), again.len()), (place, LEN));
    }
}
