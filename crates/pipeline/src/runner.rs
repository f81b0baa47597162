//! A planned pipeline, run: the dispatcher that starts steps and hears everything.
//!
//! Stands between [`crate::planner`] and the workers of [`crate::attempt`]. One thread (the caller's) decides,
//! records and reports; workers compute and send messages; nothing else is shared. Invariants: a step starts when
//! all it waits for is there and its resources are free, earlier steps first; a failure stops what depends on it
//! and nothing else; what a run makes does not depend on the order in which it was made.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tributary_store::Artifact;

use crate::attempt::{Claims, Message, StepEnd, Workshop, failure};
use crate::error::PipelineError;
use crate::event::{Event, Observer};
use crate::job_error::{JobError, JobErrorKind};
use crate::journal::Journal;
use crate::key::{CHECKPOINTS, checkpoints_path};
use crate::plan::PlanState;
use crate::planner::{Planned, PlannedStep};
use crate::progress::CancellationToken;
use crate::record::{Machine, RunStatus, StepFailure, StepRecord, StepStatus};
use crate::resources::Resources;

/// How often a cancellation is looked for while nothing happens.
const PULSE: Duration = Duration::from_millis(50);
/// Deep recursion in a job shall not depend on the platform's default.
const STACK: usize = 16 << 20;

/// How to run.
pub struct RunOptions<'a> {
    /// Who hears what happens.
    pub observer: &'a dyn Observer,
    /// Stops the run at safe points.
    pub cancellation: CancellationToken,
    /// Program name to version, for the record.
    pub versions: BTreeMap<String, String>,
    /// Pause before the second attempt at a step; doubles with each further one, up to a minute.
    pub first_pause: Duration,
}

impl<'a> RunOptions<'a> {
    /// Uncancelled, with a first pause of one second.
    pub fn new(observer: &'a dyn Observer) -> Self {
        let versions = BTreeMap::from([("tributary".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        let (cancellation, first_pause) = (CancellationToken::new(), Duration::from_secs(1));
        RunOptions {
            observer,
            cancellation,
            versions,
            first_pause,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// The run's id; `None` if there was nothing to do.
    pub run: Option<String>,
    /// How it ended.
    pub status: RunStatus,
    /// The steps' last records, in execution order; empty if there was nothing to do.
    pub steps: Vec<StepRecord>,
}

impl RunReport {
    /// 0 if all is done, 75 if cancelled, else the class of the first failure in execution order.
    pub fn exit_code(&self) -> i32 {
        match self.status {
            RunStatus::Done => 0,
            RunStatus::Cancelled => JobErrorKind::Cancelled.exit_code(),
            RunStatus::Failed => {
                let failed = self.steps.iter().filter(|step| step.status == StepStatus::Failed);
                failed
                    .filter_map(|step| step.error.as_ref())
                    .map(|error| error.exit_code)
                    .next()
                    .unwrap_or(1)
            }
        }
    }
}

/// Runs a planned pipeline. Steps whose artifacts are there are not made again; if that is all of them, nothing is
/// written at all. Checkpoints that such a step left behind, because its process died before it could remove them, go.
///
/// # Errors
/// [`PipelineError::Store`] if the run's own records cannot be begun or finished. A failed step is no error here:
/// see [`RunReport::status`].
pub fn run(planned: &Planned, options: RunOptions<'_>) -> Result<RunReport, PipelineError> {
    let plan = &planned.plan;
    remove_leftovers(planned);
    if plan.is_complete() {
        options.observer.event(&Event::NothingToDo {
            steps: plan.steps.len(),
        });
        return Ok(RunReport {
            run: None,
            status: RunStatus::Done,
            steps: Vec::new(),
        });
    }
    let begun = Journal::begin(planned, options.versions.clone());
    let (id, journal) = begun.map_err(PipelineError::store("beginning the run's records"))?;
    options.observer.event(&Event::RunStarted {
        run: id.clone(),
        pipeline: plan.pipeline.clone(),
        steps: plan.steps.len(),
        cached: plan.count(PlanState::Cached),
    });
    let workshop = Workshop {
        planned,
        cancellation: options.cancellation.clone(),
        first_pause: options.first_pause,
        claims: Claims::default(),
        checked: Mutex::default(),
    };
    let mut dispatcher = Dispatcher {
        planned,
        options: &options,
        journal,
        states: vec![State::Waiting; planned.steps.len()],
        free: free_resources(&plan.machine),
    };
    dispatcher.run(&workshop);
    let status = dispatcher.status();
    let finished = dispatcher.journal.finish(status);
    let seconds = dispatcher.journal.seconds();
    options.observer.event(&Event::RunFinished {
        run: id.clone(),
        status,
        seconds,
    });
    finished.map_err(PipelineError::store("finishing the run's records"))?;
    Ok(RunReport {
        run: Some(id),
        status,
        steps: dispatcher.journal.records().to_vec(),
    })
}

/// Removes the checkpoints of steps whose artifacts are there: nothing goes on from them any more. What cannot be
/// removed costs room and nothing else.
fn remove_leftovers(planned: &Planned) {
    let found = match planned.store.children(CHECKPOINTS) {
        Ok(found) => found,
        Err(error) => return tracing::warn!("left checkpoints could not be looked for: {error}"),
    };
    let steps = planned.plan.steps.iter();
    let done = steps.filter(|step| step.state == PlanState::Cached);
    for key in done.filter_map(|step| step.key.as_deref()) {
        let folder = checkpoints_path(key);
        let is_left = found
            .iter()
            .any(|name| folder.ends_with(name.trim_end_matches('/')));
        if is_left && let Err(error) = planned.store.child(&folder).and_then(|place| place.delete_all()) {
            tracing::warn!("{folder} could not be removed: {error}");
        }
    }
}

#[derive(Debug, Clone)]
enum State {
    Waiting,
    Running,
    Made(Box<Artifact>),
    /// Failed, skipped or cancelled.
    Lost,
}

struct Dispatcher<'a> {
    planned: &'a Planned,
    options: &'a RunOptions<'a>,
    journal: Journal,
    states: Vec<State>,
    free: Resources,
}

fn free_resources(machine: &Machine) -> Resources {
    let memory = crate::resources::ByteSize(machine.memory);
    Resources {
        cpus: machine.cpus,
        memory,
        gpus: machine.gpus,
    }
}

impl Dispatcher<'_> {
    fn run(&mut self, workshop: &Workshop<'_>) {
        let (messages, inbox) = mpsc::channel();
        for (index, step) in self.planned.steps.iter().enumerate() {
            if let Some(artifact) = &step.artifact {
                self.keep(index, artifact.clone(), true);
            }
        }
        thread::scope(|scope| {
            loop {
                for index in self.startable() {
                    let step = &self.planned.steps[index];
                    let made = self.artifacts_for(step);
                    let sender = messages.clone();
                    let worker = thread::Builder::new()
                        .name(step.graph.id.clone())
                        .stack_size(STACK);
                    let spawned =
                        worker.spawn_scoped(scope, move || workshop.work(index, step, &made, &sender));
                    match spawned {
                        Ok(_) => {
                            self.states[index] = State::Running;
                            take(&mut self.free, &step.graph.resources);
                        }
                        Err(error) => self.lose(index, &JobError::from(error)),
                    }
                }
                if !self.states.iter().any(|state| matches!(state, State::Running)) {
                    break;
                }
                match inbox.recv_timeout(PULSE) {
                    Ok(message) => self.hear(message),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
        self.skip_rest();
    }

    /// Steps to start now, in order; each leaves room for those after it.
    fn startable(&mut self) -> Vec<usize> {
        if self.options.cancellation.is_cancelled() {
            return Vec::new();
        }
        let mut free = self.free.clone();
        let mut start = Vec::new();
        for (index, step) in self.planned.steps.iter().enumerate() {
            let is_waiting = matches!(self.states[index], State::Waiting);
            let has_inputs = step
                .graph
                .waits_for
                .iter()
                .all(|target| matches!(self.states[*target], State::Made(_)));
            if is_waiting && has_inputs && fits(&free, &step.graph.resources) {
                take(&mut free, &step.graph.resources);
                start.push(index);
            }
        }
        start
    }

    fn artifacts_for(&self, step: &PlannedStep) -> BTreeMap<String, Artifact> {
        let artifact = |target: &usize| match &self.states[*target] {
            State::Made(artifact) => Some((
                self.planned.steps[*target].graph.id.clone(),
                Artifact::clone(artifact),
            )),
            _ => None,
        };
        step.graph.waits_for.iter().filter_map(artifact).collect()
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Said(event) => {
                if let Event::StepStarted { step, .. } | Event::StepRetrying { step, .. } = &event
                    && let Some(index) = self
                        .planned
                        .steps
                        .iter()
                        .position(|known| known.graph.id == *step)
                {
                    self.journal.note(index, &event);
                }
                self.options.observer.event(&event);
            }
            Message::Ended(index, end) => {
                give_back(&mut self.free, &self.planned.steps[index].graph.resources);
                let StepEnd {
                    key,
                    result,
                    throughput,
                    metrics,
                } = *end;
                self.journal.fill(index, key, throughput, metrics);
                match result {
                    Ok(made) => self.keep(index, made.artifact, made.was_cached),
                    Err(error) => self.lose(index, &error),
                }
            }
        }
    }

    fn keep(&mut self, index: usize, artifact: Artifact, was_cached: bool) {
        let step = self.planned.steps[index].graph.id.clone();
        let status = if was_cached {
            StepStatus::Cached
        } else {
            StepStatus::Done
        };
        let seconds = self
            .journal
            .end(index, status, None, Some(artifact.manifest().digest()));
        let path = self.journal.records()[index].artifact.clone().unwrap_or_default();
        self.states[index] = State::Made(Box::new(artifact));
        self.options.observer.event(&match was_cached {
            true => Event::StepCached { step, artifact: path },
            false => Event::StepFinished {
                step,
                artifact: path,
                seconds,
            },
        });
    }

    fn lose(&mut self, index: usize, error: &JobError) {
        let step = self.planned.steps[index].graph.id.clone();
        self.states[index] = State::Lost;
        let error = failure(error);
        let is_cancelled = error.kind == JobErrorKind::Cancelled.name();
        let status = if is_cancelled {
            StepStatus::Cancelled
        } else {
            StepStatus::Failed
        };
        self.journal.end(index, status, Some(error.clone()), None);
        self.options.observer.event(&match is_cancelled {
            true => Event::StepCancelled { step },
            false => Event::StepFailed { step, error },
        });
    }

    /// Whatever still waits when nothing runs any more will not run.
    fn skip_rest(&mut self) {
        for index in 0..self.states.len() {
            if !matches!(self.states[index], State::Waiting) {
                continue;
            }
            self.states[index] = State::Lost;
            let graph = &self.planned.steps[index].graph;
            let lost = graph
                .waits_for
                .iter()
                .find(|target| matches!(self.states[**target], State::Lost));
            let because = match lost {
                Some(target) => format!("step `{}` did not finish", self.planned.steps[*target].graph.id),
                None => "the run was cancelled".to_owned(),
            };
            let error = StepFailure {
                kind: "skipped".to_owned(),
                message: because.clone(),
                exit_code: 75,
            };
            self.journal.end(index, StepStatus::Skipped, Some(error), None);
            self.options.observer.event(&Event::StepSkipped {
                step: graph.id.clone(),
                because,
            });
        }
    }

    fn status(&self) -> RunStatus {
        let has = |status| {
            self.journal
                .records()
                .iter()
                .any(|record| record.status == status)
        };
        if has(StepStatus::Failed) {
            RunStatus::Failed
        } else if has(StepStatus::Cancelled) || has(StepStatus::Skipped) {
            RunStatus::Cancelled
        } else {
            RunStatus::Done
        }
    }
}

fn fits(free: &Resources, asked: &Resources) -> bool {
    asked.cpus <= free.cpus && asked.memory <= free.memory && asked.gpus <= free.gpus
}

fn take(free: &mut Resources, asked: &Resources) {
    free.cpus -= asked.cpus;
    free.memory.0 -= asked.memory.0;
    free.gpus -= asked.gpus;
}

fn give_back(free: &mut Resources, asked: &Resources) {
    free.cpus += asked.cpus;
    free.memory.0 += asked.memory.0;
    free.gpus += asked.gpus;
}
