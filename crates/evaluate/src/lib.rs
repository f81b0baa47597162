//! Likelihood of held-out text, with standard errors over documents.
//!
//! Floor 3: takes a decoder and documents, gives figures; where they come from and go to is the jobs' business.

mod error;
mod likelihood;

pub use error::{EvaluateError, Result};
pub use likelihood::{
    DocumentScore, Likelihood, LikelihoodOptions, PairedDifference, ScoredDocuments, likelihood,
    paired_difference,
};
