//! YAML to a typed graph to a plan to a run; knows no method.
//!
//! The way of a pipeline: [`Source`] (texts) → [`plan`] ([`Plan`], or [`Diagnostics`] with everything wrong at once) →
//! [`run`] (artifacts in a store, run records beside them, [`Event`]s to an [`Observer`]). Jobs come in a
//! [`Registry`]; each is a [`TypedJob`] that reads [`ResolvedInput`]s and writes one artifact. Invariants:
//!
//! * One step makes one artifact, `artifacts/<job>/<key>`, whose key is made of everything that decides its bytes.
//! * An artifact is there as a whole or not at all, so a run killed anywhere goes on where it was.
//! * Results never depend on the order in which steps ran, nor on how many ran at once.

mod attempt;
mod content;
mod context;
mod declaration;
mod diagnostic;
mod document;
mod error;
mod event;
mod external;
mod figure;
mod finding;
mod graph;
mod history;
mod input;
mod job;
mod job_error;
mod journal;
mod key;
mod machine;
mod monitor;
mod node;
mod node_reader;
mod overrides;
mod plan;
mod planner;
mod profile;
mod progress;
mod record;
mod registry;
mod resources;
mod runner;
mod schema;
mod source;
mod typed;
mod variables;
mod yaml;

pub use context::{JobContext, PlanContext, ResolvedInput};
pub use declaration::{
    DIRECTORY_KIND, Estimate, FILE_KIND, InputDeclaration, MODEL_KIND, Outcome, OutputDeclaration, Problem,
};
pub use diagnostic::{Diagnostic, Diagnostics};
pub use document::DocumentHead;
pub use error::PipelineError;
pub use event::{Event, NoObserver, Observer};
pub use figure::{Drawn, FIGURES, Figure, Level, Line, Note, Score};
pub use finding::{Finding, Rule, suggestion};
pub use graph::step_seed;
pub use history::RunHistory;
pub use input::{InputRef, ReferenceError, is_identifier};
pub use job::{Job, Typed, TypedJob};
pub use job_error::{JobError, JobErrorKind};
pub use key::{ARTIFACTS, CHECKPOINTS};
pub use node::{Entry, Node, NodeValue, Origin, Span};
pub use plan::{Plan, PlanState, PlanStep};
pub use planner::{Planned, plan, plan_in};
pub use progress::{CancellationToken, NoProgress, ProgressSink};
pub use record::{
    FinishedRecord, InputOutline, Machine, OutputOutline, RECORD_FORMAT, RUNS, RunRecord, RunStatus,
    StepFailure, StepOutline, StepRecord, StepStatus, Throughput,
};
pub use registry::Registry;
pub use resources::{ByteSize, Resources};
pub use runner::{RunOptions, RunReport, run};
pub use schema::schema;
pub use source::{Profile, Source};
pub use typed::from_node;
