//! YAML to a typed graph to a plan to a run; knows no method.

mod context;
mod declaration;
mod event;
mod figure;
mod finding;
mod input;
mod job;
mod job_error;
mod node;
mod node_reader;
mod progress;
mod record;
mod registry;
mod resources;
mod typed;
mod yaml;

pub use context::{JobContext, PlanContext, ResolvedInput};
pub use declaration::{
    DIRECTORY_KIND, Estimate, FILE_KIND, InputDeclaration, MODEL_KIND, Outcome, OutputDeclaration, Problem,
};
pub use event::{Event, NoObserver, Observer};
pub use figure::{FIGURES, Figure, Level, Line, Note, Score};
pub use finding::{Finding, Rule};
pub use input::{InputRef, ReferenceError, is_identifier};
pub use job::{Job, Typed, TypedJob};
pub use job_error::{JobError, JobErrorKind};
pub use node::{Entry, Node, NodeValue, Origin, Span};
pub use progress::{CancellationToken, NoProgress, ProgressSink};
pub use record::{
    FinishedRecord, InputOutline, Machine, OutputOutline, RECORD_FORMAT, RUNS, RunRecord, RunStatus,
    StepFailure, StepOutline, StepRecord, StepStatus, Throughput,
};
pub use registry::Registry;
pub use resources::{ByteSize, Resources};
pub use typed::from_node;
