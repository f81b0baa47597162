//! Tasks as files, in the words of lm-evaluation-harness: a YAML file says how rows of a data set become something to answer.
//!
//! [`Task::parse`] reads the file, [`Task::exercise`] fills its templates from rows, [`Exercise::answer`] lets a model choose, write or
//! read, [`summarise_answers`] counts. The same subset means the same: prompts, continuations, tokenisation, filters and scores are the
//! harness's, document by document (docs/evaluating.md says where not). What is not understood is refused by name, examples that are drawn at random among it. Python in
//! task files (`!function`) is not run; what it is needed for most, IFEval, is built in ([`BuiltIn`]).

mod answer;
mod built_in;
mod choice;
mod exercise;
mod field;
mod file;
mod filter;
mod metric;
mod question;
mod reading;
mod template;
mod writing;

pub use answer::{Answer, Given, Part, TaskScore, is_exponential, remark_on, summarise_answers};
pub use built_in::BuiltIn;
pub use exercise::{AnswerOptions, Exercise};
pub use question::{Task, TaskError};
