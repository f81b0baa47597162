//! One model to be merged: its headers, configuration, tokenizer and lineage, and its bytes by range.
//!
//! Stands between the store (a directory or an artifact, local or remote) and the plan. Opening reads headers and
//! small files only. A source is cheap to clone and may be read from many threads.

use std::sync::Arc;

use serde_json::{Map, Value};
use tributary_store::{Artifact, Lineage, Store, StoreError};
use tributary_tensorfile::{Checkpoint, DType, Directory, TensorFileError, TensorInfo, count_json_values};

use super::reference::split_adapter;
use crate::compatibility::is_tied;
use crate::error::{MergeError, Result};
use crate::lora::{Adapted, Adapter};

/// Largest tokenizer or other small file that is read.
const MAX_SMALL_FILE: u64 = 256 << 20;
/// Largest configuration that is read, in bytes and in values: as a tree it takes many times its text.
const MAX_CONFIGURATION: u64 = 16 << 20;
const MAX_VALUES: usize = 1 << 17;
const CONFIGURATION: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
/// Kind of a model that is known by its headers only.
const DIRECTORY: &str = "directory";
/// Kind of a model with an adapter in it, both known by content.
const ADAPTED: &str = "model+adapter";

/// An opened model.
#[derive(Clone)]
pub struct Source {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    reference: String,
    checkpoint: Checkpoint,
    configuration: Map<String, Value>,
    directory: Arc<dyn Directory>,
    files: Vec<String>,
    identity: Identity,
    is_local: bool,
    adapted: Option<Arc<Adapted>>,
    version: String,
}

/// A tensor of a model as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTensor {
    /// Its name and shape, and the type that a read gives.
    pub info: TensorInfo,
    /// The type it is stored in: what the type of a result follows. Where an adapter changes the tensor a read gives
    /// `F32`, because W + s·(B·A) has more digits than W.
    pub nominal: DType,
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

    /// As [`Self::open`], of a base model with an adapter in it (`base+adapter`): its tensors read as W + s·(B·A),
    /// computed block by block; nothing is written.
    ///
    /// # Errors
    /// As [`Self::open`]; [`MergeError::Adapter`] for an adapter that is not understood or does not fit.
    pub fn open_with_adapter(reference: &str, base: &Store, adapter: &Store) -> Result<Source> {
        let (base_url, adapter_url) = (base.url(), adapter.url());
        let (base_name, adapter_name) = match split_adapter(reference) {
            (base_name, Some(adapter_name)) => (base_name, adapter_name),
            _ => (base_url.as_str(), adapter_url.as_str()),
        };
        let base = Source::open(base_name, base)?;
        base.with_adapter(reference, &Adapter::open(adapter_name, adapter)?)
    }

    /// This model with an adapter in it, called `reference` from now on.
    ///
    /// # Errors
    /// [`MergeError::Adapter`] if the adapter does not fit this model, or there is one in it already.
    pub fn with_adapter(&self, reference: &str, adapter: &Adapter) -> Result<Source> {
        if self.inner.adapted.is_some() {
            return Err(MergeError::Model {
                model: tributary_store::mask(reference),
                reason: "there is an adapter in it already; merge that one first (trib lora merge)"
                    .to_string(),
            });
        }
        let is_tied = is_tied(&Value::Object(self.inner.configuration.clone()));
        let adapted = Adapted::new(adapter, &self.inner.checkpoint, is_tied)?;
        let is_known = self.is_known_by_content() && adapter.is_known_by_content();
        let mut inner = (*self.inner).clone();
        inner.reference = reference.to_string();
        inner.identity = Identity {
            kind: if is_known { ADAPTED } else { DIRECTORY }.to_string(),
            digest: digest_of([self.digest(), adapter.digest()].map(str::as_bytes)),
            // Facts are about the base alone.
            facts: Map::new(),
        };
        inner.is_local = inner.is_local && adapter.is_local();
        inner.version.push_str(adapter.version());
        inner.adapted = Some(Arc::new(adapted));
        Ok(Source {
            inner: Arc::new(inner),
        })
    }

    fn load(reference: &str, store: &Store, identity: Option<Identity>) -> Result<Source> {
        let broken = |reason: String| MergeError::Model {
            model: tributary_store::mask(reference),
            reason,
        };
        if let Some(path) = store.local_path().filter(|path| !path.exists()) {
            return Err(broken(format!(
                "there is no {}{}",
                path.display(),
                advice(reference)
            )));
        }
        let is_known = identity.is_some();
        let is_local = store.local_path().is_some();
        let mut source = Source::from_directory(reference, Arc::new(store.directory()), identity, is_local)?;
        // The bytes of an artifact on this machine were checked; on a server only its version tags tell that nothing was replaced
        // between a merge and its continuation.
        if let Some(inner) = Arc::get_mut(&mut source.inner).filter(|_| !(is_known && is_local)) {
            inner.version = version(reference, store, &inner.checkpoint)?;
        }
        Ok(source)
    }

    /// The model whose files are in `directory`.
    pub(crate) fn from_directory(
        reference: &str,
        directory: Arc<dyn Directory>,
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
            adapted: None,
        };
        Ok(Source {
            inner: Arc::new(inner),
        })
    }

    /// The text that stands for this model in the document.
    pub fn reference(&self) -> &str {
        &self.inner.reference
    }

    /// Its tensors as they are stored; of a model with an adapter, those of the base. See [`Self::tensor`].
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.inner.checkpoint
    }

    /// The tensor `name` as a read gives it.
    pub fn tensor(&self, name: &str) -> Option<SourceTensor> {
        self.inner.checkpoint.get(name).map(|info| self.as_read(info))
    }

    /// All tensors as reads give them, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = SourceTensor> {
        self.inner
            .checkpoint
            .tensors()
            .iter()
            .map(|info| self.as_read(info))
    }

    /// The type in which the tensor `name` is stored.
    pub fn nominal_dtype(&self, name: &str) -> Option<DType> {
        self.inner.checkpoint.get(name).map(|info| info.dtype)
    }

    /// Is it a base model with an adapter in it?
    pub fn has_adapter(&self) -> bool {
        self.inner.adapted.is_some()
    }

    /// How many tensors its adapter changes.
    pub(crate) fn tensors_changed(&self) -> usize {
        self.inner.adapted.as_ref().map_or(0, |adapted| adapted.count())
    }

    fn as_read(&self, stored: &TensorInfo) -> SourceTensor {
        let changes = self.inner.adapted.as_ref();
        let mut info = stored.clone();
        if changes.is_some_and(|adapted| adapted.changes(&stored.name)) && stored.dtype.is_float() {
            info.bytes = (stored.elements() * DType::F32.size()) as u64;
            info.dtype = DType::F32;
        }
        SourceTensor {
            info,
            nominal: stored.dtype,
        }
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

    /// Fills `buffer` with the bytes of a tensor from its byte `start` on, in the type that `tensor` says: that of
    /// [`Self::tensor`], or, of a tensor that an adapter changes, any type of floats.
    pub(crate) fn read(&self, name: &str, tensor: &TensorInfo, start: u64, buffer: &mut [u8]) -> Result<()> {
        let checkpoint = &self.inner.checkpoint;
        if let Some(adapted) = &self.inner.adapted
            && let Some(stored) = checkpoint.get(&tensor.name)
            && adapted.changes(&tensor.name)
        {
            return adapted.read(name, checkpoint, stored, tensor.dtype, start, buffer);
        }
        read_range(name, checkpoint, tensor, start, buffer)
    }
}

/// Reads a range of a stored tensor; `name` is what messages call the model.
pub(crate) fn read_range(
    name: &str,
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    start: u64,
    buffer: &mut [u8],
) -> Result<()> {
    checkpoint
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

/// The error of a model that cannot be opened, with the causes of `error`.
pub(crate) fn refusal(reference: &str, error: &dyn std::error::Error, is_transient: bool) -> MergeError {
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
pub(crate) fn is_transient(error: &TensorFileError) -> bool {
    let TensorFileError::Read { source, .. } = error else {
        return false;
    };
    let carried = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<StoreError>());
    carried.is_some_and(StoreError::is_transient)
}

/// What somebody may have meant by a path where nothing is.
fn advice(reference: &str) -> &'static str {
    let parts = reference.split('/').filter(|part| !part.is_empty()).count();
    match () {
        () if reference.starts_with('~') => "; \"~\" is not expanded here: write the whole path",
        () if parts == 2 && !reference.starts_with(['.', '/']) => {
            "; models of the Hugging Face Hub are not fetched: download it, and write where it lies"
        }
        () => "",
    }
}

/// Times of change of the shards, or a server's version tags.
pub(crate) fn version(reference: &str, store: &Store, checkpoint: &Checkpoint) -> Result<String> {
    let of = |name: &str| match store.local_path() {
        Some(folder) => {
            let changed = std::fs::metadata(folder.join(name)).and_then(|file| file.modified());
            let changed = changed.map_err(|error| refusal(reference, &error, false))?;
            Ok(format!("{name} {changed:?}\n"))
        }
        None => {
            let found = store.head(name);
            let found = found.map_err(|error| refusal(reference, &error, error.is_transient()))?;
            Ok(format!("{name} {:?}\n", found.and_then(|object| object.etag)))
        }
    };
    checkpoint.shards().iter().map(|shard| of(&shard.name)).collect()
}

pub(crate) fn read_small(directory: &dyn Directory, name: &str) -> Result<Option<Vec<u8>>, TensorFileError> {
    directory.read_small(name, MAX_SMALL_FILE)
}

/// BLAKE3 over names, types, shapes and places of all tensors, and the configuration.
pub(crate) fn header_digest(checkpoint: &Checkpoint, configuration: &[u8]) -> String {
    let mut parts = vec![configuration.to_vec()];
    for shard in checkpoint.shards() {
        parts.push(shard.name.clone().into_bytes());
        parts.push(shard.len.to_le_bytes().to_vec());
    }
    let tensors = checkpoint.tensors().iter();
    parts.extend(tensors.map(|tensor| format!("{tensor:?}").into_bytes()));
    digest_of(parts.iter().map(Vec::as_slice))
}

/// BLAKE3 over these parts, each with its length.
fn digest_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().to_hex().to_string()
}
