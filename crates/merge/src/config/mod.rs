//! What to merge: mergekit's vocabulary, read from YAML with places, or given as a value by a pipeline.
//!
//! [`MergeSpec`] is the typed document, [`MergeConfig`] one that came from a file and can say where each part of it
//! stands. Every mistake of a document is reported at once ([`Problems`]). What mergekit knows and this version does
//! not (slices, modules, tokenizer surgery, ...) is refused by name, never ignored.

mod check;
mod decode;
mod document;
mod parameter;
mod problem;
mod spec;
mod suggest;
mod tree;

pub use document::MergeConfig;
pub use parameter::{Case, ParameterValue, Scalar, Setting};
pub use problem::{Problem, Problems};
pub use spec::{FloatType, MergeSpec, ModelSpec};
pub use tree::Place;
