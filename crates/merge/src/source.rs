//! One model to be merged: its headers, configuration, tokenizer and lineage, and its bytes by range.
//!
//! Stands between the store (a directory or an artifact, local or remote) and the plan. Opening reads headers and
//! small files only. A source is cheap to clone and may be read from many threads.

use std::sync::Arc;

use serde_json::{Map, Value};
use tributary_store::{Artifact, Lineage, Store};
use tributary_tensorfile::{Checkpoint, Directory, TensorFileError, TensorInfo};

use crate::error::{MergeError, Result};

/// Largest configuration or tokenizer file that is read.
const MAX_SMALL_FILE: u64 = 256 << 20;
const CONFIGURATION: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

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
    lineage: Lineage,
    facts: Map<String, Value>,
    is_local: bool,
}

impl Source {
    /// Opens the model in `store`: an artifact, or any directory in Hugging Face's layout. `reference` is the text
    /// that stands for it in the document ([`crate::ModelSpec::model`], `base_model`).
    ///
    /// # Errors
    /// [`MergeError::Model`] if there is no model, or a broken one.
    pub fn open(reference: &str, store: &Store) -> Result<Source> {
        let fail = |reason: String| MergeError::Model {
            model: tributary_store::mask(reference),
            reason,
        };
        let artifact = Artifact::try_open(store).map_err(|error| fail(error.to_string()))?;
        let directory = Box::new(store.directory());
        let checkpoint = Checkpoint::open(&*directory).map_err(|error| fail(error.to_string()))?;
        let files = directory.list().map_err(|error| fail(error.to_string()))?;
        let small = |name: &str| read_small(&*directory, name).map_err(|error| fail(error.to_string()));
        let text = small(CONFIGURATION)?.ok_or_else(|| fail(format!("it has no {CONFIGURATION}")))?;
        let configuration = match serde_json::from_slice(&text) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(fail(format!("{CONFIGURATION} is not an object"))),
            Err(error) => return Err(fail(format!("{CONFIGURATION}: {error}"))),
        };
        let (lineage, facts) = match &artifact {
            Some(artifact) => {
                let manifest = artifact.manifest();
                let lineage = Lineage {
                    name: String::new(),
                    kind: manifest.kind.clone(),
                    digest: manifest.digest(),
                };
                (lineage, manifest.facts.clone())
            }
            None => (
                Lineage {
                    name: String::new(),
                    kind: "directory".to_string(),
                    digest: header_digest(&checkpoint, &text),
                },
                Map::new(),
            ),
        };
        let is_local = store.local_path().is_some();
        let inner = Inner {
            reference: reference.to_string(),
            checkpoint,
            configuration,
            directory,
            files,
            lineage,
            facts,
            is_local,
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

    /// Its `config.json`.
    pub fn configuration(&self) -> &Map<String, Value> {
        &self.inner.configuration
    }

    /// What its manifest records (empty without a manifest).
    pub fn facts(&self) -> &Map<String, Value> {
        &self.inner.facts
    }

    /// Digest that names this model: of its manifest; for a directory without one, of its headers and configuration
    /// (kind `directory`: tensors are not covered).
    pub fn digest(&self) -> &str {
        &self.inner.lineage.digest
    }

    /// Its entry in the lineage of what is made from it.
    pub fn lineage(&self, name: &str) -> Lineage {
        Lineage {
            name: name.to_string(),
            ..self.inner.lineage.clone()
        }
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
        read_small(&*self.inner.directory, name).map_err(|error| MergeError::Model {
            model: tributary_store::mask(self.reference()),
            reason: error.to_string(),
        })
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

fn read_small(directory: &dyn Directory, name: &str) -> Result<Option<Vec<u8>>, TensorFileError> {
    directory.read_small(name, MAX_SMALL_FILE)
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
