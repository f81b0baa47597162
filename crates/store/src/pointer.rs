//! `latest`, `best`: small objects that name an artifact and move by compare-and-swap only.
//!
//! The value is JSON: target, generation (counts up by one with every move) and the writer's nonce. On servers the swap
//! is a conditional put on the version that was read; on local files it is a rename under the directory's lock. An
//! answer that was lost is resolved by the nonce: if it is in the stored value, or in its list of recent nonces because
//! others have moved the pointer on since, the move was ours. So each generation has exactly one winner.

use object_store::PutMode;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::key::check_path;
use crate::local::{LocalFiles, parent};
use crate::lock::{DirectoryLock, nonce};
use crate::pauses::Pauses;
use crate::remote::{BackendResult, Conditional, Remote, unchanged};
use crate::runtime::block_on;
use crate::store::{Backend, Store};

/// Longest value that is read.
const MAX_BYTES: u64 = 64 << 10;
/// How many moves by others may lie between a move of ours and its confirmation.
const RECENT: usize = 1024;
/// Length of a nonce: 48 bits in hexadecimal.
const NONCE_CHARS: usize = 12;
/// [`Pointer::update`] gives up after so many lost races: more is a fault, not contention.
const MAX_RACES: usize = 10_000;

/// What a pointer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerValue {
    /// The path it names, relative to the pointer's store.
    pub target: String,
    /// Moves so far, this one included: 1 for the first.
    pub generation: u64,
    /// The version this value was read at; opaque.
    version: String,
}

/// Result of one compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The pointer moved; its new value.
    Done(PointerValue),
    /// Somebody else moved it first; what it says now.
    Lost(Option<PointerValue>),
}

/// The stored form.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    target: String,
    generation: u64,
    writer: String,
    /// The nonces of the writers before, newest last, one after the other.
    #[serde(default)]
    recent: String,
}

impl Stored {
    fn is_recent(&self, writer: &str) -> bool {
        self.recent
            .as_bytes()
            .chunks(NONCE_CHARS)
            .any(|nonce| nonce == writer.as_bytes())
    }
}

/// One pointer of a store.
#[derive(Clone, Debug)]
pub struct Pointer {
    store: Store,
    name: String,
}

impl Pointer {
    pub(crate) fn new(store: Store, name: &str) -> Pointer {
        Pointer {
            store,
            name: name.to_string(),
        }
    }

    /// What it says, or `None` if it was never set.
    pub fn read(&self) -> Result<Option<PointerValue>> {
        Ok(self.load()?.map(|(stored, version)| value(&stored, version)))
    }

    /// Moves the pointer to `target` if it still says `expected` (`None`: if it was never set).
    pub fn swap(&self, expected: Option<&PointerValue>, target: &str) -> Result<Swap> {
        check_path(target)?;
        let full = self.store.full(&self.name)?;
        match &self.store.backend {
            Backend::Local(files) => self.swap_local(files, &full, expected, target),
            Backend::Remote(remote) => self.swap_remote(remote, &full, expected, target),
        }
    }

    /// Moves the pointer to `target`, whatever it says.
    pub fn set(&self, target: &str) -> Result<PointerValue> {
        let moved = self.update(|_| Some(target.to_string()))?;
        moved.ok_or_else(|| StoreError::misuse(self.at(), "it was not moved"))
    }

    /// Moves the pointer to what `choose` makes of its value, asking again if another writer was faster. `None` leaves
    /// it. Returns the value afterwards.
    pub fn update(
        &self,
        mut choose: impl FnMut(Option<&PointerValue>) -> Option<String>,
    ) -> Result<Option<PointerValue>> {
        let mut current = self.read()?;
        for _ in 0..MAX_RACES {
            let Some(target) = choose(current.as_ref()) else {
                return Ok(current);
            };
            match self.swap(current.as_ref(), &target)? {
                Swap::Done(value) => return Ok(Some(value)),
                Swap::Lost(now) => current = now,
            }
        }
        Err(StoreError::Backend {
            action: "move",
            at: self.at(),
            message: format!("{MAX_RACES} races lost in succession"),
            transient: true,
        })
    }

    fn at(&self) -> String {
        self.store.describe(&self.name)
    }

    fn load(&self) -> Result<Option<(Stored, String)>> {
        let full = self.store.full(&self.name)?;
        match &self.store.backend {
            Backend::Local(files) => self.load_local(files, &full),
            Backend::Remote(remote) => {
                let loaded = block_on(self.load_remote(remote, &full))?;
                loaded
                    .map_err(|error| remote.error("read", &full, &error))?
                    .transpose()
            }
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Stored> {
        let broken = |reason: String| StoreError::misuse(self.at(), format!("it is no pointer: {reason}"));
        if bytes.len() as u64 > MAX_BYTES {
            return Err(broken(format!("{} bytes", bytes.len())));
        }
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| broken(error.to_string()))?;
        check_path(&stored.target)?;
        Ok(stored)
    }

    /// The value that follows `current`, and its bytes.
    fn successor(&self, current: Option<&Stored>, target: &str) -> Result<(Stored, Vec<u8>)> {
        let mut recent = String::new();
        if let Some(stored) = current {
            recent.push_str(&stored.recent);
            recent.push_str(&stored.writer);
            // Characters, not bytes, so that no foreign value can split one.
            let excess = recent.len().saturating_sub(RECENT * NONCE_CHARS);
            recent = recent.chars().skip(excess).collect();
        }
        let stored = Stored {
            target: target.to_string(),
            generation: current.map_or(0, |stored| stored.generation) + 1,
            writer: format!("{:0NONCE_CHARS$x}", nonce() >> 16),
            recent,
        };
        let mut bytes =
            serde_json::to_vec(&stored).map_err(|e| StoreError::misuse(self.at(), e.to_string()))?;
        bytes.push(b'\n');
        Ok((stored, bytes))
    }

    fn load_local(&self, files: &LocalFiles, full: &str) -> Result<Option<(Stored, String)>> {
        let bytes = match files.get(full) {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let stored = self.parse(&bytes)?;
        // The nonce is the version: no two writes have the same.
        let version = stored.writer.clone();
        Ok(Some((stored, version)))
    }

    fn swap_local(
        &self,
        files: &LocalFiles,
        full: &str,
        expected: Option<&PointerValue>,
        target: &str,
    ) -> Result<Swap> {
        let path = files.path_for_writing(full)?;
        files.make_directory(parent(&path))?;
        let _lock = DirectoryLock::acquire(parent(&path))?;
        let current = self.load_local(files, full)?;
        if current.as_ref().map(|(_, version)| version) != expected.map(|value| &value.version) {
            return Ok(Swap::Lost(
                current.map(|(stored, version)| value(&stored, version)),
            ));
        }
        let (stored, bytes) = self.successor(current.as_ref().map(|(stored, _)| stored), target)?;
        files.put(full, &bytes)?;
        let version = stored.writer.clone();
        Ok(Swap::Done(value(&stored, version)))
    }

    async fn load_remote(
        &self,
        remote: &Remote,
        full: &str,
    ) -> BackendResult<Option<Result<(Stored, String)>>> {
        match remote.get_with_version(full).await {
            Ok((bytes, version)) => {
                let version = version.unwrap_or_default();
                Ok(Some(self.parse(&bytes).map(|stored| (stored, version))))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn swap_remote(
        &self,
        remote: &Remote,
        full: &str,
        expected: Option<&PointerValue>,
        target: &str,
    ) -> Result<Swap> {
        // The nonces of earlier writers are in the current value, so it is read first; a value that is not the expected
        // one has lost already.
        let current = self.load()?;
        if current.as_ref().map(|(_, version)| version) != expected.map(|value| &value.version) {
            return Ok(Swap::Lost(
                current.map(|(stored, version)| value(&stored, version)),
            ));
        }
        let (stored, bytes) = self.successor(current.as_ref().map(|(stored, _)| stored), target)?;
        let bytes = bytes::Bytes::from(bytes);
        let mode = || match expected {
            Some(value) => unchanged(&value.version),
            None => PutMode::Create,
        };
        let mut pauses = Pauses::new(remote.first_pause);
        loop {
            let mut failure = StoreError::Backend {
                action: "move",
                at: self.at(),
                message: "the server refuses the condition although it holds".to_string(),
                transient: true,
            };
            match block_on(remote.put_if_once(full, bytes.clone(), mode()))? {
                Ok(Conditional::Done(Some(version))) => return Ok(Swap::Done(value(&stored, version))),
                Ok(Conditional::Done(None) | Conditional::Refused) => {}
                Err(error) if remote.may_retry(&error) => failure = remote.error("move", full, &error),
                Err(error) => return Err(remote.error("move", full, &error)),
            }
            // Looked at without delay: the more others move the pointer on, the harder it is to find our own move.
            match self.load()? {
                // Our own write, whose answer was lost or carried no version.
                Some((there, version)) if there.writer == stored.writer => {
                    return Ok(Swap::Done(value(&there, version)));
                }
                // Ours, and moved on since: the version is gone, so the value can be compared but not swapped from.
                Some((there, _)) if there.is_recent(&stored.writer) => {
                    return Ok(Swap::Done(value(&stored, String::new())));
                }
                // Nothing changed: the put failed, or is still under way, or (some servers) raced and was not stored.
                now if now.as_ref().map(|(_, version)| version) == expected.map(|value| &value.version) => {
                    match pauses.next() {
                        Some(pause) => std::thread::sleep(pause),
                        None => return Err(failure),
                    }
                }
                now => return Ok(Swap::Lost(now.map(|(stored, version)| value(&stored, version)))),
            }
        }
    }
}

fn value(stored: &Stored, version: String) -> PointerValue {
    PointerValue {
        target: stored.target.clone(),
        generation: stored.generation,
        version,
    }
}
