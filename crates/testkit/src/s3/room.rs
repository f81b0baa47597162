//! Room for what is received, used again when it is deleted: the system clears memory that is new, page by page, which would be a third
//! of what this server does, and no server that writes to a disk does it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Length of a buffer.
const BUFFER: usize = 1 << 20;

/// Buffers that nobody uses.
#[derive(Clone, Default)]
pub(super) struct Room(Arc<Mutex<Vec<Vec<u8>>>>);

impl Room {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        let free = self.free().pop();
        free.unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    fn lend(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent {
            bytes,
            home: self.clone(),
        })
    }
}

struct Lent {
    bytes: Vec<u8>,
    home: Room,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.home.free().push(bytes);
    }
}

/// A body that is arriving.
pub(super) struct Filling {
    room: Room,
    full: Vec<Bytes>,
    current: Vec<u8>,
}

impl Filling {
    pub(super) fn new(room: &Room) -> Filling {
        Filling {
            room: room.clone(),
            full: Vec::new(),
            current: room.take(),
        }
    }

    pub(super) fn add(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            if self.current.len() == BUFFER {
                let full = std::mem::replace(&mut self.current, self.room.take());
                self.full.push(self.room.lend(full));
            }
            let (now, later) = piece.split_at(piece.len().min(BUFFER - self.current.len()));
            self.current.extend_from_slice(now);
            piece = later;
        }
    }

    /// All of it, in order.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.full.push(self.room.lend(self.current));
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_there_and_its_room_is_used_again() {
        let room = Room::default();
        let body: Vec<u8> = (0..3 * BUFFER + 5).map(|at| (at % 251) as u8).collect();
        let receive = || {
            let mut filling = Filling::new(&room);
            body.chunks(400_003).for_each(|piece| filling.add(piece));
            filling.finish()
        };
        let pieces = receive();
        assert!(pieces.concat() == body);
        assert_eq!(pieces.len(), 4);
        drop(pieces);
        assert_eq!(room.free().len(), 4);
        assert!(receive().concat() == body);
    }
}
