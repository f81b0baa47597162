//! Steps with typed settings, and the arrows between them.
//!
//! Stands between [`crate::document`] and [`crate::planner`]. Everything here follows from the texts and the
//! registry alone; nothing is opened. Invariants of a graph without findings: steps are in a topological order
//! (ties as in the document), every reference is to an earlier step's output of a kind its reader accepts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::declaration::{InputDeclaration, OutputDeclaration};
use crate::document::{Document, StepDocument};
use crate::error::PipelineError;
use crate::finding::{Finding, Rule, list, suggestion};
use crate::input::InputRef;
use crate::job::Job;
use crate::job_error::JobError;
use crate::node::{Node, NodeValue, Span};
use crate::record::Machine;
use crate::registry::Registry;
use crate::resources::{ByteSize, Resources};

/// One step with typed settings.
#[derive(Clone)]
pub(crate) struct GraphStep {
    /// The step's id.
    pub id: String,
    /// The job that does it.
    pub job: Arc<dyn Job>,
    /// `with:` as written, for places.
    pub with: Node,
    /// Canonical settings.
    pub settings: Value,
    /// What it reads.
    pub inputs: Vec<InputDeclaration>,
    /// What it makes.
    pub outputs: Vec<OutputDeclaration>,
    /// Steps it waits for without reading them.
    pub after: Vec<String>,
    /// Positions in [`Graph::steps`] of all steps it waits for.
    pub waits_for: BTreeSet<usize>,
    /// What it reserves.
    pub resources: Resources,
    /// How often it is tried again.
    pub retries: u32,
    /// Its seed; `None` if the job is not seeded.
    pub seed: Option<u64>,
}

/// The steps in a topological order.
#[derive(Clone, Default)]
pub(crate) struct Graph {
    /// The steps.
    pub steps: Vec<GraphStep>,
}

/// The seed of a step: the first eight bytes, little end first, of the BLAKE3 hash of
/// `tributary step seed v1`, a zero byte, the pipeline's seed (eight bytes, little end first) and the step's id.
pub fn step_seed(pipeline_seed: u64, step: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"tributary step seed v1\0")
        .update(&pipeline_seed.to_le_bytes())
        .update(step.as_bytes());
    let mut seed = [0; 8];
    hasher.finalize_xof().fill(&mut seed);
    u64::from_le_bytes(seed)
}

impl Graph {
    /// Builds the graph; everything wrong is added to the findings, and steps that could not be read are left out.
    ///
    /// # Errors
    /// [`PipelineError::Bug`] if a job breaks its contract.
    pub(crate) fn build(
        document: &Document,
        registry: &Registry,
        machine: &Machine,
        findings: &mut Vec<Finding>,
    ) -> Result<Self, PipelineError> {
        let mut typed: Vec<Option<GraphStep>> = Vec::new();
        for step in &document.steps {
            check_resources(step, machine, findings);
            typed.push(type_step(step, document.seed, registry, findings)?);
        }
        let positions = document.steps.iter().enumerate().rev();
        let by_id: BTreeMap<&str, usize> = positions.map(|(index, step)| (step.id.as_str(), index)).collect();
        let mut arrows: Vec<Vec<(usize, Span)>> = (document.steps.iter().zip(&typed).enumerate())
            .map(|(index, (step, typed_step))| {
                arrows_of(index, step, typed_step, &typed, document, &by_id, findings)
            })
            .collect();
        let order = loop {
            match topological_order(&arrows) {
                Ok(order) => break order,
                Err(cycle) => {
                    findings.push(cycle_finding(&cycle, &arrows, document));
                    // Cut it, so that the next cycle is found too and the rest of the document is checked.
                    let next = cycle.get(1).or(cycle.first()).copied();
                    arrows[cycle[0]].retain(|(target, _)| Some(*target) != next);
                }
            }
        };
        let mut place_of = vec![None; typed.len()];
        let mut steps = Vec::new();
        for index in order {
            if let Some(mut step) = typed[index].take() {
                step.waits_for = arrows[index]
                    .iter()
                    .filter_map(|(target, _)| place_of[*target])
                    .collect();
                place_of[index] = Some(steps.len());
                steps.push(step);
            }
        }
        Ok(Graph { steps })
    }

    /// The step of an id.
    pub(crate) fn step(&self, id: &str) -> Option<&GraphStep> {
        self.steps.iter().find(|step| step.id == id)
    }
}

fn type_step(
    step: &StepDocument,
    seed: u64,
    registry: &Registry,
    findings: &mut Vec<Finding>,
) -> Result<Option<GraphStep>, PipelineError> {
    let Some(job) = registry.get(&step.job) else {
        let finding = Finding::new(
            Rule::UnknownJob,
            step.job_span,
            format!("there is no job kind `{}`", step.job),
        );
        findings.push(finding.maybe_help(suggestion(&step.job, "job kinds", registry.kinds())));
        return Ok(None);
    };
    if !step.has_settings {
        return Ok(None);
    }
    let settings = match job.resolve(&step.with) {
        Ok(settings) => settings,
        Err(errors) => {
            findings.extend(errors);
            return Ok(None);
        }
    };
    let bug = |error: JobError| PipelineError::bug(&step.id, job.kind(), &error);
    let is_seeded = job.is_seeded(&settings).map_err(bug)?;
    let graph_step = GraphStep {
        id: step.id.clone(),
        job: Arc::clone(job),
        with: step.with.clone(),
        inputs: job.inputs(&settings).map_err(bug)?,
        outputs: job.outputs(&settings).map_err(bug)?,
        settings,
        after: step.after.iter().map(|(id, _)| id.clone()).collect(),
        waits_for: BTreeSet::new(),
        resources: step.resources.clone(),
        retries: step.retries,
        seed: is_seeded.then(|| step_seed(seed, &step.id)),
    };
    step.with.visit_texts("", &mut |path, node, text| {
        if text.contains("${") && !graph_step.inputs.iter().any(|input| input.field == path) {
            findings.push(
                Finding::at(
                    Rule::NotAnInput,
                    node,
                    format!("`{path}` reads no other step's output"),
                )
                .label("a reference where none is read")
                .help("variables are written ${var.name}, environment variables ${env:NAME}"),
            );
        }
    });
    Ok(Some(graph_step))
}

fn check_resources(step: &StepDocument, machine: &Machine, findings: &mut Vec<Finding>) {
    let asked = &step.resources;
    let mut too_many = |key: &str, message: String| {
        let node = step.resources_node.get(key).unwrap_or(&step.resources_node);
        findings.push(Finding::at(Rule::TooManyResources, node, message));
    };
    if asked.cpus == 0 {
        too_many("cpus", "a step needs at least one processor".to_owned());
    }
    let has = |key: &str, asked: String, has: String| (key.to_owned(), asked, has);
    let (memory, all_memory) = (asked.memory.to_string(), ByteSize(machine.memory).to_string());
    for (is_too_much, (key, asked, has)) in [
        (
            asked.cpus > machine.cpus,
            has("cpus", asked.cpus.to_string(), machine.cpus.to_string()),
        ),
        (asked.memory.0 > machine.memory, has("memory", memory, all_memory)),
        (
            asked.gpus > machine.gpus,
            has("gpus", asked.gpus.to_string(), machine.gpus.to_string()),
        ),
    ] {
        if is_too_much {
            too_many(
                &key,
                format!("`{key}`: {asked} asked for, this machine has {has}"),
            );
        }
    }
}

/// Where a step's arrows lead, by document position; everything wrong with them is noted. A step whose settings
/// could not be read still has the arrows its text shows, so that a cycle through it is found.
fn arrows_of(
    index: usize,
    step: &StepDocument,
    typed_step: &Option<GraphStep>,
    typed: &[Option<GraphStep>],
    document: &Document,
    by_id: &BTreeMap<&str, usize>,
    findings: &mut Vec<Finding>,
) -> Vec<(usize, Span)> {
    let mut arrows = Vec::new();
    let ids = || {
        document
            .steps
            .iter()
            .map(|step| step.id.as_str())
            .filter(|id| *id != step.id)
    };
    let mut arrow = |id: &str, span: Span, findings: &mut Vec<Finding>| match by_id.get(id) {
        None => {
            let finding = Finding::new(Rule::UnknownStep, span, format!("there is no step `{id}`"));
            findings.push(finding.maybe_help(suggestion(id, "other steps", ids())));
            None
        }
        Some(target) if *target == index => {
            let finding = Finding::new(Rule::SelfReference, span, format!("step `{id}` waits for itself"));
            findings.push(finding.maybe_help(suggestion(id, "other steps", ids())));
            None
        }
        Some(target) => {
            arrows.push((*target, span));
            Some(*target)
        }
    };
    for (id, span) in &step.after {
        arrow(id, *span, findings);
    }
    step.with.visit_texts("", &mut |path, node, text| {
        let Ok(InputRef::Step { step: id, output }) = text.parse::<InputRef>() else {
            return;
        };
        let declared = typed_step
            .as_ref()
            .and_then(|typed| typed.inputs.iter().find(|input| input.field == path));
        if typed_step.is_some() && declared.is_none() {
            return;
        }
        let Some(target) = arrow(&id, node.span, findings).and_then(|target| typed[target].as_ref()) else {
            return;
        };
        let Some(made) = target.outputs.iter().find(|made| made.name == output) else {
            let message = format!("step `{id}` ({}) makes no `{output}`", target.job.kind());
            let made = target.outputs.iter().map(|made| made.name.as_str());
            let help = suggestion(&output, "it makes", made);
            findings.push(Finding::at(Rule::UnknownOutput, node, message).maybe_help(help));
            return;
        };
        if let Some(declared) = declared.filter(|declared| !declared.accepts.contains(&made.kind.as_str())) {
            findings.push(wrong_kind(node, declared, &made.kind, Some(&target.outputs)));
        }
    });
    arrows
}

/// A finding for an input of the wrong kind; `others` are what else its maker has to offer.
pub(crate) fn wrong_kind(
    node: &Node,
    declared: &InputDeclaration,
    kind: &str,
    others: Option<&[OutputDeclaration]>,
) -> Finding {
    let message = format!(
        "`{}` reads {}, and this is `{kind}`",
        declared.field,
        list(declared.accepts)
    );
    let fitting = others.and_then(|others| {
        others
            .iter()
            .find(|made| declared.accepts.contains(&made.kind.as_str()))
    });
    let help = match (&declared.reference, fitting) {
        (InputRef::Step { step, .. }, Some(made)) => Some(format!("`${{{step}.{}}}` would fit", made.name)),
        _ => None,
    };
    Finding::at(Rule::WrongKind, node, message).maybe_help(help)
}

/// Kahn's algorithm, smallest position first; the members of a cycle, in its order, if there is one.
fn topological_order(arrows: &[Vec<(usize, Span)>]) -> Result<Vec<usize>, Vec<usize>> {
    let targets: Vec<BTreeSet<usize>> = arrows
        .iter()
        .map(|arrows| arrows.iter().map(|(target, _)| *target).collect())
        .collect();
    let mut waiting: Vec<usize> = targets.iter().map(BTreeSet::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); arrows.len()];
    for (index, targets) in targets.iter().enumerate() {
        for target in targets {
            readers[*target].push(index);
        }
    }
    let mut ready: BTreeSet<usize> = (0..arrows.len()).filter(|index| waiting[*index] == 0).collect();
    let mut order = Vec::new();
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for reader in &readers[index] {
            waiting[*reader] -= 1;
            if waiting[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    let Some(start) = (0..arrows.len()).find(|index| waiting[*index] > 0) else {
        return Ok(order);
    };
    // Everything left waits for something left: walk until a step comes twice.
    let mut path = vec![start];
    loop {
        let last = path[path.len() - 1];
        let Some(next) = targets[last].iter().copied().find(|target| waiting[*target] > 0) else {
            return Ok(order);
        };
        if let Some(begin) = path.iter().position(|index| *index == next) {
            return Err(path.split_off(begin));
        }
        path.push(next);
    }
}

fn cycle_finding(cycle: &[usize], arrows: &[Vec<(usize, Span)>], document: &Document) -> Finding {
    let name = |index: usize| document.steps[index].id.as_str();
    // Begin with the step that stands first in the document.
    let first = cycle
        .iter()
        .enumerate()
        .min_by_key(|(_, index)| **index)
        .map_or(0, |(position, _)| position);
    let members: Vec<usize> = cycle
        .iter()
        .cycle()
        .skip(first)
        .take(cycle.len())
        .copied()
        .collect();
    let names: Vec<&str> = members
        .iter()
        .chain(members.first())
        .map(|index| name(*index))
        .collect();
    let mut places = members.iter().enumerate().map(|(position, index)| {
        let target = members[(position + 1) % members.len()];
        let span = arrows[*index]
            .iter()
            .find(|(to, _)| *to == target)
            .map_or(Span::START, |(_, span)| *span);
        (span, format!("`{}` waits for `{}`", name(*index), name(target)))
    });
    let (span, words) = places.next().unwrap_or((Span::START, String::new()));
    let message = format!("these steps wait for each other: {}", names.join(" → "));
    let mut finding = Finding::new(Rule::Cycle, span, message).label(words);
    finding.related = places.collect();
    finding.help("remove one of these references")
}

/// The node of an input's field, for findings about what it names.
pub(crate) fn field_node<'a>(step: &'a GraphStep, field: &str) -> &'a Node {
    let node = step.with.nearest(field);
    match node.value {
        NodeValue::Mapping(_) if node.span.len == 0 => &step.with,
        _ => node,
    }
}
