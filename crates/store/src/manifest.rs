//! The manifest: what an artifact is, byte for byte, and where it came from. No manifest, no artifact.
//!
//! It holds no clock and no host name, and its bytes are canonical (settings and facts with sorted keys): the same
//! inputs and settings give the same manifest. A manifest that is read is hostile until checked: counts and sizes
//! bounded, paths confined and free of clashes, digests consistent with each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tributary_tensorfile::{count_json_values, printable};

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
const MAX_OBJECTS: usize = 200_000;
/// So many values any manifest may have; a longer one has one value to a line, and lines are not shorter than this.
const MANY_VALUES: usize = 1 << 17;
const BYTES_A_VALUE: usize = 16;
const CHECKSUM: &str = "checksum";

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
        let (mut settings, mut facts) = (draft.settings, Value::Object(draft.facts));
        sort_keys(&mut settings);
        sort_keys(&mut facts);
        let facts = if let Value::Object(facts) = facts {
            facts
        } else {
            Map::new()
        };
        let objects = written.into_iter().map(ObjectEntry::from).collect();
        Self {
            format: FORMAT,
            kind: draft.kind,
            producer: draft.producer,
            inputs: draft.inputs,
            settings,
            outputs: draft.outputs,
            facts,
            objects,
        }
    }

    /// The bytes stored: indented JSON with a final newline. The last key, `checksum`, is the BLAKE3 of the same text
    /// without it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        let checksum = Digest::of(&text(&value)).to_hex();
        if let Value::Object(map) = &mut value {
            map.insert(CHECKSUM.to_owned(), Value::String(checksum));
        }
        text(&value)
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
        let at = self
            .objects
            .binary_search_by(|object| object.path.as_str().cmp(path))
            .ok()?;
        self.objects.get(at)
    }

    /// Reads and checks a manifest; `at` names it in errors.
    ///
    /// # Errors
    /// [`StoreError::Manifest`] saying which rule it breaks.
    pub fn parse(bytes: &[u8], at: &str) -> Result<Self> {
        let fault = |reason: String| StoreError::Manifest {
            at: at.to_owned(),
            reason: printable(reason),
        };
        // As a tree, a value takes many times the two bytes it can be written in.
        let most = MANY_VALUES + bytes.len() / BYTES_A_VALUE;
        if count_json_values(bytes) > most {
            return Err(fault(format!("it has more than {most} values")));
        }
        // The format first: what another one has further down is not this program's business.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        if head.format != FORMAT {
            return Err(fault(format!(
                "format {}; this program reads {FORMAT}",
                head.format
            )));
        }
        let mut value: Value = serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?;
        if let Value::Object(map) = &mut value {
            map.shift_remove(CHECKSUM);
        }
        let manifest: Self = serde_json::from_value(value).map_err(|error| fault(error.to_string()))?;
        manifest.check().map_err(fault)?;
        // Every byte counts, also of what no rule speaks about.
        if manifest.to_bytes() != bytes {
            return Err(fault(
                "its text was changed: the checksum does not fit".to_owned(),
            ));
        }
        Ok(manifest)
    }

    /// The rules a manifest keeps, whoever wrote it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.objects.len() > MAX_OBJECTS {
            return Err(format!("{} objects, more than {MAX_OBJECTS}", self.objects.len()));
        }
        let mut total: u64 = 0;
        let mut before: Option<&str> = None;
        for object in &self.objects {
            check_path(&object.path).map_err(|error| error.to_string())?;
            if object.path == MANIFEST {
                return Err("it lists itself".to_owned());
            }
            if before.is_some_and(|before| before >= object.path.as_str()) {
                return Err(format!(
                    "object {:?} is out of order or stands twice",
                    object.path
                ));
            }
            before = Some(&object.path);
            total = total
                .checked_add(object.size)
                .ok_or("the sizes add up to more than any store holds")?;
            object
                .digests()
                .ok_or_else(|| format!("the digests of {:?} do not fit its size", object.path))?;
        }
        self.check_nesting()?;
        for (name, output) in &self.outputs {
            if !output.path.is_empty() {
                check_path(&output.path).map_err(|error| format!("output {name}: {error}"))?;
            }
        }
        Ok(())
    }

    /// A path may not be an object and a directory at once: local files could not hold it.
    fn check_nesting(&self) -> Result<(), String> {
        let paths: BTreeSet<&str> = self.objects.iter().map(|object| object.path.as_str()).collect();
        for path in &paths {
            let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
            if let Some(parent) = parents
                .into_iter()
                .find(|parent| paths.contains(parent) || *parent == MANIFEST)
            {
                return Err(format!("{parent:?} is both an object and a directory"));
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn sort_keys(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(sort_keys),
        _ => {}
    }
}

impl From<Written> for ObjectEntry {
    fn from(object: Written) -> ObjectEntry {
        let chunks = object.chunks.iter().map(|chunk| chunk.to_hex());
        ObjectEntry {
            path: object.path,
            size: object.size,
            blake3: object.blake3.to_hex(),
            chunks: if object.chunks.len() > 1 {
                chunks.collect()
            } else {
                Vec::new()
            },
        }
    }
}

impl ObjectEntry {
    /// The digest and the chunk values (one for an object of one chunk), if they are well formed.
    pub(crate) fn digests(&self) -> Option<(Digest, Vec<Digest>)> {
        let whole = Digest::from_hex(&self.blake3)?;
        let chunks: Vec<Digest> = self
            .chunks
            .iter()
            .map(|chunk| Digest::from_hex(chunk))
            .collect::<Option<_>>()?;
        match pieces(self.size, CHUNK_BYTES) {
            0 if chunks.is_empty() && whole == Digest::of(b"") => Some((whole, chunks)),
            1 if chunks.is_empty() => Some((whole, vec![whole])),
            count if count > 1 && chunks.len() as u64 == count && from_chunks(&chunks) == whole => {
                Some((whole, chunks))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(path: &str) -> Written {
        Written::of(path, path.as_bytes())
    }

    fn manifest(paths: &[&str]) -> Manifest {
        let draft = ManifestDraft {
            kind: "model".into(),
            settings: json!({"b": 1, "a": 0.1}),
            ..Default::default()
        };
        Manifest::new(draft, paths.iter().map(|path| written(path)).collect())
    }

    #[test]
    fn the_bytes_are_canonical_and_round_trip() {
        let one = manifest(&["b", "a/x", "c"]);
        let two = Manifest::parse(&one.to_bytes(), "x").unwrap();
        assert_eq!(one, two);
        assert_eq!(two.to_bytes(), one.to_bytes());
        assert_eq!(one.digest(), Digest::of(&one.to_bytes()).to_hex());
        let draft = ManifestDraft {
            kind: "model".into(),
            settings: json!({"a": 0.1, "b": 1}),
            ..Default::default()
        };
        assert_eq!(
            Manifest::new(draft, ["c", "b", "a/x"].map(written).to_vec()).digest(),
            one.digest()
        );
        assert_eq!(one.object("a/x").unwrap().size, 3);
        assert!(one.object("a").is_none());
    }

    #[test]
    fn broken_manifests_are_refused_with_their_reason() {
        type Change = fn(&mut Manifest);
        let cases: [(Change, &str); 11] = [
            (|m| m.format = 2, "format 2"),
            (|m| m.objects[0].path = "../a".into(), "`..`"),
            (|m| m.objects[0].path = "/a".into(), "absolute"),
            (|m| m.objects[0].path = "%2e%2E/a".into(), "percent"),
            (|m| m.objects[1].path = "tributary.json".into(), "lists itself"),
            (|m| m.objects[1] = m.objects[0].clone(), "twice"),
            (
                |m| m.objects[1].path = "a/c".into(),
                "both an object and a directory",
            ),
            (|m| m.objects[0].size = u64::MAX, "size"),
            (|m| m.objects[0].blake3 = "00".into(), "digests"),
            (|m| m.objects[0].chunks = vec!["00".into()], "digests"),
            (
                |m| {
                    m.outputs.insert(
                        "o".into(),
                        OutputEntry {
                            kind: "model".into(),
                            path: "../x".into(),
                        },
                    );
                },
                "output",
            ),
        ];
        for (change, word) in cases {
            let mut manifest = manifest(&["a", "b/c"]);
            change(&mut manifest);
            let text = Manifest::parse(&manifest.to_bytes(), "place/tributary.json")
                .unwrap_err()
                .to_string();
            assert!(
                text.contains(word) && text.contains("place/tributary.json"),
                "{word}: {text}"
            );
        }
        assert!(Manifest::parse(b"{\"format\": 1, \"kind\": \"x\"}", "x").is_err());
        assert!(Manifest::parse(b"not json", "x").is_err());
        let deep = format!("{{\"format\": 1, \"settings\": {}", "[".repeat(100_000));
        assert!(Manifest::parse(deep.as_bytes(), "x").is_err());
    }
}
