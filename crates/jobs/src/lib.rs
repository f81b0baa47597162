//! One file a job kind: settings, checks at plan time, and the call into the floors below.
//!
//! Floor 5, beside `pipeline`, whose [`Registry`] it fills. A job file holds its settings type, its `TypedJob`, and
//! nothing that another front end (a verb, a test) could not call through the floors below.

mod blame;
mod data_set;
mod evaluate;
mod import;
mod merge;
mod merge_figures;
mod merge_search;
mod names;
mod prune;
mod synth;
mod task_set;
mod threads;
mod tokenizer;
mod train_lm;
mod trained_on;

pub use blame::{Blame, Classed};
pub use data_set::{DATA_SET_KIND, DataSet};
pub use evaluate::{ComparedRow, Comparison, Evaluate, EvaluateSettings, Metric, compare_evaluations};
pub use import::{
    DEFAULT_SHARD_BYTES, Import, ImportError, ImportProgress, ImportSettings, ImportStepSettings, Imported,
    import,
};
pub use merge::Merge;
pub use merge_search::{Baseline, MergeSearch, MergeSearchSettings, MethodSettings, SearchBy, SearchedRange};
pub use prune::{ChosenBy, ChosenHow, ChosenPart, CurveSettings, Prune, PruneSettings, ReplaceSettings};
pub use synth::{Synth, SynthSettings};
pub use task_set::{BuiltInTask, TaskSet};
pub use tokenizer::{TOKENIZER_KIND, TokenizerSettings, TrainTokenizer};
pub use train_lm::{
    BatchSettings, CheckpointSettings, LossOn, NewModel, OptimizerSettings, Publish, SaveDtype,
    ScheduleSettings, StartSettings, TrainLm, TrainLmSettings, ValidationSettings,
};

use tributary_pipeline::Registry;

/// Every job kind of this program.
pub fn registry() -> Registry {
    Registry::new()
        .with(Import)
        .with(Synth)
        .with(TrainTokenizer)
        .with(TrainLm)
        .with(Evaluate)
        .with(Merge)
        .with(MergeSearch)
        .with(Prune)
}
