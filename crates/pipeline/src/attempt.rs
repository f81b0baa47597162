//! One step, from its inputs to its committed artifact, with its retries.
//!
//! Runs on a worker thread of [`crate::runner`]. Invariants: an artifact that is there is never made again; two
//! steps of one key never run at once in this process; a failure that cannot pass is not tried again; a panic is a
//! failure of its step only.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tributary_store::{
    Artifact, Lineage, ManifestDraft, OutputEntry, Producer, Publication, Store, StoreError,
};

use crate::content;
use crate::context::{JobContext, PlanContext, ResolvedInput};
use crate::declaration::OutputDeclaration;
use crate::event::Event;
use crate::figure::{FIGURES, Figure};
use crate::graph::GraphStep;
use crate::input::InputRef;
use crate::job_error::{JobError, JobErrorKind};
use crate::key::{artifact_path, cache_key, checkpoints_path, settings_by_content};
use crate::monitor::Monitor;
use crate::planner::{self, Planned, PlannedStep};
use crate::progress::{CancellationToken, ProgressSink};
use crate::record::{StepFailure, Throughput};

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the workers of a run share.
pub(crate) struct Workshop<'a> {
    pub(crate) planned: &'a Planned,
    pub(crate) cancellation: CancellationToken,
    /// Pause before the second attempt; doubles with each further one.
    pub(crate) first_pause: Duration,
    pub(crate) claims: Claims,
    /// Digests of artifacts that were made or read whole in this run.
    pub(crate) checked: Mutex<BTreeSet<String>>,
}

/// Keys that are being worked on in this process.
#[derive(Default)]
pub(crate) struct Claims {
    keys: Mutex<BTreeSet<String>>,
    freed: Condvar,
}

/// A claimed key; free again on drop.
struct Claim<'a> {
    claims: &'a Claims,
    key: String,
}

impl Claims {
    /// Waits until nobody else in this process works on the key.
    fn claim(&self, key: &str) -> Claim<'_> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |keys: &mut BTreeSet<String>| keys.contains(key);
        let mut keys = self
            .freed
            .wait_while(keys, free)
            .unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned());
        Claim {
            claims: self,
            key: key.to_owned(),
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
        self.claims.freed.notify_all();
    }
}

/// How a step ended.
pub(crate) struct StepEnd {
    pub(crate) key: Option<String>,
    pub(crate) result: Result<Made, JobError>,
    pub(crate) throughput: Vec<Throughput>,
    pub(crate) metrics: BTreeMap<String, f64>,
}

impl StepEnd {
    fn failed(error: JobError) -> Self {
        StepEnd {
            key: None,
            result: Err(error),
            throughput: Vec::new(),
            metrics: BTreeMap::new(),
        }
    }
}

/// What workers send to the dispatcher.
pub(crate) enum Message {
    /// Something happened.
    Said(Event),
    /// The step at this position ended; nothing more comes from it.
    Ended(usize, Box<StepEnd>),
}

/// Nobody listens any more only when the run is over; then nothing is lost.
fn say(messages: &Sender<Message>, event: Event) {
    let _ = messages.send(Message::Said(event));
}

/// A step's artifact, and whether it was there already.
pub(crate) struct Made {
    pub(crate) artifact: Artifact,
    pub(crate) was_cached: bool,
}

/// A failure as it is recorded.
pub(crate) fn failure(error: &JobError) -> StepFailure {
    StepFailure {
        kind: error.kind().name().to_owned(),
        message: error.describe(),
        exit_code: error.kind().exit_code(),
    }
}

impl Workshop<'_> {
    /// Does one step and says how it ended, whatever happens: the dispatcher would wait for ever otherwise.
    pub(crate) fn work(
        &self,
        index: usize,
        step: &PlannedStep,
        made: &BTreeMap<String, Artifact>,
        messages: &Sender<Message>,
    ) {
        let end = catch_unwind(AssertUnwindSafe(|| self.make(step, made, messages)))
            .unwrap_or_else(|panic| StepEnd::failed(JobError::bug(panic_message(&*panic))));
        let _ = messages.send(Message::Ended(index, Box::new(end)));
    }

    /// Does one step. `made` holds the artifacts of the steps it waits for, by id.
    fn make(
        &self,
        step: &PlannedStep,
        made: &BTreeMap<String, Artifact>,
        messages: &Sender<Message>,
    ) -> StepEnd {
        let mut end = StepEnd::failed(JobError::bug("the step was never attempted"));
        let inputs = match resolve(step, made) {
            Ok(inputs) => inputs,
            Err(error) => return StepEnd::failed(error),
        };
        let key = cache_key(&step.graph, &inputs, &self.planned.plan.machine.device);
        end.key = Some(key.clone());
        let _claim = self.claims.claim(&key);
        let allowed = step.graph.retries + 1;
        for attempt in 0..allowed {
            let monitor = Arc::new(Monitor::new(&step.graph.id, messages.clone()));
            let listening = Arc::clone(&monitor);
            end.result = self.attempt(step, &inputs, &key, attempt, listening, messages);
            (end.throughput, end.metrics) = monitor.totals();
            let Err(error) = &end.result else { break };
            let is_last = attempt + 1 == allowed;
            if is_last || !error.kind().is_transient() || self.cancellation.is_cancelled() {
                break;
            }
            let wait = self.pause_after(attempt);
            say(
                messages,
                Event::StepRetrying {
                    step: step.graph.id.clone(),
                    attempts: attempt + 1,
                    allowed,
                    wait: wait.as_secs_f64(),
                    error: failure(error),
                },
            );
            self.sleep(wait);
            if self.cancellation.is_cancelled() {
                end.result = Err(JobError::cancelled());
                break;
            }
        }
        end
    }

    fn pause_after(&self, attempt: u32) -> Duration {
        self.first_pause
            .saturating_mul(1 << attempt.min(16))
            .min(LONGEST_PAUSE)
    }

    /// Reads the artifacts that a step reads, once a run: what is made from damaged bytes would be damaged for good.
    fn check_artifacts(
        &self,
        inputs: &BTreeMap<String, ResolvedInput>,
        progress: &dyn ProgressSink,
    ) -> Result<(), JobError> {
        for input in inputs.values() {
            let Some(artifact) = &input.artifact else { continue };
            let mut known = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
            if known.contains(&input.digest) {
                continue;
            }
            progress.begin("checking inputs", None, "artifacts");
            artifact.check().map_err(|error| {
                let advice = format!(
                    "{} cannot be used; remove {} and run again: what a step made is made again",
                    input.reference,
                    artifact.store().url()
                );
                JobError::caused(JobErrorKind::of_store(&error), advice, error)
            })?;
            known.insert(input.digest.clone());
        }
        Ok(())
    }

    /// Sleeps, but not through a cancellation.
    fn sleep(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.cancellation.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    fn attempt(
        &self,
        step: &PlannedStep,
        inputs: &BTreeMap<String, ResolvedInput>,
        key: &str,
        attempt: u32,
        progress: Arc<dyn ProgressSink>,
        messages: &Sender<Message>,
    ) -> Result<Made, JobError> {
        self.cancellation.check()?;
        let graph = &step.graph;
        let place = self.planned.store.child(&artifact_path(graph.job.kind(), key))?;
        if let Some(artifact) = whole_artifact(&place, &graph.outputs)? {
            let was_cached = true;
            return Ok(Made { artifact, was_cached });
        }
        if let Some(holed) = Artifact::try_open(&place)? {
            holed.remove()?;
        }
        let machine = &self.planned.plan.machine;
        say(
            messages,
            Event::StepStarted {
                step: graph.id.clone(),
                job: graph.job.kind().to_owned(),
                attempt,
            },
        );
        if !step.is_checked {
            let context = PlanContext::new(graph, &self.planned.source.base, machine, inputs);
            let findings = planner::check(graph, &context)?;
            if !findings.is_empty() {
                return Err(JobError::config(self.planned.describe(findings)));
            }
        }
        unchanged(inputs)?;
        self.check_artifacts(inputs, progress.as_ref())?;
        let publication = Publication::begin(&place);
        let mut context = JobContext {
            step: graph.id.clone(),
            seed: graph.seed.unwrap_or_default(),
            device: machine.device.clone(),
            threads: graph.resources.cpus as usize,
            attempt,
            publication,
            checkpoints: self.planned.store.child(&checkpoints_path(key))?,
            progress,
            cancellation: self.cancellation.clone(),
            inputs: inputs.clone(),
        };
        let outcome = graph.job.run(&graph.settings, &mut context)?;
        unchanged(inputs)?;
        let (publication, checkpoints) = (context.publication, context.checkpoints);
        if !outcome.figures.is_empty() {
            let figures =
                Figure::to_json(&outcome.figures).map_err(|error| JobError::bug(error.to_string()))?;
            publication.put(FIGURES, figures)?;
        }
        let artifact = publication.commit(draft(graph, inputs, outcome.facts)).map_err(|error| {
            let is_other = error.is_conflict();
            let error = JobError::from(error);
            if is_other {
                let doing = "another run committed a different artifact for the same inputs and settings; the job is not deterministic";
                return JobError::caused(JobErrorKind::Bug, doing, error);
            }
            error
        })?;
        // Only the manifest knows what was written. Should the process die here, the next run sees the hole too.
        if let Some(output) = missing(&artifact, &graph.outputs) {
            artifact.remove()?;
            let message = format!("declared output `{}` is not at `{}`", output.name, output.path);
            return Err(JobError::bug(message));
        }
        // Nothing goes on from them any more. What cannot be removed costs room and nothing else.
        if let Err(error) = checkpoints.delete_all() {
            tracing::warn!("checkpoints of step `{}` could not be removed: {error}", graph.id);
        }
        let mut known = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(artifact.digest());
        let was_cached = false;
        Ok(Made { artifact, was_cached })
    }
}

/// Are the files outside artifacts still those whose content the cache key holds?
fn unchanged(inputs: &BTreeMap<String, ResolvedInput>) -> Result<(), JobError> {
    for input in inputs.values() {
        let Some(mark) = &input.mark else { continue };
        if content::mark(&input.root, &input.path, input.is_file)? != *mark {
            let message = format!(
                "{} changed while the pipeline ran; nothing of this step is published: run again, with the new content",
                input.reference
            );
            return Err(JobError::new(JobErrorKind::Retry, message));
        }
    }
    Ok(())
}

/// All inputs of a step whose predecessors are done.
fn resolve(
    step: &PlannedStep,
    made: &BTreeMap<String, Artifact>,
) -> Result<BTreeMap<String, ResolvedInput>, JobError> {
    let mut inputs = step.external.clone();
    for declaration in &step.graph.inputs {
        if let InputRef::Step { step: id, output } = &declaration.reference {
            let input = made
                .get(id)
                .and_then(|artifact| planner::of_step(declaration, artifact, output));
            let input = input.ok_or_else(|| {
                JobError::bug(format!(
                    "the artifact of step `{id}` has no output `{output}`, though it was declared"
                ))
            })?;
            inputs.insert(declaration.field.clone(), input);
        }
    }
    Ok(inputs)
}

/// The artifact at `place`, if there is one that holds everything its job declares and lacks nothing that was published.
/// One with a hole does not count: it is made again.
///
/// # Errors
/// The store fails.
pub(crate) fn whole_artifact(
    place: &Store,
    outputs: &[OutputDeclaration],
) -> Result<Option<Artifact>, StoreError> {
    match Artifact::try_open(place)? {
        Some(artifact) if missing(&artifact, outputs).is_none() && artifact.wrong_sizes()?.is_empty() => {
            Ok(Some(artifact))
        }
        _ => Ok(None),
    }
}

/// The first declared output that is not in an artifact.
fn missing<'a>(artifact: &Artifact, outputs: &'a [OutputDeclaration]) -> Option<&'a OutputDeclaration> {
    let objects = &artifact.manifest().objects;
    let is_there = |output: &OutputDeclaration| {
        let folder = format!("{}/", output.path);
        output.path.is_empty()
            || objects
                .iter()
                .any(|object| object.path == output.path || object.path.starts_with(&folder))
    };
    outputs.iter().find(|output| !is_there(output))
}

fn draft(
    step: &GraphStep,
    inputs: &BTreeMap<String, ResolvedInput>,
    facts: serde_json::Map<String, serde_json::Value>,
) -> ManifestDraft {
    let lineage = |(field, input): (&String, &ResolvedInput)| Lineage {
        name: field.clone(),
        kind: input.kind.clone(),
        digest: input.digest.clone(),
    };
    let entry = |output: &OutputDeclaration| {
        (
            output.name.clone(),
            OutputEntry {
                kind: output.kind.clone(),
                path: output.path.clone(),
            },
        )
    };
    ManifestDraft {
        kind: artifact_kind(&step.outputs),
        inputs: inputs.iter().map(lineage).collect(),
        settings: settings_by_content(step, inputs),
        outputs: step.outputs.iter().map(entry).collect(),
        facts,
        producer: Producer {
            name: "tributary".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            job: step.job.kind().to_owned(),
            job_version: step.job.version(),
        },
    }
}

/// The kind of the whole artifact: of the output at its root, else the one kind all outputs have, else `collection`.
fn artifact_kind(outputs: &[OutputDeclaration]) -> String {
    let root = outputs.iter().find(|output| output.path.is_empty());
    let same = outputs
        .first()
        .filter(|first| outputs.iter().all(|output| output.kind == first.kind));
    root.or(same)
        .map_or_else(|| "collection".to_owned(), |output| output.kind.clone())
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "the job panicked: {}",
        text.unwrap_or_else(|| "no message".to_owned())
    )
}
