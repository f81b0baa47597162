//! The GGUF container: metadata and tensor table, every count checked before it is believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::blocks::expand;
use crate::error::{Result, TensorFileError};
use crate::read_at::ReadAt;

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is llama.cpp's name")]
pub enum QuantType {
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
    BF16,
}

impl QuantType {
    /// Every kind this program reads.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::BF16,
    ];

    /// (number in the file, name, values of a block, bytes of a block).
    const fn facts(self) -> (u32, &'static str, usize, usize) {
        match self {
            Self::F32 => (0, "F32", 1, 4),
            Self::F16 => (1, "F16", 1, 2),
            Self::Q4_0 => (2, "Q4_0", 32, 18),
            Self::Q4_1 => (3, "Q4_1", 32, 20),
            Self::Q5_0 => (6, "Q5_0", 32, 22),
            Self::Q5_1 => (7, "Q5_1", 32, 24),
            Self::Q8_0 => (8, "Q8_0", 32, 34),
            Self::Q4K => (12, "Q4_K", 256, 144),
            Self::Q5K => (13, "Q5_K", 256, 176),
            Self::Q6K => (14, "Q6_K", 256, 210),
            Self::BF16 => (30, "BF16", 1, 2),
        }
    }

    /// llama.cpp's name.
    pub const fn name(self) -> &'static str {
        self.facts().1
    }

    /// Values of a block.
    pub const fn block_len(self) -> usize {
        self.facts().2
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.facts().3
    }
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// Any integer.
    Integer(i128),
    /// Any float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string; bytes that are not UTF-8 are replaced.
    Text(String),
    /// A list of one kind.
    List(Vec<Self>),
}

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
}

impl GgufTensor {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An opened GGUF file.
pub struct Gguf {
    name: String,
    file: Arc<dyn ReadAt>,
    /// The metadata.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// The tensors in file order.
    pub tensors: Vec<GgufTensor>,
}

/// Most entries of the metadata, of the tensor table.
const MAX_ENTRIES: u64 = 1 << 20;
/// Deepest nesting of lists.
const MAX_DEPTH: usize = 4;

impl Gguf {
    /// Reads and checks everything but the tensors' data.
    ///
    /// # Errors
    /// [`TensorFileError`] naming the file and the byte.
    pub fn open(name: &str, file: Arc<dyn ReadAt>) -> Result<Self> {
        let owned;
        let bytes = match file.as_slice() {
            Some(bytes) => bytes,
            None => {
                let mut all = vec![0; file.len() as usize];
                file.read_at(0, &mut all).map_err(|source| TensorFileError::Read { file: name.to_owned(), source })?;
                owned = all;
                &owned
            }
        };
        let mut reader = Reader { name, bytes, at: 0 };
        if reader.take(4)? != b"GGUF" {
            return Err(TensorFileError::malformed_at(name, 0, "the first bytes are not GGUF"));
        }
        let version = reader.u32()?;
        if !matches!(version, 2 | 3) {
            let reason = format!("GGUF version {version}; versions 2 and 3 are read");
            return Err(TensorFileError::Unsupported { file: name.to_owned(), reason });
        }
        let (tensor_count, entry_count) = (reader.count("tensors")?, reader.count("metadata entries")?);
        let mut metadata = BTreeMap::new();
        for _ in 0..entry_count {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = reader.value(kind, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(reader.fault(format!("metadata key {key:?} stands twice")));
            }
        }
        let mut raw = Vec::new();
        for _ in 0..tensor_count {
            raw.push(reader.tensor()?);
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(MetadataValue::Integer(n)) if (1..=1 << 20).contains(n) && n.count_ones() == 1 => *n as u64,
            Some(other) => return Err(reader.fault(format!("general.alignment is {other:?}"))),
        };
        let data = (reader.at as u64).next_multiple_of(alignment);
        let len = bytes.len() as u64;
        let mut tensors: Vec<GgufTensor> = Vec::with_capacity(raw.len());
        for (tensor, size) in raw {
            let offset = data.checked_add(tensor.offset);
            match offset.and_then(|offset| offset.checked_add(size)) {
                Some(end) if end <= len => tensors.push(GgufTensor { offset: offset.unwrap_or(0), ..tensor }),
                _ => {
                    let reason = format!("its {size} bytes at {} end behind the file's {len}: the file is truncated", tensor.offset);
                    return Err(TensorFileError::tensor(name, &tensor.name, reason));
                }
            }
        }
        let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(TensorFileError::tensor(name, pair[0], "it stands twice"));
        }
        Ok(Self { name: name.to_owned(), metadata, tensors, file })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All elements of a tensor.
    ///
    /// # Errors
    /// [`TensorFileError::Read`].
    pub fn read_f32(&self, tensor: &GgufTensor) -> Result<Vec<f32>> {
        /// Blocks expanded by one task.
        const TASK: usize = 1024;
        let (len, size) = (tensor.kind.block_len(), tensor.kind.block_bytes());
        let mut bytes = vec![0; tensor.elements() / len * size];
        self.file
            .read_at(tensor.offset, &mut bytes)
            .map_err(|source| TensorFileError::Read { file: self.name.clone(), source })?;
        let mut values = vec![0.0; tensor.elements()];
        values.par_chunks_mut(TASK * len).zip(bytes.par_chunks(TASK * size)).for_each(|(values, bytes)| {
            for (values, block) in values.chunks_mut(len).zip(bytes.chunks(size)) {
                expand(tensor.kind, block, values);
            }
        });
        Ok(values)
    }
}

/// A cursor over the head of the file.
struct Reader<'a> {
    name: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn fault(&self, reason: impl Into<String>) -> TensorFileError {
        TensorFileError::malformed_at(self.name, self.at as u64, reason)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fault(format!("{count} bytes are missing: the file is truncated")))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn count(&mut self, what: &str) -> Result<u64> {
        match self.u64()? {
            count if count <= MAX_ENTRIES => Ok(count),
            count => Err(self.fault(format!("{count} {what}, more than {MAX_ENTRIES}"))),
        }
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u64()?;
        let length = usize::try_from(length).map_err(|_| self.fault(format!("a string of {length} bytes")))?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<MetadataValue> {
        use MetadataValue::{Bool, Float, Integer, List, Text};
        Ok(match kind {
            0 => Integer(i128::from(self.array::<1>()?[0])),
            1 => Integer(i128::from(i8::from_le_bytes(self.array()?))),
            2 => Integer(i128::from(u16::from_le_bytes(self.array()?))),
            3 => Integer(i128::from(i16::from_le_bytes(self.array()?))),
            4 => Integer(i128::from(self.u32()?)),
            5 => Integer(i128::from(i32::from_le_bytes(self.array()?))),
            6 => Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Bool(self.array::<1>()?[0] != 0),
            8 => Text(self.text()?),
            9 if depth < MAX_DEPTH => {
                let kind = self.u32()?;
                let count = self.u64()?;
                // Every element takes at least a byte, so the file bounds what is allocated.
                if count > (self.bytes.len() - self.at) as u64 {
                    return Err(self.fault(format!("a list of {count} elements does not fit the file")));
                }
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.value(kind, depth + 1)?);
                }
                List(list)
            }
            9 => return Err(self.fault(format!("lists nested deeper than {MAX_DEPTH}"))),
            10 => Integer(i128::from(self.u64()?)),
            11 => Integer(i128::from(i64::from_le_bytes(self.array()?))),
            12 => Float(f64::from_le_bytes(self.array()?)),
            other => return Err(self.fault(format!("unknown metadata type {other}"))),
        })
    }

    /// A tensor with its offset inside the data, and its size in bytes.
    fn tensor(&mut self) -> Result<(GgufTensor, u64)> {
        let name = self.text()?;
        let rank = self.u32()?;
        if rank > 4 {
            return Err(self.fault(format!("tensor {name:?} has {rank} dimensions, more than 4")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let size = self.u64()?;
            shape.push(usize::try_from(size).map_err(|_| self.fault(format!("tensor {name:?} has size {size}")))?);
        }
        let number = self.u32()?;
        let kind = QuantType::ALL.into_iter().find(|kind| kind.facts().0 == number).ok_or_else(|| {
            let known: Vec<_> = QuantType::ALL.into_iter().map(QuantType::name).collect();
            let reason = format!("storage type {number} is not read; read are {}", known.join(", "));
            TensorFileError::tensor(self.name, &name, reason)
        })?;
        let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let row = shape.first().copied().unwrap_or(1);
        let size = elements.filter(|_| row.is_multiple_of(kind.block_len())).and_then(|elements| {
            (elements / kind.block_len()).checked_mul(kind.block_bytes())
        });
        let size = size.ok_or_else(|| {
            let reason = format!("shape {shape:?} does not divide into blocks of {} ({})", kind.block_len(), kind.name());
            TensorFileError::tensor(self.name, &name, reason)
        })?;
        let offset = self.u64()?;
        shape.reverse();
        Ok((GgufTensor { name, kind, shape, offset }, size as u64))
    }
}
