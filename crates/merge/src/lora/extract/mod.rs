//! `trib lora extract`: the difference of two models as an adapter.
//!
//! Every matrix of a layer is decomposed ([`spectrum`]); vectors that differ are saved whole; the rest is named with its
//! distance. Matrices are done one a thread, so memory is that of as many matrices as are in work, and the adapter.

mod card;
mod choice;
mod configuration;
mod publish;
mod report;
mod spectrum;
mod tensor;
mod weights;

pub use publish::{ExtractOptions, Extraction, check_pattern};
pub use report::{ExtractReport, ExtractedGroup, ExtractedTensor, WholeTensor};
