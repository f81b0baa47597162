//! References to what a step reads: another step's output, or something from outside.
//!
//! Settings types mark such a place with [`InputRef`]; a job lists them in
//! [`crate::TypedJob::inputs`]; [`crate::graph`] turns step references into arrows. In documents and JSON a
//! reference is one string: `${base.model}` for an output of a step; else a path or an address, where
//! `ADDRESS#output` names one output of an artifact. Relative paths are relative to the document's folder.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a setting reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InputRef {
    /// `${step.output}`.
    Step {
        /// The step's id.
        step: String,
        /// The output's name.
        output: String,
    },
    /// A data file, a model directory or an artifact, by path or address.
    External {
        /// Path (relative to the document's folder) or address such as `s3://bucket/model`.
        location: String,
        /// Which output, if the location is an artifact with several.
        output: Option<String>,
    },
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was written.
    #[error("an input cannot be empty")]
    Empty,
    /// `${…}` with something other than `step.output` in it.
    #[error("`{0}` is no reference; write ${{step.output}}")]
    Malformed(String),
    /// A reference inside a longer text.
    #[error("`{0}` has more around the reference; an artifact is named by the whole value, ${{step.output}}")]
    Embedded(String),
}

/// May this be the id of a step, or the name of an output or a variable? `[A-Za-z][A-Za-z0-9_-]*`, at most 64.
pub fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && text.len() <= 64
}

impl FromStr for InputRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.trim().is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(inner) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
            && !inner.contains("${")
        {
            return match inner.split_once('.') {
                Some((step, output)) if is_identifier(step) && is_identifier(output) => Ok(InputRef::Step {
                    step: step.to_owned(),
                    output: output.to_owned(),
                }),
                _ => Err(ReferenceError::Malformed(text.to_owned())),
            };
        }
        if text.contains("${") {
            return Err(ReferenceError::Embedded(text.to_owned()));
        }
        let (location, output) = match text.rsplit_once('#') {
            Some((location, output)) if is_identifier(output) && !location.is_empty() => {
                (location, Some(output.to_owned()))
            }
            _ => (text, None),
        };
        Ok(InputRef::External {
            location: location.to_owned(),
            output,
        })
    }
}

impl fmt::Display for InputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputRef::Step { step, output } => write!(f, "${{{step}.{output}}}"),
            InputRef::External {
                location,
                output: None,
            } => f.write_str(location),
            InputRef::External {
                location,
                output: Some(output),
            } => write!(f, "{location}#{output}"),
        }
    }
}

impl InputRef {
    /// A name a reader would recognise in a table: the step's id, or the last part of the location.
    pub(crate) fn label(&self) -> &str {
        match self {
            InputRef::Step { step, .. } => step,
            InputRef::External { location, .. } => location
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or(location),
        }
    }
}

impl Serialize for InputRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InputRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReferenceVisitor;
        impl Visitor<'_> for ReferenceVisitor {
            type Value = InputRef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reference such as ${step.output}, a path or an address")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<InputRef, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(ReferenceVisitor)
    }
}

impl JsonSchema for InputRef {
    fn schema_name() -> Cow<'static, str> {
        "InputRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An input: ${step.output}, a path relative to this document, or an address such as s3://bucket/model (with #output for one output of an artifact).",
            "type": "string",
            "minLength": 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_places() {
        let step = |step: &str, output: &str| InputRef::Step {
            step: step.into(),
            output: output.into(),
        };
        let place = |location: &str, output: Option<&str>| InputRef::External {
            location: location.into(),
            output: output.map(str::to_owned),
        };
        for (text, expected) in [
            ("${base.model}", Ok(step("base", "model"))),
            ("data/a b.jsonl", Ok(place("data/a b.jsonl", None))),
            ("s3://bucket/x#model", Ok(place("s3://bucket/x", Some("model")))),
            ("notes#1.txt", Ok(place("notes#1.txt", None))),
            ("${base}", Err(ReferenceError::Malformed("${base}".into()))),
            ("${a.b.c}", Err(ReferenceError::Malformed("${a.b.c}".into()))),
            ("x/${a.b}", Err(ReferenceError::Embedded("x/${a.b}".into()))),
            (
                "${a.b}${c.d}",
                Err(ReferenceError::Embedded("${a.b}${c.d}".into())),
            ),
            ("  ", Err(ReferenceError::Empty)),
        ] {
            assert_eq!(text.parse::<InputRef>(), expected, "{text}");
            if let Ok(reference) = expected {
                assert_eq!(reference.to_string(), text);
            }
        }
    }
}
