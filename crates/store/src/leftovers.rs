//! Removing what unfinished publications left: files, uploads, records, notes.
//!
//! Every place may have a hidden directory [`UNFINISHED`] with one directory for each key. Once an artifact is committed
//! at a place all of them are of no use. Before that, those of other keys are removed when nobody works at them any more:
//! on local stores when no process holds a lock there, on servers when nothing has been added for [`STALE`].

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;

use crate::error::{Result, StoreError};
use crate::local::LocalFiles;
use crate::lock::{DirectoryLock, is_temporary, remove_if_abandoned};
use crate::manifest::MANIFEST;
use crate::record::{RECORDS, Record};
use crate::remote::{Remote, object_path};
use crate::runtime::block_on;
use crate::store::{Backend, Store};

/// The directory of all unfinished publications of a place.
pub(crate) const UNFINISHED: &str = ".tributary-unfinished";
/// On servers, which know no locks: how long after its last sign of life another writer is taken for dead.
const STALE: Duration = Duration::from_secs(6 * 3600);

impl Store {
    /// The keys of the publications that were begun here by [`crate::Publication::resume`] and are not committed.
    pub fn unfinished(&self) -> Result<Vec<String>> {
        let all = self.hidden(UNFINISHED);
        let mut keys = Vec::new();
        for name in all.children("")? {
            // A directory may be there for a writer that has kept nothing yet.
            if let Some(key) = name.strip_suffix('/')
                && (matches!(self.backend, Backend::Remote(_)) || !all.hidden(key).list("")?.is_empty())
            {
                keys.push(key.to_string());
            }
        }
        Ok(keys)
    }

    /// Removes every object of this store, manifests first, so that no artifact is ever seen without its objects.
    /// Unfinished publications go as well.
    pub fn delete_all(&self) -> Result<()> {
        let (manifests, objects): (Vec<_>, Vec<_>) = self
            .list("")?
            .into_iter()
            .partition(|meta| meta.key.rsplit('/').next() == Some(MANIFEST));
        for meta in manifests.iter().chain(&objects) {
            self.delete(&meta.key)?;
        }
        match &self.backend {
            Backend::Local(files) => {
                files.clean(&self.prefix);
                remove_below(&files.path(&self.prefix));
            }
            Backend::Remote(remote) => {
                for meta in remote.list(&self.prefix)? {
                    if let Some((place, rest)) = split(&meta.key) {
                        let key = rest.split('/').next().unwrap_or_default();
                        let state = self.at(place).hidden(&format!("{UNFINISHED}/{key}"));
                        remove_entry(&state, remote, rest.get(key.len() + 1..).unwrap_or_default())?;
                    }
                }
            }
        }
        self.prune();
        Ok(())
    }

    /// The place `full` of the backend.
    fn at(&self, full: &str) -> Store {
        Store {
            backend: self.backend.clone(),
            prefix: full.to_string(),
        }
    }
}

/// Splits a full key at the directory of unfinished publications: the artifact's place, and what is below.
fn split(full: &str) -> Option<(&str, &str)> {
    let (place, rest) = full.split_once(UNFINISHED)?;
    let place = match place.strip_suffix('/') {
        Some(place) => place,
        None if place.is_empty() => place,
        None => return None,
    };
    Some((place, rest.strip_prefix('/')?))
}

/// Removes every unfinished publication of `place`, where an artifact is committed.
pub(crate) fn remove_all(place: &Store) -> Result<()> {
    for key in place.unfinished()? {
        remove(place, &key)?;
    }
    Ok(())
}

/// What a commit left that was killed after the manifest.
pub(crate) fn remove_if_committed(place: &Store) -> Result<()> {
    if place.unfinished()?.is_empty() || place.head(MANIFEST)?.is_none() {
        return Ok(());
    }
    let _lock = match &place.backend {
        Backend::Local(files) => Some(DirectoryLock::acquire(&files.path(&place.prefix))?),
        Backend::Remote(_) => None,
    };
    remove_all(place)
}

/// Removes the unfinished publications of other keys than `key` that nobody works at any more.
pub(crate) fn remove_abandoned(place: &Store, key: &str) -> Result<()> {
    for other in place.unfinished()?.iter().filter(|other| *other != key) {
        let state = place.hidden(&format!("{UNFINISHED}/{other}"));
        let in_use = match &state.backend {
            Backend::Local(files) => {
                files.clean(&state.prefix);
                has_writer(&files.path(&state.prefix))
            }
            Backend::Remote(remote) => is_fresh(remote, &state.prefix)?,
        };
        if in_use {
            tracing::debug!(place = %place, key = %other, "another writer's unfinished files are left alone");
        } else {
            remove(place, other)?;
        }
    }
    Ok(())
}

fn remove(place: &Store, key: &str) -> Result<()> {
    let state = place.hidden(&format!("{UNFINISHED}/{key}"));
    match &state.backend {
        Backend::Local(files) => {
            remove_files(&files.path(&state.prefix));
            remove_empty(files, place);
            Ok(())
        }
        Backend::Remote(remote) => {
            for meta in state.list("")? {
                remove_entry(&state, remote, &meta.key)?;
            }
            Ok(())
        }
    }
}

/// Removes the object `key` of a publication's state on a server. The upload of a record is ended before the record
/// goes, so that none is forgotten.
fn remove_entry(state: &Store, remote: &Remote, key: &str) -> Result<()> {
    if key.starts_with(RECORDS) {
        match state.get(key).map(|bytes| Record::parse(key, &bytes)) {
            Ok(Ok(record)) => abort(state, remote, &record)?,
            // What cannot be read leads to no upload.
            Ok(Err(_)) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    state.delete(key).map(drop)
}

/// Ends the upload of a record of the publication whose state is `state`.
pub(crate) fn abort(state: &Store, remote: &Remote, record: &Record) -> Result<()> {
    match (&record.upload, split(&state.prefix)) {
        (Some(upload), Some((place, _))) => {
            upload.abort(remote, &crate::key::join(place, &record.object.path))
        }
        _ => Ok(()),
    }
}

/// Removes the directories of unfinished publications at `place` that hold nothing.
pub(crate) fn remove_empty(files: &LocalFiles, place: &Store) {
    let root = files.path(&place.hidden(UNFINISHED).prefix);
    if let Ok(entries) = fs::read_dir(&root) {
        for entry in entries.flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(&root);
    }
}

/// Removes what is below `directory` and the directory, except the files of living writers.
fn remove_files(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_files(&path);
        } else if is_temporary(&path) {
            remove_if_abandoned(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
    let _ = fs::remove_dir(directory);
}

/// Removes all unfinished publications at and below `directory`.
fn remove_below(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == UNFINISHED {
            remove_files(&entry.path());
        } else {
            remove_below(&entry.path());
        }
    }
}

/// Is a file there that its writer holds locked? The dead ones' have been cleaned.
fn has_writer(directory: &Path) -> bool {
    let Ok(entries) = fs::read_dir(directory) else {
        return false;
    };
    entries.flatten().any(|entry| is_temporary(&entry.path()))
}

/// Has anything been added at `prefix` lately?
fn is_fresh(remote: &Remote, prefix: &str) -> Result<bool> {
    let newest = block_on(async {
        let path = object_path(prefix)?;
        remote
            .retrying(|| async {
                let mut newest = 0;
                let mut stream = remote.objects.list(Some(&path));
                while let Some(meta) = stream.try_next().await? {
                    newest = newest.max(meta.last_modified.timestamp());
                }
                Ok(newest)
            })
            .await
    })?;
    let newest = newest.map_err(|error| remote.error("list", prefix, &error))?;
    let newest = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(newest).unwrap_or(0));
    // A time to come is a clock that differs, not a dead writer.
    Ok(newest.elapsed().map_or(true, |age| age < STALE))
}

/// What could not be removed costs room, and the artifact is good: said, not failed.
pub(crate) fn warn_of(place: &Store, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!("what was left of unfinished publications at {place} could not be removed: {error}");
    }
}
