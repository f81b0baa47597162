//! From a document to a checked plan: what is there, what is missing, what is wrong.
//!
//! Stands between [`crate::graph`] and [`crate::runner`]. Looks at outside inputs and at the manifests of earlier
//! runs, and asks every job for its checks; moves no bulk data (outside files without a manifest are hashed once).
//! Invariant: a [`Planned`] pipeline had no findings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use tributary_store::{Artifact, Store, mask};

use crate::attempt::whole_artifact;
use crate::content::ContentDigests;
use crate::context::{PlanContext, ResolvedInput};
use crate::declaration::InputDeclaration;
use crate::diagnostic::Diagnostics;
use crate::document::Document;
use crate::error::PipelineError;
use crate::external::{self, Unusable};
use crate::finding::{Finding, Rule};
use crate::graph::{Graph, GraphStep, field_node, wrong_kind};
use crate::input::InputRef;
use crate::job_error::JobError;
use crate::key::{artifact_path, cache_key};
use crate::plan::{Plan, PlanState, PlanStep};
use crate::record::{InputOutline, Machine, OutputOutline};
use crate::registry::Registry;
use crate::source::Source;

/// A pipeline that can run.
pub struct Planned {
    /// What a run would do.
    pub plan: Plan,
    pub(crate) source: Arc<Source>,
    pub(crate) store: Store,
    pub(crate) steps: Vec<PlannedStep>,
}

/// A step, and what is known of it before the run.
#[derive(Clone)]
pub(crate) struct PlannedStep {
    pub(crate) graph: GraphStep,
    /// Outside inputs by field.
    pub(crate) external: BTreeMap<String, ResolvedInput>,
    /// The artifact, if it is there already.
    pub(crate) artifact: Option<Artifact>,
    /// Did its job check it with every input at hand?
    pub(crate) is_checked: bool,
}

/// Reads, checks and plans a pipeline.
///
/// # Errors
/// [`PipelineError::Document`] with everything wrong with the document at once; [`PipelineError::Store`] if the
/// store cannot be used.
pub fn plan(source: Source, registry: &Registry, machine: &Machine) -> Result<Planned, PipelineError> {
    plan_with(source, registry, machine, None)
}

/// As [`plan`], into a store that is open already, whatever the document says.
///
/// # Errors
/// As [`plan`].
pub fn plan_in(
    source: Source,
    registry: &Registry,
    machine: &Machine,
    store: Store,
) -> Result<Planned, PipelineError> {
    plan_with(source, registry, machine, Some(store))
}

fn plan_with(
    source: Source,
    registry: &Registry,
    machine: &Machine,
    store: Option<Store>,
) -> Result<Planned, PipelineError> {
    let source = Arc::new(source);
    let mut findings = Vec::new();
    let wrong = |findings| PipelineError::Document(Box::new(Diagnostics::new(Arc::clone(&source), findings)));
    let Some(document) = Document::read(&source, &mut findings) else {
        return Err(wrong(findings));
    };
    let graph = Graph::build(&document, registry, machine, &mut findings)?;
    let store = match store.map_or_else(|| Store::open(&document.store), Ok) {
        Ok(store) => Some(store),
        Err(error) => {
            findings.push(Finding::new(
                Rule::BadValue,
                document.store_span,
                error.to_string(),
            ));
            None
        }
    };
    // Without a sound graph nothing is looked up in the store, but outside inputs are still checked.
    let lookup = store.as_ref().filter(|_| findings.is_empty());
    let digests = match lookup {
        Some(store) => ContentDigests::open(store),
        None => ContentDigests::forgetful(),
    };
    let mut planner = Planner {
        graph: &graph,
        source: &source,
        machine,
        store: lookup,
        digests: &digests,
        known: BTreeMap::new(),
    };
    let mut parts = planner.all()?;
    findings.extend(
        parts
            .iter_mut()
            .flat_map(|part| std::mem::take(&mut part.findings)),
    );
    let Some(store) = store.filter(|_| findings.is_empty()) else {
        return Err(wrong(findings));
    };
    digests.save();
    let (steps, rows) = parts.into_iter().map(|part| (part.step, part.row)).unzip();
    let plan = Plan {
        pipeline: document.name,
        file: source.name.clone(),
        store: store.url(),
        seed: document.seed,
        machine: machine.clone(),
        steps: rows,
    };
    Ok(Planned {
        plan,
        source,
        store,
        steps,
    })
}

/// What planning one step gives.
struct Part {
    step: PlannedStep,
    row: PlanStep,
    findings: Vec<Finding>,
}

struct Planner<'a> {
    graph: &'a Graph,
    source: &'a Source,
    machine: &'a Machine,
    store: Option<&'a Store>,
    digests: &'a ContentDigests,
    /// Artifacts that are there already, by the position of their step.
    known: BTreeMap<usize, Artifact>,
}

impl Planner<'_> {
    /// Plans the steps in waves: all steps whose inputs are decided at once, because each may ask a far store.
    fn all(&mut self) -> Result<Vec<Part>, PipelineError> {
        let count = self.graph.steps.len();
        let mut parts: Vec<Option<Part>> = (0..count).map(|_| None).collect();
        while parts.iter().any(Option::is_none) {
            let is_ready = |index: &usize| {
                let waits_for = &self.graph.steps[*index].waits_for;
                parts[*index].is_none() && waits_for.iter().all(|target| parts[*target].is_some())
            };
            let wave: Vec<usize> = (0..count).filter(is_ready).take(16).collect();
            let planner = &*self;
            let results: Vec<_> = thread::scope(|scope| {
                let workers: Vec<_> = wave
                    .iter()
                    .map(|index| scope.spawn(|| planner.one(&planner.graph.steps[*index])))
                    .collect();
                workers.into_iter().map(thread::ScopedJoinHandle::join).collect()
            });
            for (index, result) in wave.into_iter().zip(results) {
                let step = &self.graph.steps[index];
                let part = result.unwrap_or_else(|_| {
                    Err(PipelineError::bug(
                        &step.id,
                        step.job.kind(),
                        &JobError::bug("panicked while planning"),
                    ))
                })?;
                if let Some(artifact) = &part.step.artifact {
                    self.known.insert(index, artifact.clone());
                }
                parts[index] = Some(part);
            }
        }
        Ok(parts.into_iter().flatten().collect())
    }

    fn one(&self, step: &GraphStep) -> Result<Part, PipelineError> {
        let mut findings = Vec::new();
        let mut external = BTreeMap::new();
        let mut inputs = BTreeMap::new();
        for declaration in &step.inputs {
            match &declaration.reference {
                InputRef::External { location, output } => {
                    let found = external::find(
                        declaration,
                        location,
                        output.as_deref(),
                        &self.source.base,
                        self.digests,
                    );
                    let node = field_node(step, &declaration.field);
                    match found {
                        Ok(input) if self.store.is_some_and(|store| lies_in(store, &input)) => {
                            let message = "the store lies in this folder: every run would change its input";
                            let finding = Finding::at(Rule::MissingInput, node, message);
                            findings.push(finding.help("put the store elsewhere, with `store:` or --store"));
                        }
                        Ok(input) if !declaration.accepts.contains(&input.kind.as_str()) => {
                            findings.push(wrong_kind(node, declaration, &input.kind, None));
                        }
                        Ok(input) => {
                            external.insert(declaration.field.clone(), input.clone());
                            inputs.insert(declaration.field.clone(), input);
                        }
                        Err(Unusable {
                            unavailable: Some(error),
                            ..
                        }) => {
                            let doing = format!("looking at `{}` of step `{}`", declaration.field, step.id);
                            return Err(PipelineError::store(doing)(*error));
                        }
                        Err(unusable) => findings.push(
                            Finding::at(Rule::MissingInput, node, unusable.message).maybe_help(unusable.help),
                        ),
                    }
                }
                InputRef::Step { step: id, output } => {
                    let target = self.graph.steps.iter().position(|step| step.id == *id);
                    let artifact = target.and_then(|target| self.known.get(&target));
                    if let Some(input) = artifact.and_then(|artifact| of_step(declaration, artifact, output))
                    {
                        inputs.insert(declaration.field.clone(), input);
                    }
                }
            }
        }
        let is_checked = inputs.len() == step.inputs.len();
        let key = is_checked.then(|| cache_key(step, &inputs, &self.machine.device));
        let path = key.as_ref().map(|key| artifact_path(step.job.kind(), key));
        let artifact = match (self.store, &path) {
            (Some(store), Some(path)) => {
                let doing = format!("looking for the artifact of step `{}`", step.id);
                store
                    .child(path)
                    .and_then(|place| whole_artifact(&place, &step.outputs))
                    .map_err(PipelineError::store(doing))?
            }
            _ => None,
        };
        let mut estimate = None;
        // What is there already passed its checks when it was made.
        if artifact.is_none() {
            let context = PlanContext::new(step, &self.source.base, self.machine, &inputs);
            let bug = |error: JobError| PipelineError::bug(&step.id, step.job.kind(), &error);
            findings.extend(check(step, &context).map_err(bug)?);
            estimate = step.job.estimate(&step.settings, &context).map_err(bug)?;
        }
        let state = match (&artifact, is_checked) {
            (Some(_), _) => PlanState::Cached,
            (None, true) => PlanState::Run,
            (None, false) => PlanState::Unknown,
        };
        let row = row(step, state, key, path, estimate, &inputs, self.graph);
        Ok(Part {
            step: PlannedStep {
                graph: step.clone(),
                external,
                artifact,
                is_checked,
            },
            row,
            findings,
        })
    }
}

/// Does the store lie in the folder that an input is?
fn lies_in(store: &Store, input: &ResolvedInput) -> bool {
    let folder = input
        .local_path()
        .filter(|_| !input.is_file && input.artifact.is_none());
    folder
        .zip(store.local_path())
        .is_some_and(|(folder, store)| store.starts_with(folder))
}

/// What the job finds wrong, at its places.
pub(crate) fn check(step: &GraphStep, context: &PlanContext<'_>) -> Result<Vec<Finding>, JobError> {
    let problems = step.job.check(&step.settings, context)?;
    let finding = |problem: crate::declaration::Problem| {
        let node = field_node(step, &problem.field);
        Finding::at(Rule::Check, node, problem.message).maybe_help(problem.help)
    };
    Ok(problems.into_iter().map(finding).collect())
}

/// An output of a finished step as an input.
pub(crate) fn of_step(
    declaration: &InputDeclaration,
    artifact: &Artifact,
    output: &str,
) -> Option<ResolvedInput> {
    let entry = artifact.manifest().outputs.get(output)?;
    Some(external::resolved(
        declaration,
        artifact.clone(),
        entry.kind.clone(),
        entry.path.clone(),
    ))
}

fn row(
    step: &GraphStep,
    state: PlanState,
    key: Option<String>,
    artifact: Option<String>,
    estimate: Option<crate::declaration::Estimate>,
    inputs: &BTreeMap<String, ResolvedInput>,
    graph: &Graph,
) -> PlanStep {
    let outline = |declaration: &InputDeclaration| {
        let (from, output) = match &declaration.reference {
            InputRef::Step { step, output } => (Some(step.clone()), Some(output.clone())),
            InputRef::External { output, .. } => (None, output.clone()),
        };
        let declared = from.as_ref().zip(output.as_ref()).and_then(|(id, output)| {
            Some(
                graph
                    .step(id)?
                    .outputs
                    .iter()
                    .find(|made| made.name == *output)?
                    .kind
                    .clone(),
            )
        });
        InputOutline {
            field: declaration.field.clone(),
            reference: mask(&declaration.reference.to_string()),
            step: from,
            output,
            kind: declared.or_else(|| inputs.get(&declaration.field).map(|input| input.kind.clone())),
        }
    };
    let made = |made: &crate::declaration::OutputDeclaration| OutputOutline {
        name: made.name.clone(),
        kind: made.kind.clone(),
        path: made.path.clone(),
    };
    PlanStep {
        id: step.id.clone(),
        job: step.job.kind().to_owned(),
        job_version: step.job.version(),
        state,
        key,
        artifact,
        estimate,
        settings: step.settings.clone(),
        inputs: step.inputs.iter().map(outline).collect(),
        outputs: step.outputs.iter().map(made).collect(),
        after: step.after.clone(),
        resources: step.resources.clone(),
        retries: step.retries,
    }
}

impl Planned {
    /// The store the artifacts are in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Findings made while the pipeline runs, in one line each.
    pub(crate) fn describe(&self, findings: Vec<Finding>) -> String {
        let line = |finding: &Finding| {
            let (line, column) = self.source.position(finding.span);
            let (file, _) = self.source.text_of(finding.span.origin);
            let help = finding
                .help
                .as_ref()
                .map_or(String::new(), |help| format!(" ({help})"));
            format!("{file}:{line}:{column}: {}{help}", finding.message)
        };
        findings.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
