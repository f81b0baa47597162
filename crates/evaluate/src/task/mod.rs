//! Tasks as files, in the words of lm-evaluation-harness: a YAML file says how a row of a data set becomes a question with choices.
//!
//! [`Task::parse`] reads the file, [`Task::questions`] fills its templates from rows, [`choose`] lets a model choose. The same
//! subset means the same: prompts, continuations, tokenisation, `acc` and `acc_norm` are the harness's, document by document.
//! What is not understood is refused by name, examples that are drawn at random among it. Python in task files (`!function`) is not run.

mod choice;
mod file;
mod template;

pub use choice::{ChoiceRecord, ChoiceScores, choose, summarise_choices};
pub use file::{Question, Task, TaskError};
