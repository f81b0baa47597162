//! Small typed values that appear in documents: byte sizes and the resources of a step.
//!
//! Neighbours: [`crate::document`] reads them, [`crate::runner`] reserves them, [`crate::record`] keeps them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes, written `2GiB`, `512MiB`, `1.5 GB` or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = unit.trim();
        let known = UNITS
            .iter()
            .find(|(name, _)| unit.is_empty() || name.eq_ignore_ascii_case(unit));
        let factor = known.map(|(_, factor)| *factor);
        let value = number.parse::<f64>().ok();
        match (value, factor) {
            (Some(value), Some(factor)) if value * (factor as f64) < u64::MAX as f64 => {
                Ok(ByteSize((value * factor as f64).round() as u64))
            }
            _ => Err(format!(
                "`{text}` is no size; write for instance 512MiB, 2GiB or 1.5GB"
            )),
        }
    }
}

impl fmt::Display for ByteSize {
    /// The largest binary unit with at most one decimal: `1.5 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS[..5].iter().rev().find(|(_, factor)| self.0 >= *factor);
        match unit {
            None | Some((_, 1)) => write!(f, "{} B", self.0),
            Some((name, factor)) => {
                let text = format!("{:.1}", self.0 as f64 / *factor as f64);
                write!(f, "{} {name}", text.strip_suffix(".0").unwrap_or(&text))
            }
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 2GiB or a number of bytes")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(value))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<ByteSize, E> {
                let value = u64::try_from(value);
                value
                    .map(ByteSize)
                    .map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Bytes: 2GiB, 512MiB, 1.5GB, or a plain number.",
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": "^[0-9]+(\\.[0-9]+)? ?([KMGT]i?B|B)?$",
        })
    }
}

/// What a step reserves of this machine while it runs. Steps run side by side when all fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Processors; also the number of threads the job is told to use.
    #[schemars(range(min = 1))]
    pub cpus: u32,
    /// Memory; 0 reserves none.
    pub memory: ByteSize,
    /// Accelerators.
    pub gpus: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Resources {
            cpus: 1,
            memory: ByteSize(0),
            gpus: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_every_unit_and_shown_in_binary_ones() {
        for (text, bytes) in [
            ("2GiB", 2 << 30),
            ("512 MiB", 512 << 20),
            ("1.5GB", 1_500_000_000),
            ("7", 7),
            ("1kb", 1000),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for text in ["", "GiB", "-1GiB", "2 gigs", "1..5GB", "99999999999TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(ByteSize(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(ByteSize(1 << 30).to_string(), "1 GiB");
        assert_eq!(ByteSize(12).to_string(), "12 B");
    }
}
