//! What a model is worth: what one forward pass over held-out text says (likelihood, accuracy, calibration, Block Influence, hidden
//! states), and tasks, which it answers by choosing, writing or reading; with standard errors over documents and rows.
//!
//! Floor 3: takes a decoder and documents, gives figures; where they come from and go to is the jobs' business.

mod bootstrap;
mod calibration;
mod error;
mod influence;
mod instruction;
mod likelihood;
mod measure;
mod prediction;
mod rouge;
mod states;
mod task;

pub use bootstrap::{Interval, bootstrap_difference};
pub use calibration::{Bin, Calibration};
pub use error::{EvaluateError, Result};
pub use influence::BlockInfluence;
pub use instruction::{Instruction, InstructionError, loose, strict};
pub use likelihood::{
    DocumentScore, Likelihood, LikelihoodOptions, PairedDifference, ScoredDocuments, accuracy,
    paired_difference, summarise,
};
pub use measure::{CalibrationWanted, Measured, Wanted, measure};
pub use rouge::{Measure, Rouge, RougeReader, RougeText, Variant, best_rouge, rouge};
pub use states::{HiddenStates, StateStatistics};
pub use task::{
    Answer, AnswerOptions, BuiltIn, Exercise, Given, Part, Task, TaskError, TaskScore, is_exponential,
    remark_on, summarise_answers,
};
