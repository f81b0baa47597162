//! What a first pass over the models yields: the geometry of their task vectors.

mod gram;
mod table;

pub use gram::Gram;
pub use table::GramTable;
