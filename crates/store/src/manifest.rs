//! The manifest: what an artifact is, byte for byte, and where it came from.
//!
//! It holds no clock and no host name: the same inputs and settings give the same manifest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::{CHUNK_BYTES, Digest, from_chunks, pieces};
use crate::error::{Result, StoreError};
use crate::key::check_path;
use crate::writer::Written;

/// Name of the manifest object; written last.
pub const MANIFEST: &str = "tributary.json";
/// Version of the manifest's format.
pub const FORMAT: u32 = 1;
/// Longest manifest accepted, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// One object of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectEntry {
    /// Path below the artifact's root.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// BLAKE3 of all bytes, hexadecimal.
    pub blake3: String,
    /// BLAKE3 chaining value of each 16 MiB chunk, hexadecimal, where there is more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<String>,
}

/// An input of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// What it was to the job ("base", "models.code", …).
    pub name: String,
    /// Its kind ("model", "dataset", …).
    pub kind: String,
    /// Digest of its manifest, or of its content if it had none.
    pub digest: String,
}

/// A named output: a part of the artifact that other jobs refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputEntry {
    /// Its kind.
    pub kind: String,
    /// Path below the artifact's root; empty for the root.
    pub path: String,
}

/// The program that made an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Producer {
    /// Program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Job kind.
    pub job: String,
    /// Version of the job's behaviour.
    pub job_version: u32,
}

/// What the maker of an artifact says of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManifestDraft {
    /// Kind of the artifact ("model", "dataset", …).
    pub kind: String,
    /// Inputs.
    pub inputs: Vec<Lineage>,
    /// Settings of the job.
    pub settings: Value,
    /// Named outputs.
    pub outputs: BTreeMap<String, OutputEntry>,
    /// Facts other jobs read without opening the artifact.
    pub facts: Map<String, Value>,
    /// Program.
    pub producer: Producer,
}

/// The manifest of a published artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Kind of the artifact.
    pub kind: String,
    /// Program that made it.
    pub producer: Producer,
    /// Inputs.
    pub inputs: Vec<Lineage>,
    /// Settings of the job.
    pub settings: Value,
    /// Named outputs.
    pub outputs: BTreeMap<String, OutputEntry>,
    /// Facts other jobs read without opening the artifact.
    pub facts: Map<String, Value>,
    /// The objects, sorted by path.
    pub objects: Vec<ObjectEntry>,
}

impl Manifest {
    pub(crate) fn new(draft: ManifestDraft, mut written: Vec<Written>) -> Self {
        written.sort_by(|a, b| a.path.cmp(&b.path));
        let objects = written
            .into_iter()
            .map(|object| ObjectEntry {
                path: object.path,
                size: object.size,
                blake3: object.blake3.to_hex(),
                chunks: if object.chunks.len() > 1 {
                    object.chunks.iter().map(|chunk| chunk.to_hex()).collect()
                } else {
                    Vec::new()
                },
            })
            .collect();
        Self {
            format: FORMAT,
            kind: draft.kind,
            producer: draft.producer,
            inputs: draft.inputs,
            settings: draft.settings,
            outputs: draft.outputs,
            facts: draft.facts,
            objects,
        }
    }

    /// The bytes stored: indented JSON with a final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// BLAKE3 of [`Self::to_bytes`], hexadecimal: the identity of the artifact.
    pub fn digest(&self) -> String {
        Digest::of(&self.to_bytes()).to_hex()
    }

    /// Bytes of all objects.
    pub fn total_bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size).sum()
    }

    /// The object at `path`.
    pub fn object(&self, path: &str) -> Option<&ObjectEntry> {
        self.objects.iter().find(|object| object.path == path)
    }

    /// Reads and checks a manifest; `at` names it in errors.
    ///
    /// # Errors
    /// [`StoreError::Manifest`] saying which rule it breaks.
    pub fn parse(bytes: &[u8], at: &str) -> Result<Self> {
        let fault = |reason: String| StoreError::Manifest { at: at.to_owned(), reason };
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(fault(format!("format {}; this program reads {FORMAT}", manifest.format)));
        }
        let mut seen = BTreeSet::new();
        for object in &manifest.objects {
            check_path(&object.path).map_err(|error| fault(error.to_string()))?;
            if object.path == MANIFEST || !seen.insert(object.path.as_str()) {
                return Err(fault(format!("object {:?} stands twice or is the manifest itself", object.path)));
            }
            object.digests().ok_or_else(|| fault(format!("the digests of {:?} do not fit its size", object.path)))?;
        }
        for (name, output) in &manifest.outputs {
            if !output.path.is_empty() {
                check_path(&output.path).map_err(|error| fault(format!("output {name}: {error}")))?;
            }
        }
        Ok(manifest)
    }
}

impl ObjectEntry {
    /// The digest and the chunk values (one for an object of one chunk), if they are well formed.
    pub(crate) fn digests(&self) -> Option<(Digest, Vec<Digest>)> {
        let whole = Digest::from_hex(&self.blake3)?;
        let chunks: Vec<Digest> = self.chunks.iter().map(|chunk| Digest::from_hex(chunk)).collect::<Option<_>>()?;
        match pieces(self.size, CHUNK_BYTES) {
            0 if chunks.is_empty() && whole == Digest::of(b"") => Some((whole, chunks)),
            1 if chunks.is_empty() => Some((whole, vec![whole])),
            count if count > 1 && chunks.len() as u64 == count && from_chunks(&chunks) == whole => Some((whole, chunks)),
            _ => None,
        }
    }
}
