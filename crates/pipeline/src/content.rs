//! Digests of files that belong to no artifact, remembered so that large ones are read once.
//!
//! A digest is the BLAKE3 of a file's bytes; a folder's is the BLAKE3 of its sorted list of names and digests. Local
//! files are remembered by path, size and time of last change in `cache/digests.json` of a local store. Invariants:
//! the memory may be deleted at any time; a file that changed within the last seconds is not
//! remembered, because a second change could leave size and time as they are.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tributary_store::{ObjectMeta, Store, StoreError};

/// Where digests are remembered in a local store.
pub(crate) const DIGESTS: &str = "cache/digests.json";
/// Bytes hashed at once from a remote object.
const BLOCK: usize = 8 << 20;
/// Younger files are not remembered.
const SETTLED: Duration = Duration::from_secs(2);

/// What is remembered of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    size: u64,
    /// Nanoseconds since 1970.
    modified: u128,
    blake3: String,
}

/// Digests of outside files, with their memory.
#[derive(Debug)]
pub(crate) struct ContentDigests {
    store: Option<Store>,
    known: Mutex<BTreeMap<String, Remembered>>,
    before: BTreeMap<String, Remembered>,
}

impl ContentDigests {
    /// Starts with what the store remembers; an unreadable memory is an empty one.
    pub(crate) fn open(store: &Store) -> Self {
        let store = store.local_path().map(|_| store.clone());
        let bytes = store.as_ref().and_then(|store| store.get(DIGESTS).ok());
        let before: BTreeMap<String, Remembered> = bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        ContentDigests {
            store,
            known: Mutex::new(before.clone()),
            before,
        }
    }

    /// Starts with nothing and remembers nothing.
    pub(crate) fn forgetful() -> Self {
        ContentDigests {
            store: None,
            known: Mutex::default(),
            before: BTreeMap::new(),
        }
    }

    /// Writes what was learnt. Failing to is no failure: the files are hashed again next time.
    pub(crate) fn save(&self) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(store) = self.store.as_ref().filter(|_| *known != self.before) else {
            return;
        };
        let written = serde_json::to_vec_pretty(&*known).map(|bytes| store.put(DIGESTS, bytes));
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!(
                "digests of outside files could not be remembered in {}",
                store.url()
            );
        }
    }

    /// Digest of one file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn file(&self, folder: &Store, path: &str) -> Result<String, StoreError> {
        let mark = folder.local_path().and_then(|root| {
            let place = root.join(path);
            let metadata = std::fs::metadata(&place).ok()?;
            let modified = metadata.modified().ok()?;
            let since = modified.duration_since(UNIX_EPOCH).ok()?.as_nanos();
            Some((
                place.to_string_lossy().into_owned(),
                metadata.len(),
                since,
                modified,
            ))
        });
        if let Some((place, size, modified, _)) = &mark {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let found = known
                .get(place)
                .filter(|known| known.size == *size && known.modified == *modified);
            if let Some(found) = found {
                return Ok(found.blake3.clone());
            }
        }
        // Asked before the file is read: a change during a long read must not look settled after it.
        let begun = SystemTime::now();
        let blake3 = hash(folder, path)?;
        if let Some((place, size, since, modified)) = mark
            && begun.duration_since(modified).is_ok_and(|age| age > SETTLED)
        {
            let remembered = Remembered {
                size,
                modified: since,
                blake3: blake3.clone(),
            };
            self.known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(place, remembered);
        }
        Ok(blake3)
    }

    /// Digest of everything in a folder.
    ///
    /// # Errors
    /// It cannot be listed or read.
    pub(crate) fn folder(&self, folder: &Store) -> Result<String, StoreError> {
        let mut names: Vec<String> = folder.list("")?.into_iter().map(|object| object.key).collect();
        names.sort();
        let mut hasher = blake3::Hasher::new();
        for name in names {
            let digest = self.file(folder, &name)?;
            // Names hold no NUL, digests have a fixed length: no two lists give the same bytes.
            hasher
                .update(name.as_bytes())
                .update(b"\0")
                .update(digest.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// Sizes and times of a file, or of everything in a folder: another mark, another content (most likely). On a server the
/// entity tags stand for the times.
///
/// # Errors
/// The folder cannot be listed, the file not looked at.
pub(crate) fn mark(folder: &Store, path: &str, is_file: bool) -> Result<String, StoreError> {
    let objects = if is_file {
        folder.head(path)?.into_iter().collect()
    } else {
        folder.list("")?
    };
    let local = folder.local_path();
    let of = |object: &ObjectMeta| {
        let time = local.as_ref().and_then(|root| {
            let modified = std::fs::metadata(root.join(&object.key)).ok()?.modified().ok()?;
            Some(modified.duration_since(UNIX_EPOCH).ok()?.as_nanos())
        });
        format!("{} {} {time:?} {:?}", object.key, object.size, object.etag)
    };
    let lines: Vec<String> = objects.iter().map(of).collect();
    Ok(blake3::hash(lines.join("\n").as_bytes()).to_hex().to_string())
}

fn hash(folder: &Store, path: &str) -> Result<String, StoreError> {
    let reader = folder.reader(path)?;
    let mut hasher = blake3::Hasher::new();
    match reader.as_slice() {
        Some(bytes) => {
            hasher.update_rayon(bytes);
        }
        None => {
            let mut buffer = vec![0; BLOCK];
            let mut offset = 0;
            while offset < reader.len() {
                let len = (reader.len() - offset).min(BLOCK as u64) as usize;
                let read = reader.read_at(offset, &mut buffer[..len]);
                read.map_err(|source| StoreError::from_io("read", folder.describe(path), source))?;
                hasher.update_rayon(&buffer[..len]);
                offset += len as u64;
            }
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_files_are_remembered_and_changes_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data.txt");
        let age = |seconds: u64| {
            let time = SystemTime::now() - Duration::from_secs(seconds);
            std::fs::File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        std::fs::write(&file, "one").unwrap();
        let data = Store::open(folder.path().to_str().unwrap()).unwrap();
        let store = Store::open(folder.path().join("ckpt").to_str().unwrap()).unwrap();
        let read = || {
            let digests = ContentDigests::open(&store);
            let digest = digests.file(&data, "data.txt").unwrap();
            digests.save();
            digest
        };
        // Young: hashed, not remembered.
        assert_eq!(read(), blake3::hash(b"one").to_hex().as_str());
        assert!(store.head(DIGESTS).unwrap().is_none());
        age(100);
        assert_eq!(read(), blake3::hash(b"one").to_hex().as_str());
        // Proof that the memory is what answers: a forged entry comes back.
        let forged = String::from_utf8(store.get(DIGESTS).unwrap().to_vec()).unwrap();
        let forged = forged.replace(blake3::hash(b"one").to_hex().as_str(), "forged");
        store.put(DIGESTS, forged).unwrap();
        assert_eq!(read(), "forged");
        std::fs::write(&file, "two").unwrap();
        age(50);
        assert_eq!(read(), blake3::hash(b"two").to_hex().as_str());
    }
}
