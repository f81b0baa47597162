//! What a job is: a kind of step, with typed settings, declared inputs and outputs, checks and a body.
//!
//! Jobs implement [`TypedJob`]; the registry holds them as [`Job`], which works on the settings' canonical JSON
//! (every default filled in). [`Typed`] is the bridge. Invariant: everything but [`Job::run`] is quick, reads at
//! most headers, and depends on nothing but its arguments.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::{JobContext, PlanContext};
use crate::declaration::{Estimate, InputDeclaration, Outcome, OutputDeclaration, Problem};
use crate::finding::{Finding, Rule};
use crate::job_error::JobError;
use crate::node::Node;
use crate::typed::from_node;

/// A kind of step, as the crate `jobs` writes it.
///
/// The settings type derives `Deserialize`, `Serialize` and `JsonSchema`, denies unknown fields
/// (`#[serde(deny_unknown_fields)]`), and uses neither `flatten` nor `untagged`: both lose the places that errors
/// point at. What it serialises must deserialise to the same value.
pub trait TypedJob: Send + Sync + 'static {
    /// The `with:` mapping.
    type Settings: DeserializeOwned + Serialize + JsonSchema;

    /// The word after `job:`, for instance `train.lm`.
    const KIND: &'static str;
    /// Raised whenever the same settings and inputs would give other bytes; part of the cache key.
    const VERSION: u32;
    /// One line for `trib jobs`.
    const SUMMARY: &'static str;
    /// A step as YAML, for `trib jobs`.
    const EXAMPLE: &'static str;

    /// Does it compute on the run's device? Then the kind of device is part of the cache key: a GPU rounds otherwise.
    const USES_DEVICE: bool = false;

    /// Does the result depend on the pipeline's seed? If not, the seed is no part of the cache key and
    /// [`JobContext::seed`] is 0.
    fn is_seeded(&self, _settings: &Self::Settings) -> bool {
        true
    }

    /// Every place in the settings that reads something. An undeclared reference is an error of the document.
    fn inputs(&self, settings: &Self::Settings) -> Vec<InputDeclaration>;

    /// What the step makes.
    fn outputs(&self, settings: &Self::Settings) -> Vec<OutputDeclaration>;

    /// What is wrong, from headers and file names only. Called at plan time, and again before the step runs if
    /// an input did not exist then. External inputs named here exist.
    fn check(&self, _settings: &Self::Settings, _plan: &PlanContext<'_>) -> Vec<Problem> {
        Vec::new()
    }

    /// What it is expected to take.
    fn estimate(&self, _settings: &Self::Settings, _plan: &PlanContext<'_>) -> Option<Estimate> {
        None
    }

    /// Does the work: writes files through the context's publication and returns facts and figures. The runner
    /// commits.
    ///
    /// # Errors
    /// [`JobError`]; transient kinds are tried again, from the start but with the same checkpoints.
    fn run(&self, settings: &Self::Settings, context: &mut JobContext) -> Result<Outcome, JobError>;
}

/// A kind of step, as the registry holds it. Settings are canonical JSON from [`Job::resolve`].
pub trait Job: Send + Sync {
    /// See [`TypedJob::KIND`].
    fn kind(&self) -> &'static str;
    /// See [`TypedJob::VERSION`].
    fn version(&self) -> u32;
    /// See [`TypedJob::SUMMARY`].
    fn summary(&self) -> &'static str;
    /// See [`TypedJob::EXAMPLE`].
    fn example(&self) -> &'static str;
    /// JSON schema of the settings.
    fn schema(&self) -> Value;
    /// Reads the `with:` mapping into canonical settings, every default filled in.
    ///
    /// # Errors
    /// Everything found wrong, with places.
    fn resolve(&self, node: &Node) -> Result<Value, Vec<Finding>>;
    /// See [`TypedJob::USES_DEVICE`].
    fn uses_device(&self) -> bool;
    /// See [`TypedJob::is_seeded`].
    ///
    /// # Errors
    /// A bug: the settings did not come from [`Job::resolve`].
    fn is_seeded(&self, settings: &Value) -> Result<bool, JobError>;
    /// See [`TypedJob::inputs`].
    ///
    /// # Errors
    /// As [`Job::is_seeded`].
    fn inputs(&self, settings: &Value) -> Result<Vec<InputDeclaration>, JobError>;
    /// See [`TypedJob::outputs`].
    ///
    /// # Errors
    /// As [`Job::is_seeded`].
    fn outputs(&self, settings: &Value) -> Result<Vec<OutputDeclaration>, JobError>;
    /// See [`TypedJob::check`].
    ///
    /// # Errors
    /// As [`Job::is_seeded`].
    fn check(&self, settings: &Value, plan: &PlanContext<'_>) -> Result<Vec<Problem>, JobError>;
    /// See [`TypedJob::estimate`].
    ///
    /// # Errors
    /// As [`Job::is_seeded`].
    fn estimate(&self, settings: &Value, plan: &PlanContext<'_>) -> Result<Option<Estimate>, JobError>;
    /// See [`TypedJob::run`].
    ///
    /// # Errors
    /// [`JobError`].
    fn run(&self, settings: &Value, context: &mut JobContext) -> Result<Outcome, JobError>;
}

/// A [`TypedJob`] as a [`Job`].
#[derive(Debug, Clone, Copy)]
pub struct Typed<T>(pub T);

/// Back from canonical JSON to the typed settings.
fn typed<T: DeserializeOwned>(settings: &Value, kind: &str) -> Result<T, JobError> {
    T::deserialize(settings).map_err(|error| {
        JobError::bug(format!(
            "settings of `{kind}` do not survive their own JSON: {error}"
        ))
    })
}

impl<T: TypedJob> Job for Typed<T> {
    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn version(&self) -> u32 {
        T::VERSION
    }

    fn summary(&self) -> &'static str {
        T::SUMMARY
    }

    fn example(&self) -> &'static str {
        T::EXAMPLE
    }

    fn uses_device(&self) -> bool {
        T::USES_DEVICE
    }

    fn schema(&self) -> Value {
        schemars::schema_for!(T::Settings).to_value()
    }

    fn resolve(&self, node: &Node) -> Result<Value, Vec<Finding>> {
        let settings: T::Settings = from_node(node)?;
        serde_json::to_value(&settings)
            .map_err(|error| vec![Finding::at(Rule::BadValue, node, error.to_string())])
    }

    fn is_seeded(&self, settings: &Value) -> Result<bool, JobError> {
        Ok(self.0.is_seeded(&typed(settings, T::KIND)?))
    }

    fn inputs(&self, settings: &Value) -> Result<Vec<InputDeclaration>, JobError> {
        Ok(self.0.inputs(&typed(settings, T::KIND)?))
    }

    fn outputs(&self, settings: &Value) -> Result<Vec<OutputDeclaration>, JobError> {
        Ok(self.0.outputs(&typed(settings, T::KIND)?))
    }

    fn check(&self, settings: &Value, plan: &PlanContext<'_>) -> Result<Vec<Problem>, JobError> {
        Ok(self.0.check(&typed(settings, T::KIND)?, plan))
    }

    fn estimate(&self, settings: &Value, plan: &PlanContext<'_>) -> Result<Option<Estimate>, JobError> {
        Ok(self.0.estimate(&typed(settings, T::KIND)?, plan))
    }

    fn run(&self, settings: &Value, context: &mut JobContext) -> Result<Outcome, JobError> {
        self.0.run(&typed(settings, T::KIND)?, context)
    }
}
