//! Putting the objects of an artifact in place, then its manifest.
//!
//! Objects that were kept are moved (local) or their uploads completed (servers). Two writers of the same bytes may do
//! this at once. Locally the directory's lock lets one of them be first, and the other finds the manifest. On servers each
//! upload can be completed once: who comes second looks for the manifest, for the version tag that the first one leaves
//! after each completion, and at last reads the object back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;

use crate::digest::Digest;
use crate::error::{Result, StoreError};
use crate::local::{LocalFiles, parent};
use crate::manifest::MANIFEST;
use crate::pauses::Pauses;
use crate::record::Record;
use crate::remote::Remote;
use crate::remote_upload::is_there;
use crate::store::{Backend, Store};
use crate::unfinished::Unfinished;
use crate::verify::digest_of;
use crate::writer::Staged;

/// Looks for an object that another writer may be completing: more while it is not there at all.
const LOOKS: usize = 3;
const LOOKS_FOR_MISSING: usize = 6;

/// An object of a commit.
pub(crate) enum Part {
    /// Written by this publication and added.
    Staged(Staged),
    /// Finished by any writer of the key.
    Kept(Record),
}

/// What became of a kept object.
enum Placed {
    Done,
    /// Done; this directory has a new entry.
    In(PathBuf),
    /// Not by us, for this reason: another writer may have done it.
    Doubtful(StoreError),
}

/// Puts `parts` in place at `store` and then the manifest, unless that very manifest is there.
///
/// # Errors
/// [`StoreError::Conflict`], [`StoreError::Lost`], and what the backend says.
pub(crate) fn place(
    store: &Store,
    parts: Vec<Part>,
    manifest: &Bytes,
    unfinished: Option<&Unfinished>,
) -> Result<()> {
    if is_committed(store, manifest)? {
        return Ok(());
    }
    if let (Backend::Local(files), Some(unfinished)) = (&store.backend, unfinished) {
        check_files(store, files, &parts, unfinished)?;
    }
    let (mut directories, mut doubtful) = (BTreeSet::new(), Vec::new());
    for part in parts {
        match part {
            Part::Staged(staged) => directories.extend(staged.publish(unfinished.is_some())?.1),
            Part::Kept(record) => match place_kept(store, &record, unfinished)? {
                Placed::Done => {}
                Placed::In(directory) => directories.extend([directory]),
                Placed::Doubtful(error) => doubtful.push((record, error)),
            },
        }
    }
    if let (Backend::Remote(remote), Some(unfinished)) = (&store.backend, unfinished)
        && resolve(store, remote, doubtful, manifest, unfinished)?
    {
        return Ok(());
    }
    if let Backend::Local(files) = &store.backend {
        for directory in directories {
            files.sync_directory(&directory)?;
        }
    }
    store.create(MANIFEST, manifest.clone()).map(drop)
}

/// Is the artifact with this manifest there?
fn is_committed(store: &Store, manifest: &Bytes) -> Result<bool> {
    match store.get(MANIFEST) {
        Ok(there) if there == *manifest => Ok(true),
        Ok(_) => Err(StoreError::Conflict {
            at: store.describe(MANIFEST),
        }),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Before anything is moved: are the files of all kept objects there?
fn check_files(store: &Store, files: &LocalFiles, parts: &[Part], unfinished: &Unfinished) -> Result<()> {
    let mut lost = Vec::new();
    for part in parts {
        if let Part::Kept(record) = part
            && !is_waiting(files, &unfinished.state, record)?
            && !is_in_place(store, record)
        {
            lost.push(record.clone());
        }
    }
    forget(store, unfinished, lost)
}

/// Is the file where it was kept, with the size it had?
fn is_waiting(files: &LocalFiles, state: &Store, record: &Record) -> Result<bool> {
    let found = files.head(&state.full(&record.data_key())?)?;
    Ok(found.is_some_and(|meta| meta.size == record.object.size))
}

/// Has a commit that was cut off moved the file to its place? Another file may have the name, so it is read.
fn is_in_place(store: &Store, record: &Record) -> bool {
    let Ok(reader) = store.reader(&record.object.path) else {
        return false;
    };
    let digest = Digest::from_hex(&record.object.blake3);
    digest.is_some() && digest_of(reader.as_ref(), record.object.size).is_ok_and(|found| found == digest)
}

/// Reports objects whose bytes are gone, after removing their records.
fn forget(store: &Store, unfinished: &Unfinished, lost: Vec<Record>) -> Result<()> {
    if lost.is_empty() {
        return Ok(());
    }
    for record in &lost {
        unfinished.forget(record)?;
    }
    Err(StoreError::Lost {
        at: store.url(),
        objects: lost.into_iter().map(|record| record.object.path).collect(),
    })
}

fn place_kept(store: &Store, record: &Record, unfinished: Option<&Unfinished>) -> Result<Placed> {
    let unfinished = unfinished.ok_or_else(|| StoreError::misuse(store, "nothing was kept"))?;
    let full = store.full(&record.object.path)?;
    match &store.backend {
        Backend::Local(files) => {
            if !is_waiting(files, &unfinished.state, record)? {
                return Ok(Placed::Done);
            }
            let data = files.path(&unfinished.state.full(&record.data_key())?);
            let target = files.path_for_writing(&full)?;
            files.make_directory(parent(&target))?;
            let moved = std::fs::rename(&data, &target);
            moved.map_err(|source| StoreError::io("publish", target.display(), source))?;
            Ok(Placed::In(parent(&target).to_path_buf()))
        }
        Backend::Remote(remote) => {
            let Some(upload) = &record.upload else {
                return remote
                    .put_unless_there(&full, &Bytes::new())
                    .map(|()| Placed::Done);
            };
            match upload.complete(remote, &full)? {
                Ok(done) => {
                    // For others who complete the same artifact; without it they read the object back.
                    if let Some(tag) = done.e_tag
                        && let Err(error) = unfinished.state.put(&record.mark_key(), tag)
                    {
                        tracing::debug!("the completion of {full} is not marked: {error}");
                    }
                    Ok(Placed::Done)
                }
                Err(error) => Ok(Placed::Doubtful(remote.error(
                    "complete the upload of",
                    &full,
                    &error,
                ))),
            }
        }
    }
}

/// Finds out about objects whose completion failed. Returns whether the whole artifact was committed meanwhile.
fn resolve(
    store: &Store,
    remote: &Arc<Remote>,
    mut doubtful: Vec<(Record, StoreError)>,
    manifest: &Bytes,
    unfinished: &Unfinished,
) -> Result<bool> {
    if doubtful.is_empty() {
        return Ok(false);
    }
    let mut pauses = Pauses::new(remote.first_pause);
    for look in 1..=LOOKS_FOR_MISSING {
        if is_committed(store, manifest)? {
            return Ok(true);
        }
        let (mut open, mut are_there) = (Vec::new(), true);
        for (record, error) in doubtful {
            let (is_there, is_marked) = look_at(store, &record, &unfinished.state)?;
            if !is_marked {
                are_there &= is_there;
                open.push((record, error));
            }
        }
        doubtful = open;
        if doubtful.is_empty() {
            return Ok(false);
        }
        match pauses.next() {
            Some(pause) if look < LOOKS || !are_there => thread::sleep(pause),
            _ => break,
        }
    }
    let mut lost = Vec::new();
    for (record, error) in doubtful {
        let full = store.full(&record.object.path)?;
        let digest = Digest::from_hex(&record.object.blake3);
        if digest.is_some_and(|digest| is_there(remote, &full, record.object.size, digest)) {
            continue;
        }
        if error.is_transient() || matches!(error, StoreError::Denied { .. }) {
            // This says nothing of the upload.
            return Err(error);
        }
        tracing::debug!("the upload of {full} is gone: {error}");
        lost.push(record);
    }
    // Read once more: whoever has committed has removed all uploads.
    if !lost.is_empty() && is_committed(store, manifest)? {
        return Ok(true);
    }
    forget(store, unfinished, lost).map(|()| false)
}

/// Is an object of the right size there, and is it the version that a completed upload of ours made?
fn look_at(store: &Store, record: &Record, state: &Store) -> Result<(bool, bool)> {
    let found = store.head(&record.object.path)?;
    let Some(found) = found.filter(|meta| meta.size == record.object.size) else {
        return Ok((false, false));
    };
    let mark = match state.get(&record.mark_key()) {
        Ok(mark) => mark,
        Err(error) if error.is_not_found() => return Ok((true, false)),
        Err(error) => return Err(error),
    };
    // Some answers have the tag in quotation marks, others not.
    let tag = found.etag.unwrap_or_default();
    let (tag, mark) = (tag.trim_matches('"'), String::from_utf8_lossy(&mark));
    Ok((true, !tag.is_empty() && tag == mark.trim_matches('"')))
}
