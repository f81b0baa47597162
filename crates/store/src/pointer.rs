//! Movable names (`latest`, `best`): small objects that change by compare-and-swap only.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Result, StoreError};
use crate::lock::{DirectoryLock, nonce};
use crate::local::parent;
use crate::store::{Backend, Store};

/// A movable name in a store.
#[derive(Clone, Debug)]
pub struct Pointer {
    store: Store,
    path: String,
}

/// What a pointer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerValue {
    /// What it names.
    pub target: String,
    /// How often it has moved: 1 for the first value.
    pub generation: u64,
    /// Distinguishes two writers of the same generation.
    nonce: u64,
}

/// Outcome of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The pointer moved; this is its value now.
    Done(PointerValue),
    /// Another writer was first; this is its value, if it can be known.
    Lost(Option<PointerValue>),
}

impl Pointer {
    pub(crate) fn new(store: Store, path: &str) -> Self {
        Self { store, path: path.to_owned() }
    }

    /// The current value, or `None` if it was never set.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Manifest`] if the object is not a pointer.
    pub fn read(&self) -> Result<Option<PointerValue>> {
        match self.store.get(&self.path) {
            Ok(bytes) => Ok(Some(self.parse(&bytes)?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves the pointer to `target` if it still holds `expected`.
    ///
    /// # Errors
    /// [`StoreError`]; losing the race is an outcome, not an error.
    pub fn swap(&self, expected: Option<&PointerValue>, target: &str) -> Result<Swap> {
        let value = PointerValue {
            target: target.to_owned(),
            generation: expected.map_or(0, |value| value.generation) + 1,
            nonce: nonce(),
        };
        let bytes = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        let key = self.store.key(&self.path)?;
        match &*self.store.backend {
            Backend::Local(files) => {
                let path = files.path_for_writing(&key)?;
                files.make_directory(parent(&path))?;
                let _lock = DirectoryLock::acquire(parent(&path))?;
                let current = self.read()?;
                if current.as_ref() != expected {
                    return Ok(Swap::Lost(current));
                }
                files.put(&key, &bytes)?;
                Ok(Swap::Done(value))
            }
            Backend::Remote(remote) => {
                let version = match remote.get_versioned(&key) {
                    Ok((held, version)) => {
                        let held = self.parse(&held)?;
                        if Some(&held) != expected {
                            return Ok(Swap::Lost(Some(held)));
                        }
                        Some(version)
                    }
                    Err(error) if error.is_not_found() && expected.is_none() => None,
                    Err(error) if error.is_not_found() => return Ok(Swap::Lost(None)),
                    Err(error) => return Err(error),
                };
                match remote.swap(&key, bytes, version) {
                    Ok(()) => Ok(Swap::Done(value)),
                    Err(StoreError::Conflict { .. } | StoreError::Changed { .. }) => {
                        // Our own lost answer looks like somebody else's success; the nonce tells.
                        match self.read()? {
                            Some(now) if now == value => Ok(Swap::Done(value)),
                            now => Ok(Swap::Lost(now)),
                        }
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Moves the pointer to `target` whatever it holds; the last writer wins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set(&self, target: &str) -> Result<PointerValue> {
        let mut current = self.read()?;
        loop {
            match self.swap(current.as_ref(), target)? {
                Swap::Done(value) => return Ok(value),
                Swap::Lost(now) => current = now,
            }
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<PointerValue> {
        serde_json::from_slice(bytes).map_err(|error| StoreError::Manifest {
            at: self.store.describe(&self.path),
            reason: format!("it is not a pointer: {error}"),
        })
    }
}
