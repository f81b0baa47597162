//! Run records: what happened, as many small JSON objects under `runs/<run id>/` in the store.
//!
//! The runner writes them, the report and `trib` read them. `run.json` comes first, `steps/<step>.json` is
//! rewritten at every change of a step's status, `finished.json` comes last; the pointer `runs/latest` names the
//! newest run. Invariants: nothing here takes part in a cache key (so clocks are allowed), readers accept fields
//! they do not know (a newer writer may add some), and no secret is in them (store addresses are masked).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::resources::Resources;
use crate::source::Profile;

/// Version of the record format; raised when an old reader would misread a new record.
pub const RECORD_FORMAT: u32 = 1;

/// Folder of all run records in a store.
pub const RUNS: &str = "runs";

/// `runs/<run id>/run.json`: what was asked for, written once at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// `20260102T030405Z-1a2b3c`: start in UTC and six random hex digits; sorts by time.
    pub id: String,
    /// The document's `name`.
    pub pipeline: String,
    /// File name of the document, for display.
    pub file: String,
    /// The document, as it was read.
    pub document: String,
    /// Profiles laid over it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Profile>,
    /// `--set` overrides, in order, as they were given.
    pub overrides: Vec<String>,
    /// Address of the store, credentials masked.
    pub store: String,
    /// The pipeline's seed.
    pub seed: u64,
    /// Program name to version, for instance `tributary` to `0.1.0`.
    pub versions: BTreeMap<String, String>,
    /// Where it ran.
    pub machine: Machine,
    /// Start, RFC 3339 in UTC.
    pub started: String,
    /// The steps in execution order (a topological order; ties as in the document).
    pub steps: Vec<StepOutline>,
}

/// The machine of a run, as the scheduler saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Logical processors the steps could share.
    pub cpus: u32,
    /// Bytes of memory the steps could share.
    pub memory: u64,
    /// Accelerators the steps could share.
    pub gpus: u32,
    /// Device the jobs were told to use: `cpu`, `cuda:0` or `auto`.
    pub device: String,
    /// Operating system and architecture, for instance `linux x86_64`.
    pub system: String,
}

/// One step as planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepOutline {
    /// The step's `id`.
    pub id: String,
    /// Job kind.
    pub job: String,
    /// Version of the job.
    pub job_version: u32,
    /// Settings with every default filled in; references stay as `${step.output}`.
    pub settings: serde_json::Value,
    /// What it reads.
    pub inputs: Vec<InputOutline>,
    /// What it makes.
    pub outputs: Vec<OutputOutline>,
    /// Steps it waits for without reading them.
    pub after: Vec<String>,
    /// What it reserves while it runs.
    pub resources: Resources,
}

/// One input of a step: an arrow of the graph, or something from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputOutline {
    /// Path of the setting, for instance `models.0.model`.
    pub field: String,
    /// As written: `${base.model}`, a path or an address (credentials masked).
    pub reference: String,
    /// The step it comes from, if one.
    pub step: Option<String>,
    /// That step's output, if one.
    pub output: Option<String>,
    /// Kind, where known: `model`, `dataset`, …
    pub kind: Option<String>,
}

/// One output of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputOutline {
    /// Name in references.
    pub name: String,
    /// `model`, `dataset`, `metrics`, …
    pub kind: String,
    /// Path inside the step's artifact; empty for its root.
    pub path: String,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Waits for its inputs or for resources.
    Queued,
    /// Runs now (or ran when the process died: a record that stays so means a kill).
    Running,
    /// Its artifact was made in this run.
    Done,
    /// Its artifact was there already.
    Cached,
    /// It ended with an error.
    Failed,
    /// It did not start, because a step it needs failed or the run was cancelled.
    Skipped,
    /// It was stopped at a safe point by a cancellation; a later run continues it.
    Cancelled,
}

/// `runs/<run id>/steps/<step>.json`: where one step stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The step's `id`.
    pub step: String,
    /// Job kind.
    pub job: String,
    /// Where it stands.
    pub status: StepStatus,
    /// Cache key (64 hex digits), once its inputs exist.
    pub key: Option<String>,
    /// Path of the artifact in the store, `artifacts/<job>/<first 24 digits of the key>`.
    pub artifact: Option<String>,
    /// Digest of the artifact's manifest, once committed.
    pub digest: Option<String>,
    /// How often it was started in this run.
    pub attempts: u32,
    /// Start of the first attempt, RFC 3339 in UTC.
    pub started: Option<String>,
    /// End, RFC 3339 in UTC.
    pub finished: Option<String>,
    /// Seconds from the first start to the end, waits between attempts included.
    pub seconds: Option<f64>,
    /// Why it failed, was skipped or cancelled.
    pub error: Option<StepFailure>,
    /// Work done by the last attempt, one entry a unit, in the order the units first appeared.
    pub throughput: Vec<Throughput>,
    /// Last value of every metric the step reported, by name.
    pub metrics: BTreeMap<String, f64>,
}

/// Why a step failed, was skipped or cancelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepFailure {
    /// `bad_input`, `unavailable`, `io`, `retry`, `config`, `cancelled`, `bug` or `skipped`.
    pub kind: String,
    /// What happened, causes included.
    pub message: String,
    /// Exit-code class (see the exit-code table of `trib`).
    pub exit_code: i32,
}

/// Work done and how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// What was counted: `tokens`, `bytes`, `documents`, `steps`, …
    pub unit: String,
    /// How many.
    pub amount: u64,
    /// Seconds during which they were counted.
    pub seconds: f64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Every step is done or cached.
    Done,
    /// A step failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// `runs/<run id>/finished.json`: how the run ended, written last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// How it ended.
    pub status: RunStatus,
    /// End, RFC 3339 in UTC.
    pub finished: String,
    /// Wall time.
    pub seconds: f64,
    /// Number of steps by their last status.
    pub steps: BTreeMap<StepStatus, u32>,
}
