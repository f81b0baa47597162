//! The result of a plan as a model that other plans can be checked against before a byte of it exists.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde_json::Map;
use tributary_tensorfile::{Directory, INDEX_FILE, ReadAt, TensorFileError};

use super::merge_plan::MergePlan;
use crate::error::Result;
use crate::source::{Identity, Source};
use crate::vocabulary::TOKENIZER_FILES;

impl MergePlan {
    /// The result as it will be: headers, configuration and tokenizer. Its tensors cannot be read.
    ///
    /// # Errors
    /// What reading the tokenizer's files gives.
    pub fn as_source(&self, reference: &str) -> Result<Source> {
        let mut files = BTreeMap::new();
        let mut add = |name: &str, head: Vec<u8>, len: u64| {
            files.insert(name.to_string(), Arc::new(Planned { head, len }));
        };
        for shard in &self.layout.shards {
            add(&shard.file, shard.header.clone(), shard.len);
        }
        let whole = |bytes: Vec<u8>| {
            let len = bytes.len() as u64;
            (bytes, len)
        };
        let index = self.layout.index.clone().map(|index| (INDEX_FILE, index));
        let mut small: Vec<(&str, Vec<u8>)> = index.into_iter().collect();
        small.push(("config.json", self.configuration.clone()));
        for name in TOKENIZER_FILES {
            let bytes = match self.tokenizer_files.get(*name) {
                Some(bytes) => Some(bytes.clone()),
                None => self.tokenizer.small_file(name)?,
            };
            small.extend(bytes.map(|bytes| (*name, bytes)));
        }
        for (name, bytes) in small {
            let (head, len) = whole(bytes);
            add(name, head, len);
        }
        let identity = Identity {
            kind: "planned".to_string(),
            digest: String::new(),
            facts: Map::new(),
        };
        let directory = PlannedFiles {
            at: reference.to_string(),
            files,
        };
        Source::from_directory(reference, Arc::new(directory), Some(identity), true)
    }
}

struct PlannedFiles {
    at: String,
    files: BTreeMap<String, Arc<Planned>>,
}

/// A file of which only the beginning is known.
struct Planned {
    head: Vec<u8>,
    len: u64,
}

impl ReadAt for Planned {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let known = usize::try_from(offset)
            .ok()
            .and_then(|start| self.head.get(start..));
        let known = known.filter(|known| !known.is_empty() || buffer.is_empty());
        let known = known.ok_or_else(|| io::Error::other("this model is not made yet"))?;
        // Whoever reads a header may read further than it goes: that part is not looked at.
        let count = known.len().min(buffer.len());
        buffer[..count].copy_from_slice(&known[..count]);
        buffer[count..].fill(0);
        Ok(())
    }
}

impl Directory for PlannedFiles {
    fn open(&self, name: &str) -> std::result::Result<Arc<dyn ReadAt>, TensorFileError> {
        match self.files.get(name) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn ReadAt>),
            None => Err(TensorFileError::Read {
                file: format!("{}/{name}", self.at),
                source: io::Error::from(io::ErrorKind::NotFound),
            }),
        }
    }

    fn list(&self) -> std::result::Result<Vec<String>, TensorFileError> {
        Ok(self.files.keys().cloned().collect())
    }

    fn describe(&self) -> String {
        self.at.clone()
    }
}
