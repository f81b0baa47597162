//! BLAKE3 of an object and of each of its chunks, from leaves that may be hashed in any order.
//!
//! BLAKE3 is a tree over 1 KiB blocks, so an aligned power-of-two range of the input is a subtree whose *chaining
//! value* can be computed alone. Objects are hashed in leaves of 8 MiB on whatever thread has the bytes; the values
//! are then joined into chunks of 16 MiB and into the root. Hence, of an object:
//!
//! * `blake3` is the ordinary BLAKE3 digest of all its bytes (`b3sum FILE` prints the same);
//! * `chunks[i]` is the chaining value of bytes `i * 16 MiB ..`, or the digest itself when there is only one chunk;
//!   it depends on `i`, so chunks cannot be exchanged, and the digest follows from the chunks alone.

use std::fmt;

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Bytes covered by one entry of `chunks` in a manifest.
pub const CHUNK_BYTES: u64 = 16 << 20;
/// Bytes hashed as one piece of work; also the smallest part of a multipart upload.
pub(crate) const LEAF_BYTES: u64 = CHUNK_BYTES / 2;

/// A BLAKE3 digest or chaining value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The ordinary BLAKE3 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> String {
        blake3::Hash::from(self.0).to_hex().to_string()
    }

    /// Reads what [`Digest::to_hex`] wrote; `None` for anything else, upper case included.
    pub fn from_hex(text: &str) -> Option<Digest> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        blake3::Hash::from_hex(text)
            .ok()
            .map(|hash| Digest(*hash.as_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Hashes one aligned piece of an object: a leaf or a chunk.
pub(crate) struct PieceHasher {
    hasher: Hasher,
    offset: u64,
}

/// The hash of a piece: as part of a larger object, and (only for the first piece) as the whole object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PieceDigest {
    pub(crate) inner: Digest,
    pub(crate) alone: Digest,
}

impl PieceHasher {
    /// `offset` of the piece's first byte in its object: a multiple of the piece's (power of two) size.
    pub(crate) fn new(offset: u64) -> PieceHasher {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(offset);
        PieceHasher { hasher, offset }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The piece must have had at least one byte.
    pub(crate) fn finish(&self) -> PieceDigest {
        let inner = Digest(self.hasher.finalize_non_root());
        // A root can only be taken at offset zero; elsewhere it has no meaning and is never asked for.
        let alone = if self.offset == 0 {
            Digest(*self.hasher.finalize().as_bytes())
        } else {
            inner
        };
        PieceDigest { inner, alone }
    }

    pub(crate) fn of(offset: u64, bytes: &[u8]) -> PieceDigest {
        let mut hasher = PieceHasher::new(offset);
        hasher.update(bytes);
        hasher.finish()
    }
}

/// Digest and chunk values of an object from the hashes of its leaves, in order.
pub(crate) fn from_leaves(leaves: &[PieceDigest]) -> (Digest, Vec<Digest>) {
    match leaves {
        [] => (Digest::of(b""), Vec::new()),
        [only] => (only.alone, vec![only.alone]),
        [left, right] => {
            let root = join_root(left.inner, right.inner);
            (root, vec![root])
        }
        _ => {
            let chunks: Vec<Digest> = leaves
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => join(left.inner, right.inner),
                    other => other[0].inner,
                })
                .collect();
            (from_chunks(&chunks), chunks)
        }
    }
}

/// Digest of an object from its chunk values, in order.
pub(crate) fn from_chunks(chunks: &[Digest]) -> Digest {
    match chunks {
        [] => Digest::of(b""),
        [only] => *only,
        _ => {
            let (left, right) = chunks.split_at(left_count(chunks.len()));
            join_root(subtree(left), subtree(right))
        }
    }
}

fn subtree(chunks: &[Digest]) -> Digest {
    if let [only] = chunks {
        return *only;
    }
    let (left, right) = chunks.split_at(left_count(chunks.len()));
    join(subtree(left), subtree(right))
}

/// The largest power of two below `count` (which is at least 2): BLAKE3's rule for the left subtree.
fn left_count(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn join(left: Digest, right: Digest) -> Digest {
    Digest(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash))
}

fn join_root(left: Digest, right: Digest) -> Digest {
    Digest(*merge_subtrees_root(&left.0, &right.0, Mode::Hash).as_bytes())
}

/// How many pieces of `piece` bytes an object of `size` bytes has.
pub(crate) fn pieces(size: u64, piece: u64) -> u64 {
    size.div_ceil(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect()
    }

    #[test]
    fn leaves_and_chunks_give_the_ordinary_digest() {
        let leaf = LEAF_BYTES as usize;
        for len in [
            0,
            1,
            1023,
            1024,
            1025,
            leaf - 1,
            leaf,
            leaf + 1,
            2 * leaf,
            2 * leaf + 1,
            3 * leaf,
            5 * leaf + 77,
            8 * leaf,
        ] {
            let bytes = pattern(len);
            let leaves: Vec<_> = bytes
                .chunks(leaf)
                .enumerate()
                .map(|(i, piece)| PieceHasher::of((i * leaf) as u64, piece))
                .collect();
            let (digest, chunks) = from_leaves(&leaves);
            assert_eq!(digest, Digest::of(&bytes), "{len} bytes");
            assert_eq!(chunks.len() as u64, pieces(len as u64, CHUNK_BYTES));
            assert_eq!(from_chunks(&chunks), digest);
            for (i, piece) in bytes.chunks(2 * leaf).enumerate() {
                let piece = PieceHasher::of((i * 2 * leaf) as u64, piece);
                assert_eq!(
                    chunks[i],
                    if chunks.len() == 1 {
                        piece.alone
                    } else {
                        piece.inner
                    }
                );
            }
        }
    }

    #[test]
    fn hexadecimal_round_trip() {
        let digest = Digest::of(b"x");
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        assert_eq!(Digest::from_hex(&digest.to_hex().to_uppercase()), None);
        assert_eq!(Digest::from_hex("00"), None);
    }
}
