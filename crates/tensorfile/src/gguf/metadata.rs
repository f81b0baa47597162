//! The metadata of a GGUF file: typed values under dotted keys.

use std::collections::BTreeMap;

use super::cursor::Cursor;
use crate::error::{Result, TensorFileError, quoted};

/// Most entries.
const MAX_ENTRIES: u64 = 1 << 16;
/// Most values in all lists together; the largest vocabularies have about a million.
const MAX_VALUES: u64 = 1 << 21;
/// Deepest nesting of lists.
const MAX_DEPTH: usize = 4;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// Any integer up to `i64::MAX`.
    Integer(i64),
    /// An unsigned integer above that.
    Large(u64),
    /// A float; one of 32 bits is widened.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string; bytes that are not UTF-8 are replaced.
    Text(String),
    /// A list of one kind.
    List(Vec<Self>),
}

/// All entries by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, MetadataValue>);

impl Metadata {
    pub(super) fn read(cursor: &mut Cursor<'_>, entries: u64) -> Result<Self> {
        let mut metadata = BTreeMap::new();
        let mut values = MAX_VALUES;
        for _ in 0..entries {
            let key = cursor.name()?;
            let kind = cursor.u32()?;
            let value = read_value(cursor, kind, 0, &mut values)?;
            if metadata.contains_key(&key) {
                return Err(cursor.fault(format!("metadata key {} stands twice", quoted(&key))));
            }
            metadata.insert(key, value);
        }
        Ok(Self(metadata))
    }

    /// Reads how many entries there are. Each takes at least a length, a type and a byte.
    pub(super) fn count(cursor: &mut Cursor<'_>) -> Result<u64> {
        cursor.count("metadata entries", 13, MAX_ENTRIES)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&MetadataValue> {
        self.0.get(key)
    }

    /// Key and value of every entry, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetadataValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The text at `key`, if there is one.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(MetadataValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The boolean at `key`, if there is one.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key) {
            Some(MetadataValue::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// The list at `key`, if there is one.
    pub fn list(&self, key: &str) -> Option<&[MetadataValue]> {
        match self.get(key) {
            Some(MetadataValue::List(list)) => Some(list),
            _ => None,
        }
    }

    /// The number at `key`, if there is one. Floats are stored as f32; they are given as the shortest decimal that
    /// names them (1e-5, not 9.99999974e-6), which rounds to the same f32.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.get(key) {
            Some(MetadataValue::Float(value)) => (*value as f32).to_string().parse().ok(),
            Some(MetadataValue::Integer(value)) => Some(*value as f64),
            _ => None,
        }
    }

    /// The positive count at `key`, or `None` if there is no such key.
    ///
    /// # Errors
    /// [`TensorFileError::Malformed`] naming `file` if the value is anything but an integer from 1 to 2^28.
    pub fn size(&self, file: &str, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(MetadataValue::Integer(value @ 1..=0x1000_0000)) => Ok(Some(*value as usize)),
            Some(_) => Err(TensorFileError::malformed(file, format!("{key} is not a size"))),
        }
    }
}

fn read_value(cursor: &mut Cursor<'_>, kind: u32, depth: usize, values: &mut u64) -> Result<MetadataValue> {
    use MetadataValue::{Bool, Float, Integer, Large, Text};
    Ok(match kind {
        0 => Integer(i64::from(cursor.array::<1>()?[0])),
        1 => Integer(i64::from(i8::from_le_bytes(cursor.array()?))),
        2 => Integer(i64::from(u16::from_le_bytes(cursor.array()?))),
        3 => Integer(i64::from(i16::from_le_bytes(cursor.array()?))),
        4 => Integer(i64::from(cursor.u32()?)),
        5 => Integer(i64::from(i32::from_le_bytes(cursor.array()?))),
        6 => Float(f64::from(f32::from_le_bytes(cursor.array()?))),
        7 => match cursor.array::<1>()?[0] {
            value @ 0..=1 => Bool(value == 1),
            value => return Err(cursor.fault(format!("a boolean of value {value}"))),
        },
        8 => Text(cursor.text()?),
        9 if depth < MAX_DEPTH => read_list(cursor, depth, values)?,
        9 => return Err(cursor.fault(format!("lists nested deeper than {MAX_DEPTH}"))),
        10 => {
            let value = cursor.u64()?;
            i64::try_from(value).map_or(Large(value), Integer)
        }
        11 => Integer(i64::from_le_bytes(cursor.array()?)),
        12 => Float(f64::from_le_bytes(cursor.array()?)),
        other => return Err(cursor.fault(format!("unknown metadata type {other}"))),
    })
}

fn read_list(cursor: &mut Cursor<'_>, depth: usize, values: &mut u64) -> Result<MetadataValue> {
    let kind = cursor.u32()?;
    let size = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        9 => 12,
        _ => 8,
    };
    let count = cursor.count("values in lists", size, *values)?;
    *values -= count;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(read_value(cursor, kind, depth + 1, values)?);
    }
    Ok(MetadataValue::List(list))
}
