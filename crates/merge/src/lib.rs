//! The streaming merge engine: models in, one model out, in a fixed amount of memory.
//!
//! Floor 2 of the house: above [`tributary_tensorfile`] (bytes and formats) and [`tributary_store`] (where artifacts
//! live), below the job that calls it and the command line. A merge is a document ([`MergeSpec`]), opened models
//! ([`Source`]), a plan made from headers alone ([`plan()`]), and its execution ([`MergePlan::publish`]).
//!
//! Invariants: the result depends on the document and the models only, never on threads, block size, shards or the
//! clock; memory for blocks is bounded by [`MergeOptions::memory`]; nothing is visible before it is complete.

mod card;
mod compatibility;
mod config;
mod diagnosis;
mod diff;
mod engine;
mod error;
mod kernel;
mod lora;
mod method;
mod pieces;
mod plan;
mod portion;
mod record;
mod run;
mod source;
mod statistics;
mod vocabulary;

pub use compatibility::{Incompatibilities, Incompatibility};
pub use config::{
    Case, Compat, FloatType, MergeConfig, MergeSpec, ModelSpec, ModuleSpec, ParameterValue, Parameters,
    Place, Problem, Problems, Scalar, Setting, SliceSpec, SourceSpec, TokenName, TokenSource, TokenSpec,
    TokenizerSpec,
};
pub use diff::{
    DiffOptions, Distance, FieldDiff, FileDiff, FileState, GroupDiff, LargestDifference, ModelDiff, Side,
    TensorDiff, TensorEntry, TokenizerDiff, diff,
};
pub use error::{MergeError, Result};
pub use lora::{
    Adapter, AdapterFault, ExtractOptions, ExtractReport, ExtractedGroup, ExtractedTensor, Extraction,
    LoraMerge, LoraMergeOptions, LoraMergeReport, WholeTensor, check_pattern,
};
pub use method::{
    BaseUse, Chunk, Default as ParameterDefault, FirstPass, Kind as ParameterKind, METHODS, Measure,
    Measured, Method, Of, OnlyMeasure, Parameter, Rule, Scope as ParameterScope, Settings, Statistics, Step,
    TensorPlace, WeightedSum, effective_number, find as find_method, normalise, sum_in_any_order,
};
pub use plan::{MergeOptions, MergePlan, PlanSummary, compare, plan};
pub use portion::Portion;
pub use record::{Execution, MergeRecord, MergeReport, ModelRecord, Norms, PartRecord, RECORD_FILE};
pub use run::{MERGE_VERSION, Phase, Progress, Progressed, Published, Watch, Written};
pub use source::{Identity, Source, SourceTensor, split_adapter};
pub use statistics::{Gram, GramTable};
