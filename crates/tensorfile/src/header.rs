//! The safetensors header, checked before anything is allocated in proportion to what it says.
//!
//! Layout: an 8-byte little-endian length, that many bytes of JSON mapping tensor names to type, shape
//! and byte range, then the data, covered by the ranges without gap or overlap.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::dtype::DType;
use crate::error::{Result, TensorFileError};

/// Longest header accepted, as in the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The most dimensions a tensor may have.
const MAX_RANK: usize = 16;

/// One tensor of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// A checked header.
#[derive(Clone, Debug)]
pub struct Header {
    /// The tensors in order of their data.
    pub tensors: Vec<Entry>,
    /// The free-form `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// First byte of the data.
    pub data_start: u64,
}

/// Length of the JSON part, from the first 8 bytes of a file of `file_len` bytes.
///
/// # Errors
/// [`TensorFileError::Malformed`] if the file cannot hold it or it is over [`MAX_HEADER_BYTES`].
pub fn header_length(file: &str, first: [u8; 8], file_len: u64) -> Result<u64> {
    let length = u64::from_le_bytes(first);
    if length > MAX_HEADER_BYTES {
        let reason = format!("header of {length} bytes, more than {MAX_HEADER_BYTES}");
        return Err(TensorFileError::malformed_at(file, 0, reason));
    }
    if length + 8 > file_len {
        let reason = format!("header of {length} bytes in a file of {file_len}: the file is truncated or not safetensors");
        return Err(TensorFileError::malformed_at(file, 0, reason));
    }
    Ok(length)
}

/// Checks the JSON part of a header.
///
/// # Errors
/// [`TensorFileError::Malformed`] or [`TensorFileError::Tensor`] naming the file, the tensor and why.
pub fn parse_header(file: &str, json: &[u8], file_len: u64) -> Result<Header> {
    let text = std::str::from_utf8(json)
        .map_err(|error| TensorFileError::malformed_at(file, 8 + error.valid_up_to() as u64, "header is not UTF-8"))?;
    let raw: RawHeader = serde_json::from_str(text.trim_end_matches(' ')).map_err(|error| {
        TensorFileError::malformed_at(file, 8 + error.column() as u64, format!("header: {error}"))
    })?;
    let data_start = 8 + json.len() as u64;
    let mut tensors = Vec::with_capacity(raw.tensors.len());
    for (name, tensor) in raw.tensors {
        tensors.push(check_tensor(file, name, tensor, data_start)?);
    }
    tensors.sort_by(|a, b| (a.offset, a.bytes, &a.name).cmp(&(b.offset, b.bytes, &b.name)));
    let mut end = data_start;
    for tensor in &tensors {
        if tensor.offset != end {
            let how = if tensor.offset < end { "overlaps the tensor before it" } else { "leaves a gap before it" };
            let reason = format!("its data starts at byte {} and {how} (expected {end})", tensor.offset);
            return Err(TensorFileError::tensor(file, &tensor.name, reason));
        }
        end += tensor.bytes;
    }
    if end != file_len {
        let reason = format!("the tensors end at byte {end} but the file has {file_len}");
        return Err(TensorFileError::malformed_at(file, end.min(file_len), reason));
    }
    Ok(Header { tensors, metadata: raw.metadata, data_start })
}

fn check_tensor(file: &str, name: String, raw: RawTensor, data_start: u64) -> Result<Entry> {
    let fault = |reason: String| TensorFileError::tensor(file, &name, reason);
    let dtype = DType::from_name(&raw.dtype).ok_or_else(|| fault(format!("unknown element type {:?}", raw.dtype)))?;
    if raw.shape.len() > MAX_RANK {
        return Err(fault(format!("{} dimensions, more than {MAX_RANK}", raw.shape.len())));
    }
    let bytes = raw
        .shape
        .iter()
        .try_fold(dtype.size() as u64, |bytes, &size| bytes.checked_mul(size as u64))
        .ok_or_else(|| fault(format!("shape {:?} has more bytes than 64 bits count", raw.shape)))?;
    let [start, end] = raw.data_offsets;
    if end.checked_sub(start) != Some(bytes) {
        return Err(fault(format!("data_offsets [{start}, {end}] do not hold the {bytes} bytes of {dtype} {:?}", raw.shape)));
    }
    let offset = data_start.checked_add(start).ok_or_else(|| fault(format!("data_offsets [{start}, {end}] overflow")))?;
    offset.checked_add(bytes).ok_or_else(|| fault(format!("data_offsets [{start}, {end}] overflow")))?;
    Ok(Entry { name, dtype, shape: raw.shape, offset, bytes })
}

/// The header as written.
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, RawTensor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Reads the map entry by entry, because a plain map would let a duplicate name win silently.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object mapping tensor names to their type, shape and offsets")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<RawHeader, M::Error> {
        let mut metadata = None;
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if metadata.replace(map.next_value()?).is_some() {
                    return Err(serde::de::Error::custom("__metadata__ stands twice"));
                }
            } else if tensors.contains_key(&name) {
                return Err(serde::de::Error::custom(format!("tensor {name:?} stands twice")));
            } else {
                let tensor = map.next_value()?;
                tensors.insert(name, tensor);
            }
        }
        Ok(RawHeader { metadata: metadata.unwrap_or_default(), tensors })
    }
}
