//! Where every byte of an output model goes, decided before anything is written.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::checkpoint::{INDEX_FILE, SINGLE_FILE};
use crate::dtype::DType;
use crate::error::{Result, TensorFileError};
use crate::header::{MAX_HEADER_BYTES, byte_size};

/// Shard size of Hugging Face's own tools, in bytes.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes() as usize / self.dtype.size()
    }

    /// Length in bytes; `u64::MAX` for a shape that overflows, which no layout accepts.
    pub fn bytes(&self) -> u64 {
        byte_size(self.dtype, &self.shape).unwrap_or(u64::MAX)
    }
}

/// A tensor with its place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedTensor {
    /// The tensor.
    pub spec: TensorSpec,
    /// First byte, counted from the start of the file.
    pub offset: u64,
}

/// One output file.
#[derive(Clone, Debug)]
pub struct ShardLayout {
    /// File name.
    pub file: String,
    /// The 8-byte length and the JSON, padded so that the data starts at a multiple of 8.
    pub header: Vec<u8>,
    /// The tensors in order of their data.
    pub tensors: Vec<PlacedTensor>,
    /// Length of the file in bytes.
    pub len: u64,
}

/// All output files of a model.
#[derive(Clone, Debug)]
pub struct ModelLayout {
    /// The files.
    pub shards: Vec<ShardLayout>,
    /// `model.safetensors.index.json`, if there is more than one file.
    pub index: Option<Vec<u8>>,
}

impl ModelLayout {
    /// Name of the index file.
    pub const INDEX_FILE: &'static str = INDEX_FILE;

    /// Places `tensors` in the given order, starting a new file where one would pass `max_shard_bytes`
    /// (a larger tensor gets a file of its own). `metadata` is stored beside `format: pt`.
    ///
    /// # Errors
    /// [`TensorFileError::Tensor`] for a name that is there twice or reserved, or a shape that overflows;
    /// [`TensorFileError::Unsupported`] for more tensors than a header can list.
    pub fn plan(tensors: &[TensorSpec], max_shard_bytes: u64, metadata: &[(&str, &str)]) -> Result<Self> {
        check_specs(tensors)?;
        let mut groups: Vec<Vec<&TensorSpec>> = vec![Vec::new()];
        let mut size = 0;
        for tensor in tensors {
            let full = size + tensor.bytes() > max_shard_bytes;
            if full && groups.last().is_some_and(|group| !group.is_empty()) {
                groups.push(Vec::new());
                size = 0;
            }
            size += tensor.bytes();
            if let Some(group) = groups.last_mut() {
                group.push(tensor);
            }
        }
        let count = groups.len();
        let name = |index: usize| match count {
            1 => SINGLE_FILE.to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        let shards: Vec<ShardLayout> = groups
            .iter()
            .enumerate()
            .map(|(index, group)| place(name(index), group, metadata))
            .collect::<Result<_>>()?;
        let index = (count > 1).then(|| index_json(&shards));
        Ok(Self { shards, index })
    }

    /// Bytes of all files together, the index not counted.
    pub fn total_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len).sum()
    }
}

/// Every name once and usable, every size and their sum countable.
fn check_specs(tensors: &[TensorSpec]) -> Result<()> {
    let fault = |tensor: &str, reason: &str| Err(TensorFileError::tensor("the output", tensor, reason));
    let mut names = HashSet::new();
    let mut total = 0u64;
    for TensorSpec { name, dtype, shape } in tensors {
        if name == "__metadata__" {
            return fault(name, "the format reserves this name");
        }
        if !names.insert(name) {
            return fault(name, "it would be written twice");
        }
        match byte_size(*dtype, shape).and_then(|bytes| total.checked_add(bytes)) {
            Some(sum) if sum <= i64::MAX as u64 => total = sum,
            _ => {
                return fault(
                    name,
                    &format!("shape {shape:?} has more bytes than 64 bits count"),
                );
            }
        }
    }
    Ok(())
}

fn place(file: String, tensors: &[&TensorSpec], metadata: &[(&str, &str)]) -> Result<ShardLayout> {
    let mut header = Map::new();
    let mut pairs: BTreeMap<&str, &str> = metadata.iter().copied().collect();
    pairs.insert("format", "pt");
    header.insert("__metadata__".into(), json!(pairs));
    let mut at = 0;
    let mut placed = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let end = at + tensor.bytes();
        let entry = json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [at, end]});
        header.insert(tensor.name.clone(), entry);
        placed.push(PlacedTensor {
            spec: (*tensor).clone(),
            offset: at,
        });
        at = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    if text.len() as u64 > MAX_HEADER_BYTES {
        let reason = format!("a header of {} bytes, more than {MAX_HEADER_BYTES}", text.len());
        return Err(TensorFileError::Unsupported { file, reason });
    }
    let start = 8 + text.len() as u64;
    placed.iter_mut().for_each(|tensor| tensor.offset += start);
    let header = [&(text.len() as u64).to_le_bytes()[..], &text].concat();
    Ok(ShardLayout {
        file,
        header,
        tensors: placed,
        len: start + at,
    })
}

fn index_json(shards: &[ShardLayout]) -> Vec<u8> {
    let total: u64 = shards
        .iter()
        .flat_map(|shard| &shard.tensors)
        .map(|tensor| tensor.spec.bytes())
        .sum();
    let map: BTreeMap<&str, &str> = shards
        .iter()
        .flat_map(|shard| {
            shard
                .tensors
                .iter()
                .map(|tensor| (tensor.spec.name.as_str(), shard.file.as_str()))
        })
        .collect();
    let index = json!({"metadata": {"total_size": total}, "weight_map": map});
    let mut bytes = serde_json::to_vec_pretty(&index).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Writes the shards of a layout one after another: `sink` opens a file, `tensor` writes a tensor's bytes.
///
/// # Errors
/// [`TensorFileError::Write`] naming the file; a tensor of the wrong length is one.
pub fn write_model<'sink>(
    layout: &ModelLayout,
    sink: &mut dyn FnMut(&str) -> io::Result<Box<dyn Write + 'sink>>,
    tensor: &mut dyn FnMut(&TensorSpec, &mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    for shard in &layout.shards {
        write_shard(shard, sink, tensor).map_err(|source| TensorFileError::Write {
            file: shard.file.clone(),
            source,
        })?;
    }
    if let Some(index) = &layout.index {
        sink(INDEX_FILE)
            .and_then(|mut file| file.write_all(index).and_then(|()| file.flush()))
            .map_err(|source| TensorFileError::Write {
                file: INDEX_FILE.to_owned(),
                source,
            })?;
    }
    Ok(())
}

fn write_shard<'sink>(
    shard: &ShardLayout,
    sink: &mut dyn FnMut(&str) -> io::Result<Box<dyn Write + 'sink>>,
    tensor: &mut dyn FnMut(&TensorSpec, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = Counted {
        inner: sink(&shard.file)?,
        written: 0,
    };
    file.write_all(&shard.header)?;
    for placed in &shard.tensors {
        tensor(&placed.spec, &mut file)?;
        let end = placed.offset + placed.spec.bytes();
        if file.written != end {
            let reason = format!(
                "tensor {} ends at byte {} instead of {end}",
                placed.spec.name, file.written
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
    }
    file.flush()
}

/// Counts what passes through.
struct Counted<'sink> {
    inner: Box<dyn Write + 'sink>,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
