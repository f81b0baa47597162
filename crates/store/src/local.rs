//! Objects as files below a root directory.
//!
//! Writes are atomic (a temporary file in the same directory, then rename or link) and, by default, durable (file and
//! directory synced before a name is given). Writing never passes through a symbolic link below the root; reading does,
//! because people link their model caches. This crate's own files (`.tributary-*`) are invisible.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Result, StoreError};
use crate::key::OWN_PREFIX;
use crate::lock::{TemporaryFile, remove_if_abandoned};
use crate::store::{Created, ObjectMeta};

/// How much a finished local write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Synced to the device before it becomes visible: survives loss of power.
    #[default]
    Device,
    /// Left to the operating system: survives the death of this process, but not of the machine.
    Process,
}

/// The files below one root.
#[derive(Clone, Debug)]
pub(crate) struct LocalFiles {
    root: PathBuf,
    pub(crate) durability: Durability,
}

impl LocalFiles {
    pub(crate) fn new(root: PathBuf, durability: Durability) -> LocalFiles {
        LocalFiles { root, durability }
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        if key.is_empty() {
            self.root.clone()
        } else {
            self.root.join(key)
        }
    }

    pub(crate) fn get(&self, key: &str) -> Result<Bytes> {
        let path = self.path(key);
        let fail = |source| StoreError::io("read", path.display(), source);
        let mut file = File::open(&path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(StoreError::NotFound {
                at: path.display().to_string(),
            });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(fail)?;
        Ok(Bytes::from(bytes))
    }

    pub(crate) fn get_range(&self, key: &str, start: u64, len: usize) -> Result<Bytes> {
        let path = self.path(key);
        let fail = |source| StoreError::io("read", path.display(), source);
        let file = File::open(&path).map_err(fail)?;
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, start).map_err(fail)?;
        Ok(Bytes::from(bytes))
    }

    pub(crate) fn head(&self, key: &str) -> Result<Option<ObjectMeta>> {
        let path = self.path(key);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(ObjectMeta {
                key: key.to_string(),
                size: metadata.len(),
                etag: None,
            })),
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(StoreError::io("look at", path.display(), error)),
        }
    }

    /// All files below the directory `prefix`, keys relative to the root, sorted.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        self.walk(prefix, &mut |key, metadata| {
            found.push(ObjectMeta {
                key,
                size: metadata.len(),
                etag: None,
            });
        })?;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    fn walk(&self, prefix: &str, visit: &mut dyn FnMut(String, &fs::Metadata)) -> Result<()> {
        let path = self.path(prefix);
        let fail = |source| StoreError::io("list", path.display(), source);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            // A name that is not text cannot be a key; such files are somebody else's.
            let Some(name) = name.to_str().filter(|name| !name.starts_with(OWN_PREFIX)) else {
                continue;
            };
            let key = crate::key::join(prefix, name);
            // Follows links, as reading does; an entry that vanished or dangles is not an object.
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            if metadata.is_dir() {
                // A linked directory could lead around in circles.
                if !entry.file_type().map_err(fail)?.is_symlink() {
                    self.walk(&key, visit)?;
                }
            } else if metadata.is_file() {
                visit(key, &metadata);
            }
        }
        Ok(())
    }

    /// Names directly below the directory `prefix`: directories end in `/`.
    pub(crate) fn children(&self, prefix: &str) -> Result<Vec<String>> {
        let path = self.path(prefix);
        let fail = |source| StoreError::io("list", path.display(), source);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(fail(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with(OWN_PREFIX)) else {
                continue;
            };
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            names.push(if metadata.is_dir() {
                format!("{name}/")
            } else {
                name.to_string()
            });
        }
        names.sort();
        Ok(names)
    }

    /// Removes one file; `false` if it was not there.
    pub(crate) fn delete(&self, key: &str) -> Result<bool> {
        let path = self.path_for_writing(key)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(StoreError::io("delete", path.display(), error)),
        }
    }

    /// Removes the directories at and below `prefix` that hold nothing, then its empty parents up to the root.
    pub(crate) fn prune(&self, prefix: &str) {
        prune_below(&self.path(prefix));
        let mut prefix = prefix;
        while !prefix.is_empty() {
            if fs::remove_dir(self.path(prefix)).is_err() {
                return;
            }
            prefix = prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Replaces or creates the object in one step.
    pub(crate) fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let target = self.path_for_writing(key)?;
        let temporary = self.write_temporary(&target, bytes)?;
        temporary
            .rename(&target)
            .map_err(|source| StoreError::io("write", target.display(), source))?;
        self.sync_directory(parent(&target))
    }

    /// Creates the object unless one is there; then says whether it is the same.
    pub(crate) fn create(&self, key: &str, bytes: &[u8]) -> Result<Created> {
        let target = self.path_for_writing(key)?;
        let fail = |source| StoreError::io("create", target.display(), source);
        let temporary = self.write_temporary(&target, bytes)?;
        if temporary.link(&target).map_err(fail)? {
            self.sync_directory(parent(&target))?;
            return Ok(Created::New);
        }
        let there = fs::read(&target).map_err(fail)?;
        if there == bytes {
            Ok(Created::AlreadyThere)
        } else {
            Err(StoreError::Conflict {
                at: target.display().to_string(),
            })
        }
    }

    fn write_temporary(&self, target: &Path, bytes: &[u8]) -> Result<TemporaryFile> {
        let temporary = self.temporary_beside(target)?;
        let fail = |source| StoreError::io("write", target.display(), source);
        temporary.file().write_all_at(bytes, 0).map_err(fail)?;
        if self.durability == Durability::Device {
            temporary.file().sync_all().map_err(fail)?;
        }
        Ok(temporary)
    }

    /// A temporary file in the directory of `target`, which is made if need be.
    pub(crate) fn temporary_beside(&self, target: &Path) -> Result<TemporaryFile> {
        let directory = parent(target);
        TemporaryFile::create(directory, || self.make_directory(directory))
    }

    /// Makes `directory` and its parents; new names are synced so that they outlive a crash.
    pub(crate) fn make_directory(&self, directory: &Path) -> Result<()> {
        let fail = |source| StoreError::io("create directory", directory.display(), source);
        if directory.is_dir() {
            return Ok(());
        }
        let above = parent(directory);
        if above != directory {
            self.make_directory(above)?;
        }
        match fs::create_dir(directory) {
            Ok(()) => self.sync_directory(above),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
            // Somebody pruned the empty directory above in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !above.is_dir() => {
                self.make_directory(directory)
            }
            Err(error) => Err(fail(error)),
        }
    }

    pub(crate) fn sync_directory(&self, directory: &Path) -> Result<()> {
        if self.durability == Durability::Process {
            return Ok(());
        }
        File::open(directory)
            .and_then(|file| file.sync_all())
            .map_err(|source| StoreError::io("sync directory", directory.display(), source))
    }

    /// The file of `key`, refusing to write through a symbolic link below the root.
    pub(crate) fn path_for_writing(&self, key: &str) -> Result<PathBuf> {
        let mut path = self.root.clone();
        let mut components = key.split('/').peekable();
        while let Some(component) = components.next() {
            path.push(component);
            let is_last = components.peek().is_none();
            match fs::symlink_metadata(&path) {
                // A link at the end is replaced, not followed.
                Ok(metadata) if metadata.is_symlink() && !is_last => {
                    return Err(StoreError::UnsafePath {
                        path: path.display().to_string(),
                        reason: "a symbolic link is in the way of a write; open the store at the link's target",
                    });
                }
                Ok(_) => {}
                // Nothing further down can exist.
                Err(_) => break,
            }
        }
        Ok(self.path(key))
    }

    /// Removes temporary files that dead processes left at and below the directory `prefix`.
    pub(crate) fn clean(&self, prefix: &str) {
        clean_below(&self.path(prefix));
    }
}

fn clean_below(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            clean_below(&entry.path());
        } else if kind.is_file() {
            remove_if_abandoned(&entry.path());
        }
    }
}

fn prune_below(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            prune_below(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Not there, or below something that is not a directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("/"),
    }
}
