//! Locks on local files that die with their process.
//!
//! Every lock here is an advisory lock of the kernel on an open file (`flock`), so a process killed at any moment holds
//! nothing: there is no stale lock to wait for or to break. Two uses: [`DirectoryLock`] serialises the moves of
//! pointers and the commits of an artifact in one directory; [`TemporaryFile`] is locked as long as its writer lives,
//! which lets a later process tell an abandoned file from one that is being written, across process-id spaces.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Result, StoreError};
use crate::key::OWN_PREFIX;

const LOCK_NAME: &str = "lock";
const TEMPORARY: &str = "tmp-";
/// A holder works for milliseconds; one that is stopped (not dead) must not stop the others for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Exclusive hold on one directory, released (and its file removed) on drop or death.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    path: PathBuf,
    _file: File,
}

impl DirectoryLock {
    /// Waits for the lock of `directory`, which must exist.
    pub(crate) fn acquire(directory: &Path) -> Result<DirectoryLock> {
        let path = directory.join(format!("{OWN_PREFIX}{LOCK_NAME}"));
        let fail = |source| StoreError::io("lock", directory.display(), source);
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(fail)?;
            match file.try_lock() {
                // The last holder removes the file before it lets go: what we locked may be gone by now.
                Ok(()) if is_same(&file, &path).map_err(fail)? => {
                    return Ok(DirectoryLock { path, _file: file });
                }
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(fail(source)),
            }
            if start.elapsed() > PATIENCE {
                return Err(StoreError::Backend {
                    action: "lock",
                    at: directory.display().to_string(),
                    message: "another process has held it for a minute".to_string(),
                    transient: true,
                });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Under the lock, so nobody else's file is removed; failure leaves an unlocked file, which is harmless.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Does `path` still name the file that is open as `file`?
fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(theirs) => Ok(ours.dev() == theirs.dev() && ours.ino() == theirs.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file being written beside its final place: locked while we live, removed on drop unless moved into place.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    path: PathBuf,
    file: File,
    /// Set once the file has its final name; atomic because hashing threads may still hold a reference.
    moved: AtomicBool,
}

impl TemporaryFile {
    /// A new empty file in `directory`, which is created if need be (`make` does that, again if a cleaner took it).
    pub(crate) fn create(directory: &Path, make: impl Fn() -> Result<()>) -> Result<TemporaryFile> {
        let fail = |source| StoreError::io("create a temporary file in", directory.display(), source);
        let mut attempts = 0;
        loop {
            make()?;
            let path = directory.join(format!("{OWN_PREFIX}{TEMPORARY}{:016x}", nonce()));
            let file = match OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
            {
                Ok(file) => file,
                // The directory was pruned under us, or (one in 2^64) the name is taken.
                Err(error)
                    if attempts < 16
                        && matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                        ) =>
                {
                    attempts += 1;
                    continue;
                }
                Err(error) => return Err(fail(error)),
            };
            match file.try_lock() {
                Ok(()) if is_same(&file, &path).map_err(fail)? => {}
                // A cleaner saw the file before we locked it.
                Ok(()) | Err(TryLockError::WouldBlock) => continue,
                // A file system without locks: cleaners there go by age.
                Err(TryLockError::Error(_)) => {}
            }
            return Ok(TemporaryFile {
                path,
                file,
                moved: AtomicBool::new(false),
            });
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Renames the file to `target`, replacing what is there.
    pub(crate) fn rename(&self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, target)?;
        self.moved.store(true, Ordering::Release);
        Ok(())
    }

    /// Gives the file the name `target` unless something has it: `false` then.
    pub(crate) fn link(self, target: &Path) -> io::Result<bool> {
        match std::fs::hard_link(&self.path, target) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.moved.load(Ordering::Acquire) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Has `path` the name of a [`TemporaryFile`]?
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| name.strip_prefix(OWN_PREFIX))
        .is_some_and(|name| name.starts_with(TEMPORARY))
}

/// Removes `path` if it is a temporary file whose writer is dead. Returns whether it was removed.
pub(crate) fn remove_if_abandoned(path: &Path) -> bool {
    if !is_temporary(path) {
        return false;
    }
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
        return false;
    };
    let dead = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        // No locks on this file system: a writer touches its file far more often than once a day.
        Err(TryLockError::Error(_)) => file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok())
            .is_some_and(|age| age > Duration::from_secs(24 * 3600)),
    };
    dead && std::fs::remove_file(path).is_ok()
}

/// 64 bits that no other call in any process is likely to draw.
pub(crate) fn nonce() -> u64 {
    // RandomState is seeded by the operating system and differs at every construction.
    let random = RandomState::new().hash_one(std::process::id());
    random
        ^ RandomState::new()
            .hash_one(thread::current().id())
            .rotate_left(32)
}
