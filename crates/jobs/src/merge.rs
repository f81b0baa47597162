//! `merge`: several models into one, in mergekit's words.
//!
//! The settings are a [`MergeSpec`], mergekit's document, whose models may be references to other steps; the work is
//! [`MergePlan::write`](tributary_merge::MergePlan::write). In tables a model is called by its `name:`, else by the id
//! of its step (outside models: by the last part of their place), which is also how the artifact's own documents call
//! it, so that no place of this machine is in them.
//!
//! Everything is checked from headers before any work: when a model exists at plan time (from outside, or made by an
//! earlier run) it is opened then, and what exists is compared; the rest when its step is done.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tributary_merge::{
    Adapter, Identity, MERGE_VERSION, MergeError, MergeOptions, MergePlan, MergeReport, MergeSpec, Phase,
    PlanSummary, Progress, Source, Watch, Written, compare, plan,
};
use tributary_pipeline::{
    DIRECTORY_KIND, Estimate, InputDeclaration, InputRef, JobContext, JobError, MODEL_KIND, Outcome,
    OutputDeclaration, PlanContext, Problem, ProgressSink, ResolvedInput, TypedJob,
};
use tributary_train::STATE_KIND;

use crate::blame::Blame;
use crate::merge_figures::outcome;
use crate::names::label;
use crate::trained_on;

/// Merges models.
pub struct Merge;

/// Checkpoints of a training are models too.
const ACCEPTED: &[&str] = &[MODEL_KIND, STATE_KIND];
/// An adapter without a manifest is a directory.
const ACCEPTED_ADAPTERS: &[&str] = &["adapter", DIRECTORY_KIND];

/// Does this field name an adapter?
fn is_adapter(field: &str) -> bool {
    field.ends_with(".adapter")
}

/// Every field that names a model.
fn references(spec: &MergeSpec) -> Vec<(String, InputRef)> {
    let named = spec.references().into_iter();
    named
        .filter_map(|(path, text)| Some((field(&path), text.parse().ok()?)))
        .collect()
}

/// A field as a pipeline writes it: `models.0.model`.
fn field(path: &str) -> String {
    path.replace('[', ".").replace(']', "")
}

/// The models that exist, opened, and the document in their names.
struct Opened {
    spec: MergeSpec,
    /// In the order of the document.
    sources: Vec<Source>,
    /// What could not be opened, by field.
    broken: Vec<(String, MergeError)>,
    is_complete: bool,
}

impl Opened {
    fn new<'a>(
        settings: &MergeSpec,
        input: impl Fn(&str) -> Option<&'a ResolvedInput>,
    ) -> Result<Self, JobError> {
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let (mut sources, mut broken, mut is_complete) = (Vec::new(), Vec::new(), true);
        let mut adapters: Vec<Adapter> = Vec::new();
        // These stand for a tokenizer, so no model may be called so.
        let is_word = |name: &str| matches!(name, "base" | "union") && settings.tokenizer_wanted().is_some();
        for (field, reference) in references(settings) {
            let text = reference.to_string();
            let Some(found) = input(&field) else {
                is_complete = false;
                continue;
            };
            if names.contains_key(&text) {
                continue;
            }
            let name = unused(&label(found), |name| {
                names.values().any(|other| other == name) || is_word(name)
            });
            names.insert(text, name.clone());
            if is_adapter(&field) {
                match Adapter::open(&name, &found.folder()?) {
                    Ok(adapter) => adapters.push(adapter),
                    Err(error) => broken.push((field, error)),
                }
                continue;
            }
            match open(&name, found)? {
                Ok(source) => sources.push(source),
                Err(error) => broken.push((field, error)),
            }
        }
        let spec = settings.renamed(|text| names.get(text).cloned().unwrap_or_else(|| text.to_owned()));
        let spec = spec.joined();
        for (path, reference) in spec.references() {
            let parts = reference.rsplit_once('+');
            let of = |name: &str| sources.iter().find(|source| source.reference() == name).cloned();
            let base = parts.and_then(|(base, _)| of(base));
            let adapter =
                parts.and_then(|(_, name)| adapters.iter().find(|adapter| adapter.reference() == name));
            if let (Some(base), Some(adapter), None) = (base, adapter, of(reference)) {
                match base.with_adapter(reference, adapter) {
                    Ok(source) => sources.push(source),
                    Err(error) => broken.push((field(&path), error)),
                }
            }
        }
        Ok(Opened {
            spec,
            sources,
            broken,
            is_complete,
        })
    }

    fn plan(&self, options: &MergeOptions) -> Result<MergePlan, MergeError> {
        plan(&self.spec, &self.sources, options)
    }

    /// What is wrong with the models that exist.
    fn problems(self, options: &MergeOptions) -> Vec<Problem> {
        let result = if !self.broken.is_empty() {
            let broken = |(field, error): (String, MergeError)| {
                let mut problems = in_fields(error.problems(&self.spec));
                problems
                    .iter_mut()
                    .for_each(|problem| problem.field.clone_from(&field));
                problems
            };
            return self.broken.into_iter().flat_map(broken).collect();
        } else if self.is_complete {
            self.plan(options).map(drop)
        } else {
            let named = self
                .sources
                .iter()
                .map(|source| (source.reference().to_owned(), source.clone()));
            let is_whole = self.spec.slices.is_empty()
                && self.spec.modules.is_empty()
                && self.spec.tokenizer_wanted().is_none();
            match is_whole {
                true => compare(&named.collect::<Vec<_>>()).map(drop),
                // What fits depends on all of them.
                false => Ok(()),
            }
        };
        let Err(error) = result else { return Vec::new() };
        match in_fields(error.problems(&self.spec)) {
            // About no setting in particular, for instance the memory.
            problems if problems.is_empty() => vec![Problem::new("", error.to_string())],
            problems => problems,
        }
    }
}

/// `label`, or with a number behind it if another model is called so.
fn unused(label: &str, is_used: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{label} ({number})"));
    let mut all = std::iter::once(label.to_owned()).chain(numbered);
    all.find(|name| !is_used(name)).unwrap_or_default()
}

/// Opens an input under a name; the inner error is the model's fault.
pub(crate) fn open(name: &str, input: &ResolvedInput) -> Result<Result<Source, MergeError>, JobError> {
    let facts = input
        .artifact
        .as_ref()
        .map(|artifact| artifact.manifest().facts.clone());
    let identity = Identity {
        kind: input.kind.clone(),
        digest: input.digest.clone(),
        facts: facts.unwrap_or_default(),
    };
    Ok(Source::open_as(name, &input.folder()?, identity))
}

/// Problems with fields as a pipeline writes them.
fn in_fields(problems: Vec<tributary_merge::Problem>) -> Vec<Problem> {
    let one = |problem: tributary_merge::Problem| Problem {
        field: field(&problem.path),
        message: problem.message,
        help: problem.help,
    };
    problems.into_iter().map(one).collect()
}

/// Places that should name a model and do not.
fn unreadable(spec: &MergeSpec) -> Vec<Problem> {
    let named = spec.references().into_iter();
    let wrong = named.filter_map(|(path, text)| Some((path, text.parse::<InputRef>().err()?)));
    wrong
        .map(|(path, error)| Problem::new(field(&path), error.to_string()))
        .collect()
}

impl TypedJob for Merge {
    type Settings = MergeSpec;
    const KIND: &'static str = "merge";
    const VERSION: u32 = MERGE_VERSION;
    const SUMMARY: &'static str =
        "Merges models into one by mergekit's methods and metagpt, streaming, in mergekit's words";
    const EXAMPLE: &'static str = "\
- id: merged
  job: merge
  with:
    merge_method: metagpt
    base_model: ${base.model}
    models:
      - model: ${stories.model}
      - model: ${facts.model}
      - {model: 's3://team/models/arithmetic', name: sums}
    out_dtype: bfloat16
";

    fn is_seeded(&self, _: &MergeSpec) -> bool {
        false
    }

    fn inputs(&self, settings: &MergeSpec) -> Vec<InputDeclaration> {
        let declare = |(field, reference): (String, InputRef)| {
            let accepted = if is_adapter(&field) {
                ACCEPTED_ADAPTERS
            } else {
                ACCEPTED
            };
            InputDeclaration::new(field, accepted, &reference).named()
        };
        references(settings).into_iter().map(declare).collect()
    }

    fn outputs(&self, _: &MergeSpec) -> Vec<OutputDeclaration> {
        vec![OutputDeclaration::new("model", MODEL_KIND, "")]
    }

    fn check(&self, settings: &MergeSpec, plan: &PlanContext<'_>) -> Vec<Problem> {
        let mut problems = in_fields(settings.joined().check());
        problems.extend(unreadable(settings));
        if !problems.is_empty() {
            return problems;
        }
        match Opened::new(settings, |field| plan.input(field)) {
            Ok(opened) => opened.problems(&MergeOptions::default()),
            Err(error) => vec![Problem::new("", error.describe())],
        }
    }

    fn estimate(&self, settings: &MergeSpec, plan: &PlanContext<'_>) -> Option<Estimate> {
        let opened = Opened::new(settings, |field| plan.input(field)).ok()?;
        if !opened.is_complete || !opened.broken.is_empty() {
            return None;
        }
        Some(estimate(&opened.plan(&MergeOptions::default()).ok()?.summary()))
    }

    fn run(&self, settings: &MergeSpec, context: &mut JobContext) -> Result<Outcome, JobError> {
        let opened = Opened::new(settings, |field| context.input(field).ok())?;
        if let Some((field, error)) = opened.broken.into_iter().next() {
            return Err(error).blame(format!("opening `{field}`"));
        }
        let opened = Opened {
            broken: Vec::new(),
            ..opened
        };
        let options = MergeOptions {
            threads: Some(context.threads),
            ..MergeOptions::default()
        };
        let plan = opened.plan(&options).blame("planning the merge")?;
        let outcome = outcome(&write(&plan, context, "merging")?.record);
        let models = references(settings).into_iter();
        let models = models.filter_map(|(field, _)| context.input(&field).ok());
        trained_on::tell(outcome, models, &[], context)
    }
}

/// Writes all of a merge into a step's artifact; `doing` says what it is for.
pub(crate) fn write(
    plan: &MergePlan,
    context: &JobContext,
    doing: &str,
) -> Result<Box<MergeReport>, JobError> {
    let bytes = Bytes::new(&*context.progress);
    let watch = Watch {
        progress: &|progress| bytes.note(progress),
        cancel: context.cancellation.flag(),
    };
    match plan.write(&context.publication, &watch).blame(doing)? {
        Written::Whole(report) => Ok(report),
        Written::Portion(_) => Err(JobError::bug("one process makes all files of a merge")),
    }
}

fn estimate(summary: &PlanSummary) -> Estimate {
    let passes = if summary.passes == 1 {
        "1 pass".to_owned()
    } else {
        format!("{} passes", summary.passes)
    };
    let note = format!(
        "{} of {} models, {:.1} M parameters, {passes}",
        summary.method,
        summary.models.len(),
        summary.parameters as f64 / 1e6
    );
    Estimate {
        bytes_read: Some(summary.bytes_to_read),
        bytes_written: Some(summary.bytes_to_write),
        memory: Some(summary.memory),
        note: Some(note),
    }
}

/// Turns how far a merge is, heard from many threads, into stretches of work.
struct Bytes<'a> {
    sink: &'a dyn ProgressSink,
    last: Mutex<(Option<Phase>, u64)>,
}

impl<'a> Bytes<'a> {
    fn new(sink: &'a dyn ProgressSink) -> Self {
        Bytes {
            sink,
            last: Mutex::new((None, 0)),
        }
    }

    fn note(&self, progress: Progress) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != Some(progress.phase) {
            let what = match progress.phase {
                Phase::Statistics => "measuring the task vectors",
                Phase::Merge => "merging",
            };
            self.sink.begin(what, Some(progress.total), "bytes");
            *last = (Some(progress.phase), 0);
        }
        // A thread may have been overtaken by one that is further.
        self.sink.advance(progress.done.saturating_sub(last.1));
        last.1 = last.1.max(progress.done);
    }
}
