//! What one forward pass over held-out text says of a model: likelihood, accuracy, calibration, Block Influence; with
//! standard errors over documents.
//!
//! Floor 3: takes a decoder and documents, gives figures; where they come from and go to is the jobs' business.

mod bootstrap;
mod calibration;
mod error;
mod influence;
mod likelihood;
mod measure;
mod prediction;
mod task;

pub use bootstrap::{Interval, bootstrap_difference};
pub use calibration::{Bin, Calibration};
pub use error::{EvaluateError, Result};
pub use influence::BlockInfluence;
pub use likelihood::{
    DocumentScore, Likelihood, LikelihoodOptions, PairedDifference, ScoredDocuments, accuracy,
    paired_difference,
};
pub use measure::{CalibrationWanted, Measured, Wanted, measure};
pub use task::{ChoiceRecord, ChoiceScores, Question, Task, TaskError, choose, summarise_choices};
