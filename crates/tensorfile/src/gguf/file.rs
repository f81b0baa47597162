//! The GGUF container: metadata and tensor table, every count checked before it is believed.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::blocks::expand;
use super::cursor::Cursor;
use super::kind::QuantType;
use super::metadata::{Metadata, MetadataValue};
use crate::dtype::DType;
use crate::error::{Result, TensorFileError, quoted};
use crate::header::byte_size;
use crate::read_at::ReadAt;

/// Most tensors; the largest models have a few thousand.
const MAX_TENSORS: u64 = 1 << 18;
/// Alignment of the data where the metadata does not say.
const DEFAULT_ALIGNMENT: u64 = 32;

/// One tensor of the table.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// llama.cpp's name.
    pub name: String,
    /// Storage.
    pub kind: QuantType,
    /// Shape, slowest dimension first as in Hugging Face.
    pub shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl GgufTensor {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.bytes as usize / self.kind.block_bytes() * self.kind.block_len()
    }
}

/// An opened GGUF file.
pub struct Gguf {
    name: String,
    file: Arc<dyn ReadAt>,
    metadata: Metadata,
    tensors: Vec<GgufTensor>,
}

impl Gguf {
    /// Reads and checks everything but the tensors' data.
    ///
    /// # Errors
    /// [`TensorFileError`] naming the file and the byte.
    pub fn open(name: &str, file: Arc<dyn ReadAt>) -> Result<Self> {
        let mut cursor = Cursor::new(name, &*file);
        if &cursor.array::<4>()? != b"GGUF" {
            return Err(TensorFileError::malformed_at(
                name,
                0,
                "the first bytes are not GGUF",
            ));
        }
        match cursor.u32()? {
            2 | 3 => {}
            version => {
                let swapped = matches!(version.swap_bytes(), 1..=3);
                let what = if swapped {
                    "big-endian GGUF".to_owned()
                } else {
                    format!("GGUF version {version}")
                };
                let reason = format!("{what}; read are versions 2 and 3, little-endian");
                return Err(TensorFileError::Unsupported {
                    file: name.to_owned(),
                    reason,
                });
            }
        }
        // A table entry takes at least the lengths of its name, rank, storage and offset.
        let tensor_count = cursor.count("tensors", 24, MAX_TENSORS)?;
        let entries = Metadata::count(&mut cursor)?;
        let metadata = Metadata::read(&mut cursor, entries)?;
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(read_tensor(name, &mut cursor)?);
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(MetadataValue::Integer(n @ 1..=0x10_0000)) if n.count_ones() == 1 => *n as u64,
            Some(_) => {
                return Err(TensorFileError::malformed(
                    name,
                    "general.alignment is not a small power of two",
                ));
            }
        };
        let data = cursor.at().next_multiple_of(alignment);
        place(name, &mut tensors, data, alignment, file.len())?;
        Ok(Self {
            name: name.to_owned(),
            metadata,
            tensors,
            file,
        })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, in the order of the table.
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// The tensor `name`.
    pub fn get(&self, name: &str) -> Option<&GgufTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// All elements of a tensor.
    ///
    /// # Errors
    /// As [`Self::dequantize`].
    pub fn read_f32(&self, tensor: &GgufTensor) -> Result<Vec<f32>> {
        let mut values = vec![0.0; tensor.elements()];
        self.dequantize(tensor, 0..tensor.elements(), &mut values)?;
        Ok(values)
    }

    /// The elements in `range`, into `out`, which is as long. Both ends must fall between blocks
    /// ([`QuantType::block_len`]); a row always does.
    ///
    /// # Errors
    /// [`TensorFileError::Read`]; [`TensorFileError::Tensor`] if the range leaves the tensor or cuts a block.
    pub fn dequantize(&self, tensor: &GgufTensor, range: Range<usize>, out: &mut [f32]) -> Result<()> {
        /// Values expanded by one task.
        const TASK: usize = 1 << 16;
        let (len, size) = (tensor.kind.block_len(), tensor.kind.block_bytes());
        let cut = !range.start.is_multiple_of(len) || !range.end.is_multiple_of(len);
        if range.start > range.end || range.end > tensor.elements() || out.len() != range.len() || cut {
            let reason = format!(
                "elements {range:?} of {} asked of blocks of {len}",
                tensor.elements()
            );
            return Err(TensorFileError::tensor(&self.name, &tensor.name, reason));
        }
        let start = tensor.offset + (range.start / len * size) as u64;
        let length = range.len() / len * size;
        let owned;
        let bytes = match self
            .file
            .as_slice()
            .and_then(|all| all.get(start as usize..)?.get(..length))
        {
            Some(bytes) => bytes,
            None => {
                let mut buffer = vec![0; length];
                let read = |source| TensorFileError::Read {
                    file: self.name.clone(),
                    source,
                };
                self.file.read_at(start, &mut buffer).map_err(read)?;
                owned = buffer;
                &owned
            }
        };
        let blocks = TASK / len;
        out.par_chunks_mut(blocks * len)
            .zip(bytes.par_chunks(blocks * size))
            .try_for_each(|(values, bytes)| expand(tensor.kind, bytes, values))
    }
}

/// One entry of the table; its offset still counts from the start of the data.
fn read_tensor(file: &str, cursor: &mut Cursor<'_>) -> Result<GgufTensor> {
    let at = cursor.at();
    let name = cursor.name()?;
    let fault = |reason: String| TensorFileError::tensor_at(file, &name, at, reason);
    let rank = cursor.u32()?;
    if !(1..=4).contains(&rank) {
        return Err(fault(format!("{rank} dimensions; 1 to 4 are possible")));
    }
    let mut shape = Vec::new();
    for _ in 0..rank {
        match usize::try_from(cursor.u64()?) {
            Ok(size) if size > 0 => shape.push(size),
            _ => {
                return Err(fault(
                    "a dimension of size zero or more than memory addresses".into(),
                ));
            }
        }
    }
    let number = cursor.u32()?;
    let Some(kind) = QuantType::from_number(number) else {
        let known: Vec<_> = QuantType::ALL.into_iter().map(QuantType::name).collect();
        let reason = format!(
            "tensor {} has storage type {number}; read are {}",
            quoted(&name),
            known.join(", ")
        );
        return Err(TensorFileError::Unsupported {
            file: file.to_owned(),
            reason,
        });
    };
    if !shape[0].is_multiple_of(kind.block_len()) {
        let reason = format!(
            "rows of {} do not divide into {} blocks of {}",
            shape[0],
            kind.name(),
            kind.block_len()
        );
        return Err(fault(reason));
    }
    // As f32 it must be addressable too; no block takes more bytes than its values do then.
    let Some(expanded) = byte_size(DType::F32, &shape) else {
        return Err(fault(format!(
            "shape {shape:?} has more bytes than 64 bits count"
        )));
    };
    let bytes = expanded / 4 / kind.block_len() as u64 * kind.block_bytes() as u64;
    let offset = cursor.u64()?;
    shape.reverse();
    Ok(GgufTensor {
        name,
        kind,
        shape,
        offset,
        bytes,
    })
}

/// Makes the offsets absolute and checks that every tensor has its own bytes of the file.
fn place(file: &str, tensors: &mut [GgufTensor], data: u64, alignment: u64, len: u64) -> Result<()> {
    for tensor in &mut *tensors {
        let fault = |reason: String| TensorFileError::tensor_at(file, &tensor.name, tensor.offset, reason);
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(fault(format!(
                "its place in the data is not a multiple of {alignment}"
            )));
        }
        let end = data
            .checked_add(tensor.offset)
            .and_then(|start| start.checked_add(tensor.bytes));
        if end.is_none_or(|end| end > len) {
            return Err(fault(format!(
                "its {} bytes end behind the file's {len}: the file is truncated",
                tensor.bytes
            )));
        }
        tensor.offset += data;
    }
    let mut sorted: Vec<&GgufTensor> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| tensor.offset);
    if let Some(pair) = sorted
        .windows(2)
        .find(|pair| pair[0].offset + pair[0].bytes > pair[1].offset)
    {
        let reason = format!("its data overlaps that of {}", quoted(&pair[0].name));
        return Err(TensorFileError::tensor_at(
            file,
            &pair[1].name,
            pair[1].offset,
            reason,
        ));
    }
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    match sorted.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(TensorFileError::tensor(file, &pair[0].name, "it stands twice")),
        None => Ok(()),
    }
}
