//! The safetensors header, checked before anything is allocated in proportion to what it says.
//!
//! Layout: an 8-byte little-endian length, that many bytes of JSON mapping tensor names to type, shape
//! and byte range, then the data, covered by the ranges without gap or overlap. What comes out of
//! [`parse_header`] has passed every check, so readers trust its figures.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::dtype::DType;
use crate::error::{Result, TensorFileError, printable, quoted};
use crate::read_at::ReadAt;
use crate::unique_map::{MAX_ENTRIES, UniqueMap, first_twice};

/// Longest header accepted, as in the reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Key of the entry that is no tensor.
const METADATA: &str = "__metadata__";

/// The most dimensions a tensor may have.
const MAX_RANK: usize = 16;

/// Fetched first from a file that is not in memory: covers the header of nearly every model in one request.
const FIRST_READ: u64 = 256 << 10;

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
        let reason = format!(
            "header of {length} bytes in a file of {file_len}: the file is truncated or not safetensors"
        );
        return Err(TensorFileError::malformed_at(file, 0, reason));
    }
    Ok(length)
}

/// Reads and checks the header of the file called `name`, fetching little more than the header.
///
/// # Errors
/// [`TensorFileError::Read`], or as [`parse_header`].
pub fn read_header(name: &str, file: &dyn ReadAt) -> Result<Header> {
    let file_len = file.len();
    let owned;
    let mut head = match file.as_slice() {
        Some(bytes) => bytes,
        None => {
            owned = read_head(name, file)?;
            &owned
        }
    };
    let Some(first) = head.split_off(..8).and_then(|first| first.first_chunk::<8>()) else {
        return Err(TensorFileError::malformed_at(
            name,
            0,
            format!("{file_len} bytes cannot hold a header"),
        ));
    };
    let length = header_length(name, *first, file_len)?;
    let Some(json) = head.get(..length as usize) else {
        return Err(TensorFileError::malformed_at(
            name,
            8,
            "the file ends inside its header",
        ));
    };
    parse_header(name, json, file_len)
}

/// The first bytes of a remote file, at least up to the end of the header; fewer only if the file is too short.
fn read_head(name: &str, file: &dyn ReadAt) -> Result<Vec<u8>> {
    let read = |offset, buffer: &mut [u8]| {
        file.read_at(offset, buffer)
            .map_err(|source| TensorFileError::Read {
                file: name.to_owned(),
                source,
            })
    };
    let mut head = vec![0; FIRST_READ.min(file.len()) as usize];
    read(0, &mut head)?;
    if let Some(first) = head.first_chunk::<8>() {
        let end = 8 + header_length(name, *first, file.len())? as usize;
        let have = head.len();
        if have < end {
            head.resize(end, 0);
            read(have as u64, &mut head[have..])?;
        }
    }
    Ok(head)
}

/// Checks the JSON part of a header.
///
/// # Errors
/// [`TensorFileError::Malformed`] or [`TensorFileError::Tensor`] naming the file, the tensor, the byte and why.
pub fn parse_header(file: &str, json: &[u8], file_len: u64) -> Result<Header> {
    let text = std::str::from_utf8(json).map_err(|error| {
        TensorFileError::malformed_at(file, 8 + error.valid_up_to() as u64, "header is not UTF-8")
    })?;
    if !text.starts_with('{') {
        return Err(TensorFileError::malformed_at(
            file,
            8,
            "header: it does not begin with {",
        ));
    }
    let raw: RawHeader = serde_json::from_str(text).map_err(|error| {
        TensorFileError::malformed_at(
            file,
            8 + place_of(&error, text),
            format!("header: {}", printable(error)),
        )
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
            let how = if tensor.offset < end {
                "overlaps the tensor before it"
            } else {
                "leaves a gap before it"
            };
            let reason = format!("its data {how} (byte {end} was expected)");
            return Err(TensorFileError::tensor_at(
                file,
                &tensor.name,
                tensor.offset,
                reason,
            ));
        }
        end += tensor.bytes;
        if end > file_len {
            let reason =
                format!("its data end at byte {end} but the file has {file_len}: the file is truncated");
            return Err(TensorFileError::tensor_at(
                file,
                &tensor.name,
                tensor.offset,
                reason,
            ));
        }
    }
    if end != file_len {
        let reason = format!("the tensors end at byte {end} but the file has {file_len}");
        return Err(TensorFileError::malformed_at(file, end, reason));
    }
    Ok(Header {
        tensors,
        metadata: raw.metadata,
        data_start,
    })
}

fn check_tensor(file: &str, name: String, raw: RawTensor, data_start: u64) -> Result<Entry> {
    let [start, end] = raw.data_offsets;
    let offset = data_start.saturating_add(start);
    let fault = |reason: String| TensorFileError::tensor_at(file, &name, offset, reason);
    // It goes into reports and terminals, and no model has one.
    if name.contains(char::is_control) {
        return Err(fault("its name holds control characters".into()));
    }
    let dtype = DType::from_name(&raw.dtype)
        .ok_or_else(|| fault(format!("unknown element type {}", quoted(&raw.dtype))))?;
    let shape = raw.shape.0;
    let bytes = byte_size(dtype, &shape)
        .ok_or_else(|| fault(format!("shape {shape:?} has more bytes than 64 bits count")))?;
    if end.checked_sub(start) != Some(bytes) {
        return Err(fault(format!(
            "data_offsets [{start}, {end}] do not hold the {bytes} bytes of {dtype} {shape:?}"
        )));
    }
    if data_start.checked_add(end).is_none() {
        return Err(fault(format!("data_offsets [{start}, {end}] overflow")));
    }
    Ok(Entry {
        name,
        dtype,
        shape,
        offset,
        bytes,
    })
}

/// Length of a tensor in bytes, or `None` if it is more than memory can address.
pub(crate) fn byte_size(dtype: DType, shape: &[usize]) -> Option<u64> {
    // A zero makes the tensor empty but must not hide that the other dimensions overflow.
    let whole = shape
        .iter()
        .filter(|size| **size != 0)
        .try_fold(dtype.size(), |bytes, size| bytes.checked_mul(*size));
    let whole = whole.filter(|bytes| isize::try_from(*bytes).is_ok())?;
    Some(if shape.contains(&0) { 0 } else { whole as u64 })
}

/// Byte of `text` at which the parser saw a fault; it counts lines and columns.
pub(crate) fn place_of(error: &serde_json::Error, text: &str) -> u64 {
    let before: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    (before + error.column().saturating_sub(1)).min(text.len()) as u64
}

/// The header as written: every key once, types right, figures unchecked.
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawTensor)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Shape,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
        let mut header = RawHeader {
            metadata: BTreeMap::new(),
            tensors: Vec::new(),
        };
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            let inside = |error: M::Error| M::Error::custom(format!("{}: {error}", quoted(&name)));
            if name == METADATA {
                let entries = map.next_value::<UniqueMap<String>>().map_err(inside)?.0;
                if metadata.replace(entries).is_some() {
                    return Err(M::Error::custom(format!("{} stands twice", quoted(METADATA))));
                }
                continue;
            }
            let tensor = map.next_value().map_err(inside)?;
            if header.tensors.len() == MAX_ENTRIES {
                return Err(M::Error::custom(format!("more than {MAX_ENTRIES} tensors")));
            }
            header.tensors.push((name, tensor));
        }
        if let Some(name) = first_twice(header.tensors.iter().map(|(name, _)| name.as_str())) {
            return Err(M::Error::custom(format!("{} stands twice", quoted(name))));
        }
        header.metadata = metadata.into_iter().flatten().collect();
        Ok(header)
    }
}

/// At most [`MAX_RANK`] sizes; a plain list would be as long as the file likes.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of sizes")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Shape, S::Error> {
        let mut shape = Vec::new();
        while let Some(size) = sequence.next_element()? {
            if shape.len() == MAX_RANK {
                return Err(S::Error::custom(format!(
                    "a shape of more than {MAX_RANK} dimensions"
                )));
            }
            shape.push(size);
        }
        Ok(Shape(shape))
    }
}
