//! What the writers of one key share while an artifact is unfinished: finished objects, and notes.
//!
//! The state lies at the artifact's place, in `.tributary-unfinished/KEY/`, where no listing shows it:
//!
//! * `records/`: one [`Record`] for each finished object, created once, so that all writers agree on it;
//! * `data/`: the bytes of those objects on local stores; on servers they wait in uploads that are not completed;
//! * `notes/`: the callers' notes;
//! * `placed/`: on servers, during a commit, the version tags of objects that are at their place.
//!
//! Locally whoever takes part holds a locked file there as long as it lives, and every change is made under the lock of
//! the artifact's directory. Since the manifest is written before the state is removed, a writer that is late finds
//! either the state or, after its own change, the manifest; then it removes what it wrote.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::{Result, StoreError};
use crate::leftovers::{UNFINISHED, abort, remove_abandoned, remove_all, remove_empty};
use crate::lock::{DirectoryLock, TemporaryFile};
use crate::manifest::{MANIFEST, ObjectEntry};
use crate::record::{MAX_NOTE_BYTES, MAX_RECORD_BYTES, RECORDS, Record, data_key};
use crate::store::{Backend, ObjectMeta, Store};
use crate::writer::Staged;

/// Lengths of a key, in hexadecimal digits.
const KEY_CHARS: std::ops::RangeInclusive<usize> = 16..=128;
/// How often a record is created anew when the one in the way is gone again.
const TRIES: usize = 8;

/// One writer's part in an unfinished artifact.
pub(crate) struct Unfinished {
    place: Store,
    pub(crate) state: Store,
    /// Says that we live; none on servers.
    lease: Mutex<Option<TemporaryFile>>,
    /// All finished objects seen so far, by path, and what the listing said of their records.
    seen: Mutex<BTreeMap<String, (Record, ObjectMeta)>>,
}

impl Unfinished {
    /// Begins or joins the unfinished artifact `key` at `place`, after removing what others left there.
    pub(crate) fn join(place: &Store, key: &str) -> Result<Unfinished> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if !key.bytes().all(is_hex) || !KEY_CHARS.contains(&key.len()) {
            let reason = "a publication's key is 16 to 128 lower-case hexadecimal digits";
            return Err(StoreError::misuse(place, reason));
        }
        let unfinished = Unfinished {
            place: place.clone(),
            state: place.hidden(&format!("{UNFINISHED}/{key}")),
            lease: Mutex::default(),
            seen: Mutex::default(),
        };
        {
            let _lock = unfinished.lock()?;
            if unfinished.is_committed()? {
                remove_all(place)?;
            } else {
                remove_abandoned(place, key)?;
            }
            if let Backend::Local(files) = &place.backend {
                let directory = files.path(&unfinished.state.prefix);
                let lease = TemporaryFile::create(&directory, || files.make_directory(&directory))?;
                *unfinished.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
            }
        }
        unfinished.refresh()?;
        unfinished.forget_lost()?;
        Ok(unfinished)
    }

    /// The lock of the artifact's directory, if it is one.
    fn lock(&self) -> Result<Option<DirectoryLock>> {
        let Backend::Local(files) = &self.place.backend else {
            return Ok(None);
        };
        let root = files.path(&self.place.prefix);
        files.path_for_writing(&self.state.prefix)?;
        files.make_directory(&root)?;
        DirectoryLock::acquire(&root).map(Some)
    }

    fn is_committed(&self) -> Result<bool> {
        Ok(self.place.head(MANIFEST)?.is_some())
    }

    /// After a change: if the artifact was committed meanwhile, nobody else will remove it.
    fn settle(&self) -> Result<()> {
        if self.is_committed()? {
            remove_all(&self.place)?;
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, (Record, ObjectMeta)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The finished objects seen so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.seen().values().map(|(record, _)| record.clone()).collect()
    }

    pub(crate) fn is_finished(&self, path: &str) -> bool {
        self.seen().contains_key(path)
    }

    /// Looks for what others have finished since. What was seen stays seen: after a commit the state is gone.
    pub(crate) fn refresh(&self) -> Result<()> {
        for meta in self.state.list(RECORDS)? {
            let known = meta.etag.is_some() && self.seen().values().any(|(_, seen)| *seen == meta);
            if known {
                continue;
            }
            match self.load(&meta)? {
                Some(Ok(record)) => {
                    self.seen().insert(record.object.path.clone(), (record, meta));
                }
                Some(Err(reason)) => {
                    tracing::warn!("{} is no record: {reason}", self.state.describe(&meta.key));
                    self.state.delete(&meta.key)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Forgets objects whose files are gone or cut, so that they are made again. Servers tell only at the commit.
    pub(crate) fn forget_lost(&self) -> Result<()> {
        let Backend::Local(_) = &self.state.backend else {
            return Ok(());
        };
        for record in self.records() {
            let has_size =
                |found: Option<ObjectMeta>| found.is_some_and(|meta| meta.size == record.object.size);
            // In this order: a commit moves the file from here to there.
            if !has_size(self.state.head(&record.data_key())?)
                && !has_size(self.place.head(&record.object.path)?)
            {
                tracing::warn!("{} is made again: its file is gone", record.object.path);
                self.forget(&record)?;
            }
        }
        Ok(())
    }

    /// Reads a record; `None` if it has gone since it was listed.
    fn load(&self, meta: &ObjectMeta) -> Result<Option<Result<Record, String>>> {
        if meta.size > MAX_RECORD_BYTES {
            return Ok(Some(Err(format!("{} bytes", meta.size))));
        }
        match self.state.get(&meta.key) {
            Ok(bytes) => {
                let is_remote = matches!(self.state.backend, Backend::Remote(_));
                let parsed = Record::parse(&meta.key, &bytes);
                Ok(Some(parsed.and_then(|record| {
                    let has_bytes = !is_remote || record.upload.is_some() || record.object.size == 0;
                    has_bytes
                        .then_some(record)
                        .ok_or_else(|| "it names no upload".to_string())
                })))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the record of an object whose bytes are gone, so that it is made again; not one written since.
    pub(crate) fn forget(&self, record: &Record) -> Result<()> {
        self.seen().remove(&record.object.path);
        let there = match self.state.get(&record.key()) {
            Ok(bytes) => Record::parse(&record.key(), &bytes),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        if there.is_ok_and(|there| there != *record) {
            return Ok(());
        }
        self.state.delete(&record.key()).map(drop)
    }

    /// Keeps a complete object for whoever commits: durable, unseen, recorded.
    pub(crate) fn keep(&self, staged: Staged, note: Bytes) -> Result<()> {
        self.check_note(&staged.written.path, &note)?;
        staged.sync()?;
        let object = ObjectEntry::from(staged.written.clone());
        let _lock = self.lock()?;
        let data = self.state.full(&data_key(&object))?;
        let upload = staged.keep(&data)?;
        let record = self.create(Record { object, upload, note })?;
        let meta = ObjectMeta {
            key: record.key(),
            size: 0,
            etag: None,
        };
        self.seen().insert(record.object.path.clone(), (record, meta));
        self.settle()
    }

    /// Creates the record, or finds that of a writer who was faster and discards ours.
    fn create(&self, record: Record) -> Result<Record> {
        let key = record.key();
        let bytes = record.to_bytes();
        let bytes =
            bytes.map_err(|error| StoreError::misuse(self.state.describe(&key), error.to_string()))?;
        let bytes = Bytes::from(bytes);
        for _ in 0..TRIES {
            match self.state.create(&key, bytes.clone()) {
                Ok(_) => return Ok(record),
                Err(error) if error.is_conflict() => {}
                // Whether the record is there nobody knows, so the bytes stay.
                Err(error) => return Err(error),
            }
            let there = match self.state.get(&key) {
                Ok(bytes) => Record::parse(&key, &bytes),
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let Ok(there) = there else {
                self.state.delete(&key)?;
                continue;
            };
            if there == record {
                return Ok(record);
            }
            if let Backend::Remote(remote) = &self.state.backend {
                abort(&self.state, remote, &record)?;
            }
            if there.object == record.object {
                return Ok(there);
            }
            self.state.delete(&record.data_key())?;
            return Err(StoreError::Conflict {
                at: self.place.describe(&record.object.path),
            });
        }
        Err(StoreError::Backend {
            action: "record",
            at: self.place.describe(&record.object.path),
            message: "its record comes and goes".to_string(),
            transient: true,
        })
    }

    fn check_note(&self, name: &str, note: &Bytes) -> Result<()> {
        if note.len() as u64 <= MAX_NOTE_BYTES {
            return Ok(());
        }
        let reason = format!("a note of {} bytes, more than {MAX_NOTE_BYTES}", note.len());
        Err(StoreError::misuse(self.place.describe(name), reason))
    }

    pub(crate) fn note(&self, name: &str, note: Bytes) -> Result<()> {
        self.check_note(name, &note)?;
        let _lock = self.lock()?;
        self.notes().put(name, note)?;
        self.settle()
    }

    pub(crate) fn read_note(&self, name: &str) -> Result<Option<Bytes>> {
        match self.notes().get(name) {
            Ok(note) => Ok(Some(note)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn notes(&self) -> Store {
        self.state.hidden("notes")
    }

    /// Takes no part any more: the directory may go.
    pub(crate) fn leave(&self) {
        drop(self.lease.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Backend::Local(files) = &self.state.backend {
            remove_empty(files, &self.place);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.leave();
    }
}
