//! What to merge: mergekit's vocabulary, read from YAML with places, or given as a value by a pipeline.
//!
//! [`MergeSpec`] is the typed document, [`MergeConfig`] one that came from a file and can say where each part of it
//! stands. Every mistake of a document is reported at once ([`Problems`]).

mod check;
mod decode;
mod decode_document;
mod document;
mod groups;
mod parameter;
mod problem;
mod spec;
mod suggest;
mod tree;

pub use document::MergeConfig;
pub(crate) use groups::{Group, groups};
pub use parameter::{Case, ParameterValue, Scalar, Setting};
pub use problem::{Problem, Problems};
pub use spec::{
    Compat, FloatType, MergeSpec, ModelSpec, ModuleSpec, Parameters, SliceSpec, SourceSpec, TokenName,
    TokenSource, TokenSpec, TokenizerSpec,
};
pub use tree::Place;
