//! LoRA adapters in PEFT's format: W + s·(B·A).
//!
//! Beside [`crate::source`], which reads a base through an [`Adapted`], and above the tensor files. An adapter is checked
//! completely against its base when it is opened over it; its factors are read when their tensor is, and the products
//! are computed block by block, so memory does not grow with the model.

mod adapted;
mod adapter;
mod configuration;
mod extract;
mod factors;
mod fault;
mod merge;
mod names;

pub(crate) use adapted::Adapted;
pub use adapter::Adapter;
pub use extract::{
    ExtractOptions, ExtractReport, ExtractedGroup, ExtractedTensor, Extraction, WholeTensor, check_pattern,
};
pub use fault::AdapterFault;
pub use merge::{LoraMerge, LoraMergeOptions, LoraMergeReport};
