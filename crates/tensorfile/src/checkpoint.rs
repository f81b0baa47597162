//! All tensors of a safetensors model directory, one file or many.
//!
//! Opening reads and checks every header and the index against them; no tensor byte moves before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;

use crate::convert::to_f32;
use crate::directory::{Directory, check_file_name};
use crate::dtype::DType;
use crate::error::{Result, TensorFileError, printable};
use crate::header::{MAX_HEADER_BYTES, place_of, read_header};
use crate::read_at::ReadAt;
use crate::unique_map::UniqueMap;

/// File of an unsharded model.
pub const SINGLE_FILE: &str = "model.safetensors";
/// Index of a sharded model.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<usize>,
    /// Index into [`Checkpoint::shards`].
    pub shard: usize,
    /// First byte, counted from the start of the shard's file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes as usize / self.dtype.size()
    }
}

/// One file of a checkpoint.
#[derive(Clone)]
pub struct Shard {
    /// File name.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    reader: Arc<dyn ReadAt>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shard")
            .field("name", &self.name)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// An opened checkpoint; cheap to clone and usable from many threads.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    place: String,
    tensors: Vec<TensorInfo>,
    shards: Vec<Shard>,
    metadata: BTreeMap<String, String>,
}

/// The index as written; its other parts are nobody's contract.
#[derive(Deserialize)]
struct RawIndex {
    weight_map: UniqueMap<String>,
}

impl Checkpoint {
    /// Opens the model in `directory`: `model.safetensors` where there is one, else the shards that
    /// `model.safetensors.index.json` names. Transformers looks in the same order.
    ///
    /// # Errors
    /// [`TensorFileError::NoModel`] without either; otherwise the first fault of index or headers. The
    /// index and the shards must agree in both directions: an entry whose shard lacks the tensor is a
    /// fault, and so is a tensor the index does not name, because readers that go by the index and
    /// readers that go by the shards would see two different models.
    pub fn open(directory: &dyn Directory) -> Result<Self> {
        let place = directory.describe();
        if let Some(reader) = open_if_there(directory, SINGLE_FILE)? {
            return Self::from_files(&place, vec![(SINGLE_FILE.to_owned(), reader)]);
        }
        let Some(reader) = open_if_there(directory, INDEX_FILE)? else {
            return Err(TensorFileError::NoModel { directory: place });
        };
        let file = format!("{place}/{INDEX_FILE}");
        let weight_map = read_index(&file, &*reader)?;
        let names: BTreeSet<&String> = weight_map.iter().map(|(_, shard)| shard).collect();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            check_file_name(name).map_err(|reason| TensorFileError::malformed(&file, reason))?;
            files.push((name.clone(), directory.open(name)?));
        }
        let checkpoint = Self::from_files(&place, files)?;
        checkpoint.check_index(&file, &weight_map)?;
        Ok(checkpoint)
    }

    /// Opens one safetensors file of any name, for example an optimiser's state.
    ///
    /// # Errors
    /// As [`Self::open`], for a single file.
    pub fn open_file(directory: &dyn Directory, name: &str) -> Result<Self> {
        Self::from_files(
            &directory.describe(),
            vec![(name.to_owned(), directory.open(name)?)],
        )
    }

    fn from_files(place: &str, files: Vec<(String, Arc<dyn ReadAt>)>) -> Result<Self> {
        let mut checkpoint = Self {
            place: place.to_owned(),
            tensors: Vec::new(),
            shards: Vec::new(),
            metadata: BTreeMap::new(),
        };
        for (shard, (name, reader)) in files.into_iter().enumerate() {
            let header = read_header(&format!("{place}/{name}"), &*reader)?;
            for (key, value) in header.metadata {
                checkpoint.metadata.entry(key).or_insert(value);
            }
            checkpoint
                .tensors
                .extend(header.tensors.into_iter().map(|entry| TensorInfo {
                    name: entry.name,
                    dtype: entry.dtype,
                    shape: entry.shape,
                    shard,
                    offset: entry.offset,
                    bytes: entry.bytes,
                }));
            checkpoint.shards.push(Shard {
                name,
                len: reader.len(),
                reader,
            });
        }
        checkpoint
            .tensors
            .sort_by(|a, b| (&a.name, a.shard).cmp(&(&b.name, b.shard)));
        if let Some(pair) = checkpoint
            .tensors
            .windows(2)
            .find(|pair| pair[0].name == pair[1].name)
        {
            let shard = |tensor: &TensorInfo| checkpoint.shards[tensor.shard].name.clone();
            let reason = format!("both {} and {} hold it", shard(&pair[0]), shard(&pair[1]));
            return Err(TensorFileError::tensor(place, &pair[0].name, reason));
        }
        Ok(checkpoint)
    }

    fn check_index(&self, file: &str, weight_map: &[(String, String)]) -> Result<()> {
        let index: HashMap<&str, &str> = weight_map
            .iter()
            .map(|(name, shard)| (&name[..], &shard[..]))
            .collect();
        for tensor in &self.tensors {
            let shard = &self.shards[tensor.shard].name;
            if index.get(&tensor.name[..]) != Some(&&shard[..]) {
                let reason = format!("{shard} holds it but the index does not say so");
                return Err(TensorFileError::tensor(file, &tensor.name, reason));
            }
        }
        match weight_map.iter().find(|(name, _)| self.get(name).is_none()) {
            Some((name, shard)) => Err(TensorFileError::tensor(
                file,
                name,
                format!("the index puts it in {shard}, which does not hold it"),
            )),
            None => Ok(()),
        }
    }

    /// The tensors, sorted by name.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor `name`.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors
            .binary_search_by(|tensor| tensor.name.as_str().cmp(name))
            .ok()
            .map(|at| &self.tensors[at])
    }

    /// The free-form metadata of all shards together; where two differ in a key, the first shard counts.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The files.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Where the checkpoint lies, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Bytes of all tensors.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// Elements of all floating-point tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors
            .iter()
            .filter(|tensor| tensor.dtype.is_float())
            .map(|tensor| tensor.elements() as u64)
            .sum()
    }

    /// The bytes of a tensor without copying, where the shard is mapped or in memory.
    pub fn slice(&self, tensor: &TensorInfo) -> Option<&[u8]> {
        let bytes = self.shards.get(tensor.shard)?.reader.as_slice()?;
        bytes.get(tensor.offset as usize..)?.get(..tensor.bytes as usize)
    }

    /// Fills `buffer` with the tensor's bytes from its byte `start`.
    ///
    /// # Errors
    /// [`TensorFileError::Read`] naming the file, [`TensorFileError::Tensor`] if the range leaves the tensor.
    pub fn read_range(&self, tensor: &TensorInfo, start: u64, buffer: &mut [u8]) -> Result<()> {
        let Some(shard) = self.shards.get(tensor.shard) else {
            return Err(TensorFileError::tensor(
                &self.place,
                &tensor.name,
                "it is not of this checkpoint",
            ));
        };
        let file = format!("{}/{}", self.place, shard.name);
        if start
            .checked_add(buffer.len() as u64)
            .is_none_or(|end| end > tensor.bytes)
        {
            let reason = format!("bytes {start}+{} asked of {}", buffer.len(), tensor.bytes);
            return Err(TensorFileError::tensor(&file, &tensor.name, reason));
        }
        shard
            .reader
            .read_at(tensor.offset + start, buffer)
            .map_err(|source| TensorFileError::Read { file, source })
    }

    /// All bytes of a tensor.
    ///
    /// # Errors
    /// As [`Self::read_range`].
    pub fn read(&self, tensor: &TensorInfo) -> Result<Vec<u8>> {
        let mut bytes = vec![0; tensor.bytes as usize];
        self.read_range(tensor, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// All elements of a floating-point tensor as f32.
    ///
    /// # Errors
    /// As [`Self::read_range`], and [`TensorFileError::Convert`] for other element types.
    pub fn read_f32(&self, tensor: &TensorInfo) -> Result<Vec<f32>> {
        /// Elements converted by one task.
        const TASK: usize = 1 << 18;
        // Refuses other element types even where there are no elements.
        to_f32(tensor.dtype, &[], &mut [])?;
        let owned;
        let bytes = match self.slice(tensor) {
            Some(bytes) => bytes,
            None => {
                owned = self.read(tensor)?;
                &owned
            }
        };
        let mut values = vec![0.0; tensor.elements()];
        // Element by element, so the result does not depend on how many threads share the work.
        values
            .par_chunks_mut(TASK)
            .zip(bytes.par_chunks(TASK * tensor.dtype.size()))
            .try_for_each(|(values, bytes)| to_f32(tensor.dtype, bytes, values))?;
        Ok(values)
    }
}

/// Opens `name`, or nothing if there is no such file.
fn open_if_there(directory: &dyn Directory, name: &str) -> Result<Option<Arc<dyn ReadAt>>> {
    match directory.open(name) {
        Ok(reader) => Ok(Some(reader)),
        Err(TensorFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Tensor and shard of every entry of the index `file`. It may be as long as a header: both hold one entry a tensor.
fn read_index(file: &str, reader: &dyn ReadAt) -> Result<Vec<(String, String)>> {
    if reader.len() > MAX_HEADER_BYTES {
        let reason = format!(
            "{} bytes, more than the limit of {MAX_HEADER_BYTES}",
            reader.len()
        );
        return Err(TensorFileError::malformed(file, reason));
    }
    let owned;
    let bytes = match reader.as_slice() {
        Some(bytes) => bytes,
        None => {
            let mut all = vec![0; reader.len() as usize];
            reader
                .read_at(0, &mut all)
                .map_err(|source| TensorFileError::Read {
                    file: file.to_owned(),
                    source,
                })?;
            owned = all;
            &owned
        }
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        TensorFileError::malformed_at(file, error.valid_up_to() as u64, "it is not UTF-8")
    })?;
    let index: RawIndex = serde_json::from_str(text)
        .map_err(|error| TensorFileError::malformed_at(file, place_of(&error, text), printable(error)))?;
    Ok(index.weight_map.0)
}
