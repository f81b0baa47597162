//! Models to be read: opened, alone or with an adapter in them.

mod model;
mod reference;

pub use model::{Identity, Source, SourceTensor};
pub(crate) use model::{header_digest, is_transient, read_range, read_small, refusal, version};
pub use reference::split_adapter;
