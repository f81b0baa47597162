//! The plan: what a run would do, for `trib plan` and for machines.
//!
//! Made by [`crate::planner`]; serialises to JSON as it is. Addresses are masked.

use serde::{Deserialize, Serialize};

use crate::declaration::Estimate;
use crate::record::{InputOutline, Machine, OutputOutline, StepOutline};
use crate::resources::Resources;

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The document's name.
    pub pipeline: String,
    /// The document's file.
    pub file: String,
    /// Address of the store, credentials masked.
    pub store: String,
    /// The pipeline's seed.
    pub seed: u64,
    /// The machine planned for.
    pub machine: Machine,
    /// The steps in execution order.
    pub steps: Vec<PlanStep>,
}

/// What a run would do with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Its artifact is there already.
    Cached,
    /// Its inputs exist, its artifact does not.
    Run,
    /// Not known before its inputs exist: it will run, unless they turn out as in an earlier run.
    Unknown,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// The step's id.
    pub id: String,
    /// Job kind.
    pub job: String,
    /// Version of the job.
    pub job_version: u32,
    /// What a run would do.
    pub state: PlanState,
    /// Cache key, if the inputs exist.
    pub key: Option<String>,
    /// Path of the artifact in the store, if the key is known.
    pub artifact: Option<String>,
    /// What it is expected to take, if it is not cached and the job can tell.
    pub estimate: Option<Estimate>,
    /// Settings with every default filled in; references stay as written.
    pub settings: serde_json::Value,
    /// What it reads.
    pub inputs: Vec<InputOutline>,
    /// What it makes.
    pub outputs: Vec<OutputOutline>,
    /// Steps it waits for without reading them.
    pub after: Vec<String>,
    /// What it reserves.
    pub resources: Resources,
    /// How often it is tried again.
    pub retries: u32,
}

impl Plan {
    /// Number of steps in a state.
    pub fn count(&self, state: PlanState) -> usize {
        self.steps.iter().filter(|step| step.state == state).count()
    }

    /// Is there nothing to do?
    pub fn is_complete(&self) -> bool {
        self.steps.iter().all(|step| step.state == PlanState::Cached)
    }
}

impl PlanStep {
    pub(crate) fn outline(&self) -> StepOutline {
        StepOutline {
            id: self.id.clone(),
            job: self.job.clone(),
            job_version: self.job_version,
            settings: self.settings.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            after: self.after.clone(),
            resources: self.resources.clone(),
        }
    }
}
