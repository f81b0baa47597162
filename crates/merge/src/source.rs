//! One model to be merged: its headers, configuration, tokenizer and lineage, and its bytes by range.
//!
//! Stands between the store (a directory or an artifact, local or remote) and the plan. Opening reads headers and
//! small files only. A source is cheap to clone and may be read from many threads.

use std::sync::Arc;

use serde_json::{Map, Value};
use tributary_store::{Artifact, Lineage, Store, StoreError};
use tributary_tensorfile::{Checkpoint, DType, Directory, TensorFileError, TensorInfo, count_json_values};

use crate::error::{MergeError, Result};

/// Largest tokenizer or other small file that is read.
const MAX_SMALL_FILE: u64 = 256 << 20;
/// Largest configuration that is read, in bytes and in values: as a tree it takes many times its text.
const MAX_CONFIGURATION: u64 = 16 << 20;
const MAX_VALUES: usize = 1 << 17;
const CONFIGURATION: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Kind of a model that is known by its headers only.
const DIRECTORY: &str = "directory";

/// An opened model.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

struct Inner {
    reference: String,
    checkpoint: Checkpoint,
    configuration: Map<String, Value>,
    directory: Box<dyn Directory>,
    files: Vec<String>,
    identity: Identity,
    is_local: bool,
    version: String,
}

/// Who a model is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Kind of its artifact, or `directory`.
    pub kind: String,
    /// Digest that names it.
    pub digest: String,
    /// What its manifest records.
    pub facts: Map<String, Value>,
}

impl Source {
    /// Opens the model in `store`: an artifact, or any directory in Hugging Face's layout. `reference` is the text
    /// that stands for it in the document ([`crate::ModelSpec::model`], `base_model`).
    ///
    /// # Errors
    /// [`MergeError::Model`] if there is no model, or a broken one; [`MergeError::Unavailable`] if its store does not
    /// answer.
    pub fn open(reference: &str, store: &Store) -> Result<Source> {
        let artifact =
            Artifact::try_open(store).map_err(|error| refusal(reference, &error, error.is_transient()))?;
        let identity = artifact.map(|artifact| Identity {
            kind: artifact.manifest().kind.clone(),
            digest: artifact.manifest().digest(),
            facts: artifact.manifest().facts.clone(),
        });
        Source::load(reference, store, identity)
    }

    /// As [`Self::open`], of a model whose identity the caller knows better than its directory tells: a part of an
    /// artifact, or a directory whose content was hashed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_as(reference: &str, store: &Store, identity: Identity) -> Result<Source> {
        Source::load(reference, store, Some(identity))
    }

    fn load(reference: &str, store: &Store, identity: Option<Identity>) -> Result<Source> {
        let broken = |reason: String| MergeError::Model {
            model: tributary_store::mask(reference),
            reason,
        };
        if let Some(path) = store.local_path().filter(|path| !path.exists()) {
            return Err(broken(format!("there is no {}", path.display())));
        }
        let is_known = identity.is_some();
        let is_local = store.local_path().is_some();
        let mut source = Source::from_directory(reference, Box::new(store.directory()), identity, is_local)?;
        if let Some(inner) = Arc::get_mut(&mut source.inner).filter(|_| !is_known) {
            inner.version = version(store, &inner.checkpoint);
        }
        Ok(source)
    }

    /// The model whose files are in `directory`.
    pub(crate) fn from_directory(
        reference: &str,
        directory: Box<dyn Directory>,
        identity: Option<Identity>,
        is_local: bool,
    ) -> Result<Source> {
        let refuse = |error: TensorFileError| refusal(reference, &error, is_transient(&error));
        let broken = |reason: String| MergeError::Model {
            model: tributary_store::mask(reference),
            reason,
        };
        let checkpoint = Checkpoint::open(&*directory).map_err(refuse)?;
        let files = directory.list().map_err(refuse)?;
        let text = directory
            .read_small(CONFIGURATION, MAX_CONFIGURATION)
            .map_err(refuse)?;
        let text = text.ok_or_else(|| broken(format!("it has no {CONFIGURATION}")))?;
        if count_json_values(&text) > MAX_VALUES {
            return Err(broken(format!(
                "{CONFIGURATION} has more than {MAX_VALUES} values"
            )));
        }
        let configuration = match serde_json::from_slice(&text) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(broken(format!("{CONFIGURATION} is not an object"))),
            Err(error) => return Err(broken(format!("{CONFIGURATION}: {error}"))),
        };
        let identity = identity.unwrap_or_else(|| Identity {
            kind: DIRECTORY.to_string(),
            digest: header_digest(&checkpoint, &text),
            facts: Map::new(),
        });
        let inner = Inner {
            reference: reference.to_string(),
            checkpoint,
            configuration,
            directory,
            files,
            identity,
            is_local,
            version: String::new(),
        };
        Ok(Source {
            inner: Arc::new(inner),
        })
    }

    /// The text that stands for this model in the document.
    pub fn reference(&self) -> &str {
        &self.inner.reference
    }

    /// Its tensors.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.inner.checkpoint
    }

    /// The type that a tensor is stored in.
    pub(crate) fn stored_type(&self, tensor: &TensorInfo) -> DType {
        tensor.dtype
    }

    /// Its `config.json`.
    pub fn configuration(&self) -> &Map<String, Value> {
        &self.inner.configuration
    }

    /// What its manifest records (empty without a manifest).
    pub fn facts(&self) -> &Map<String, Value> {
        &self.inner.identity.facts
    }

    /// Digest that names this model: of its manifest; for a directory without one, of its headers and configuration
    /// (kind `directory`: tensors are not covered).
    pub fn digest(&self) -> &str {
        &self.inner.identity.digest
    }

    /// Its entry in the lineage of what is made from it.
    pub fn lineage(&self, name: &str) -> Lineage {
        Lineage {
            name: name.to_string(),
            kind: self.inner.identity.kind.clone(),
            digest: self.inner.identity.digest.clone(),
        }
    }

    /// What changes when files of a directory without a manifest change, as far as their store tells it cheaply.
    pub(crate) fn version(&self) -> &str {
        &self.inner.version
    }

    /// Does the digest cover every byte? Not for a directory without a manifest: see [`Self::digest`].
    pub fn is_known_by_content(&self) -> bool {
        self.inner.identity.kind != DIRECTORY
    }

    /// Are reads served by this machine?
    pub fn is_local(&self) -> bool {
        self.inner.is_local
    }

    /// A small file, `None` if there is none of that name.
    pub fn small_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if !self.inner.files.iter().any(|file| file == name) {
            return Ok(None);
        }
        self.inner
            .directory
            .read_small(name, MAX_SMALL_FILE)
            .map_err(|error| refusal(self.reference(), &error, is_transient(&error)))
    }

    /// Its `tokenizer.json`.
    pub(crate) fn tokenizer(&self) -> Result<Option<Vec<u8>>> {
        self.small_file(TOKENIZER)
    }

    /// Fills `buffer` with the bytes of a tensor from its byte `start` on.
    pub(crate) fn read(&self, name: &str, tensor: &TensorInfo, start: u64, buffer: &mut [u8]) -> Result<()> {
        self.inner
            .checkpoint
            .read_range(tensor, start, buffer)
            .map_err(|error| MergeError::Read {
                model: name.to_string(),
                tensor: tensor.name.clone(),
                start,
                end: start.saturating_add(buffer.len() as u64),
                source: match error {
                    TensorFileError::Read { source, .. } => source,
                    other => std::io::Error::other(other),
                },
            })
    }
}

fn refusal(reference: &str, error: &dyn std::error::Error, is_transient: bool) -> MergeError {
    let model = tributary_store::mask(reference);
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !reason.contains(&said) {
            reason.push_str(": ");
            reason.push_str(&said);
        }
        cause = error.source();
    }
    if is_transient {
        MergeError::Unavailable { model, reason }
    } else {
        MergeError::Model { model, reason }
    }
}

/// Is it a store that may answer later?
fn is_transient(error: &TensorFileError) -> bool {
    let TensorFileError::Read { source, .. } = error else {
        return false;
    };
    let carried = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<StoreError>());
    carried.is_some_and(StoreError::is_transient)
}

/// Times of change of the shards, or a server's version tags.
fn version(store: &Store, checkpoint: &Checkpoint) -> String {
    let of = |name: &str| match store.local_path() {
        Some(folder) => {
            let changed = std::fs::metadata(folder.join(name)).and_then(|file| file.modified());
            format!("{name} {changed:?}\n")
        }
        None => {
            let tag = store.head(name).ok().flatten().and_then(|object| object.etag);
            format!("{name} {tag:?}\n")
        }
    };
    checkpoint.shards().iter().map(|shard| of(&shard.name)).collect()
}

/// BLAKE3 over names, types, shapes and places of all tensors, and the configuration.
fn header_digest(checkpoint: &Checkpoint, configuration: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    add(configuration);
    for shard in checkpoint.shards() {
        add(shard.name.as_bytes());
        add(&shard.len.to_le_bytes());
    }
    for tensor in checkpoint.tensors() {
        add(format!("{tensor:?}").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
