//! All tensors of a safetensors model directory, one file or many.
//!
//! Opening reads and checks every header and the index against them; no tensor byte moves before.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::convert::to_f32;
use crate::directory::{Directory, check_file_name};
use crate::dtype::DType;
use crate::error::{Result, TensorFileError};
use crate::header::{header_length, parse_header};
use crate::read_at::ReadAt;

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
        formatter.debug_struct("Shard").field("name", &self.name).field("len", &self.len).finish_non_exhaustive()
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

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the model in `directory`: `model.safetensors.index.json` where there is one, else
    /// `model.safetensors`.
    ///
    /// # Errors
    /// [`TensorFileError::NoModel`] without either; otherwise the first fault of index or headers. A
    /// tensor that the index does not list, or lists in another shard, is a fault.
    pub fn open(directory: &dyn Directory) -> Result<Self> {
        let place = directory.describe();
        let index = directory.read_small(INDEX_FILE, crate::header::MAX_HEADER_BYTES)?;
        let Some(index) = index else {
            return match Self::open_files(directory, &place, &[SINGLE_FILE.to_owned()]) {
                Err(TensorFileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    Err(TensorFileError::NoModel { directory: place })
                }
                result => result,
            };
        };
        let file = format!("{place}/{INDEX_FILE}");
        let index: Index =
            serde_json::from_slice(&index).map_err(|error| TensorFileError::malformed(&file, error.to_string()))?;
        let mut files: Vec<String> = index.weight_map.values().cloned().collect();
        files.sort();
        files.dedup();
        for name in &files {
            check_file_name(name).map_err(|reason| TensorFileError::malformed(&file, reason))?;
        }
        let checkpoint = Self::open_files(directory, &place, &files)?;
        for tensor in &checkpoint.tensors {
            let shard = &checkpoint.shards[tensor.shard].name;
            if index.weight_map.get(&tensor.name) != Some(shard) {
                return Err(TensorFileError::tensor(&file, &tensor.name, format!("{shard} holds it but the index does not say so")));
            }
        }
        if let Some(missing) = index.weight_map.keys().find(|name| checkpoint.get(name).is_none()) {
            return Err(TensorFileError::tensor(&file, missing, "the index lists it but its shard does not hold it"));
        }
        Ok(checkpoint)
    }

    fn open_files(directory: &dyn Directory, place: &str, files: &[String]) -> Result<Self> {
        let mut checkpoint =
            Self { place: place.to_owned(), tensors: Vec::new(), shards: Vec::new(), metadata: BTreeMap::new() };
        for (shard, name) in files.iter().enumerate() {
            let file = format!("{place}/{name}");
            let reader = directory.open(name)?;
            let read = |source| TensorFileError::Read { file: file.clone(), source };
            let len = reader.len();
            if len < 8 {
                return Err(TensorFileError::malformed_at(&file, 0, format!("{len} bytes cannot hold a header")));
            }
            let mut first = [0; 8];
            reader.read_at(0, &mut first).map_err(read)?;
            let mut json = vec![0; header_length(&file, first, len)? as usize];
            reader.read_at(8, &mut json).map_err(read)?;
            let header = parse_header(&file, &json, len)?;
            checkpoint.metadata.extend(header.metadata);
            checkpoint.tensors.extend(header.tensors.into_iter().map(|entry| TensorInfo {
                name: entry.name,
                dtype: entry.dtype,
                shape: entry.shape,
                shard,
                offset: entry.offset,
                bytes: entry.bytes,
            }));
            checkpoint.shards.push(Shard { name: name.clone(), len, reader });
        }
        checkpoint.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = checkpoint.tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(TensorFileError::tensor(place, &pair[0].name, "two shards hold it"));
        }
        Ok(checkpoint)
    }

    /// The tensors, sorted by name.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor `name`.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok().map(|at| &self.tensors[at])
    }

    /// The free-form metadata of all shards together.
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
        self.tensors.iter().filter(|tensor| tensor.dtype.is_float()).map(|tensor| tensor.elements() as u64).sum()
    }

    /// The bytes of a tensor without copying, where the shard is mapped or in memory.
    pub fn slice(&self, tensor: &TensorInfo) -> Option<&[u8]> {
        let bytes = self.shards.get(tensor.shard)?.reader.as_slice()?;
        bytes.get(tensor.offset as usize..(tensor.offset + tensor.bytes) as usize)
    }

    /// Fills `buffer` with the tensor's bytes from its byte `start`.
    ///
    /// # Errors
    /// [`TensorFileError::Read`] naming the file, [`TensorFileError::Tensor`] if the range leaves the tensor.
    pub fn read_range(&self, tensor: &TensorInfo, start: u64, buffer: &mut [u8]) -> Result<()> {
        let shard = &self.shards[tensor.shard];
        let file = format!("{}/{}", self.place, shard.name);
        if start.checked_add(buffer.len() as u64).is_none_or(|end| end > tensor.bytes) {
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
        let mut values = vec![0.0; tensor.elements()];
        match self.slice(tensor) {
            Some(bytes) => to_f32(tensor.dtype, bytes, &mut values)?,
            None => to_f32(tensor.dtype, &self.read(tensor)?, &mut values)?,
        }
        Ok(values)
    }
}
