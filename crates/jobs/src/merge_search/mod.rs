//! `merge.search`: the best mixture of checkpoints, by Bayesian optimisation of its weights (arXiv 2403.19390, Algorithm 1), or of the
//! parameters of a merge method ([`recipe`]).
//!
//! Checkpoints are held in memory and combined there; a trial costs its evaluation. The text is split by content into a half that is
//! searched on and a half that reports; what is published was chosen on the first and is judged on the second. Every
//! evaluation is kept in the step's checkpoints as soon as those at the same time are known ([`evaluator`]); the search asks for the same points when
//! it runs again and is told what is known, so an interrupted one goes on with the next proposal.

mod baselines;
mod evaluator;
mod figures;
mod halving;
mod overlap;
mod recipe;
mod settings;

use std::time::Instant;

use serde_json::json;
use tributary_data::{Document, TokenizeOptions, Tokenizer};
use tributary_evaluate::{DocumentScore, Interval, LikelihoodOptions, bootstrap_difference};
use tributary_merge::{
    MERGE_VERSION, MergeOptions, MergePlan, MergeSpec, SliceSpec, Source, SourceSpec, plan,
};
use tributary_model::{Decoder, Device, Family, ModelConfig, load_config};
use tributary_pipeline::{
    Estimate, InputDeclaration, JobContext, JobError, JobErrorKind, MODEL_KIND, Outcome, OutputDeclaration,
    PlanContext, Problem, ResolvedInput, TypedJob,
};
use tributary_search::{Blend, Search};
use tributary_train::STATE_KIND;

use crate::blame::Blame;
use crate::data_set;
use crate::merge::{open, write};
use crate::names::labels;
use crate::trained_on;
use evaluator::{Evaluator, Half, Subject, Weights};
use recipe::Recipe;
pub use settings::{Baseline, MergeSearchSettings, MethodSettings, SearchBy, SearchedRange};

/// The job kind `merge.search`.
#[derive(Clone, Copy, Debug)]
pub struct MergeSearch;

/// A model with its scores on both halves.
struct Candidate {
    name: String,
    subject: Subject,
    /// Nats a token on the searched half.
    searched: f64,
    /// Scores on the reporting half.
    reported: Vec<DocumentScore>,
    /// How much better than the newest checkpoint there, nats a token.
    gain: Option<Interval>,
    /// What the mixture found gains over it there.
    lead: Option<Interval>,
}

impl Candidate {
    /// Is it made of the searched checkpoints?
    fn is_of_the_same(&self) -> bool {
        !matches!(self.subject, Subject::Other(_))
    }
}

impl TypedJob for MergeSearch {
    type Settings = MergeSearchSettings;
    const KIND: &'static str = "merge.search";
    // The merge engine writes the result.
    const VERSION: u32 = 3 + 1000 * MERGE_VERSION;
    const USES_DEVICE: bool = true;
    const SUMMARY: &'static str = "Finds the mixture of checkpoints, or the parameters of a merge method, that predict held-out text best, by Bayesian optimisation";
    const EXAMPLE: &'static str = "- id: mixed
  job: merge.search
  with:
    checkpoints: [\"${trained.step_300}\", \"${trained.step_400}\"]
    data:
      - {source: \"${corpora.stories}\", split: held_out}
    evaluations: 8
";

    fn inputs(&self, settings: &MergeSearchSettings) -> Vec<InputDeclaration> {
        let checkpoints = settings.checkpoints.iter().enumerate();
        let mut inputs: Vec<InputDeclaration> = checkpoints
            .map(|(at, checkpoint)| {
                InputDeclaration::new(format!("checkpoints.{at}"), &[MODEL_KIND, STATE_KIND], checkpoint)
                    .named()
            })
            .collect();
        inputs.extend(settings.compare.iter().enumerate().map(|(at, model)| {
            InputDeclaration::new(format!("compare.{at}"), &[MODEL_KIND, STATE_KIND], model).named()
        }));
        if let Some(base) = settings
            .merge
            .as_ref()
            .and_then(|merge| merge.base_model.as_ref())
        {
            let accepted = &[MODEL_KIND, STATE_KIND];
            inputs.push(InputDeclaration::new(BASE, accepted, base).named());
        }
        inputs.extend(data_set::declare("data", &settings.data));
        inputs.extend(data_set::declare("calibration", &settings.calibration));
        inputs
    }

    fn outputs(&self, _: &MergeSearchSettings) -> Vec<OutputDeclaration> {
        vec![
            OutputDeclaration::new("model", MODEL_KIND, ""),
            OutputDeclaration::new("trials", "metrics", TRIALS_FILE),
        ]
    }

    fn check(&self, settings: &MergeSearchSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let mut problems = settings.problems();
        if let Some(merge) = settings.merge.as_ref().filter(|_| problems.is_empty()) {
            problems.extend(recipe::problems(merge, &settings.checkpoints));
        }
        problems.extend(data_set::check("data", &settings.data, plan));
        problems.extend(data_set::repeated("data", &settings.data, plan));
        if !settings.calibration.is_empty() {
            problems.extend(data_set::check("calibration", &settings.calibration, plan));
            let judging = ("data", settings.data.as_slice());
            problems.extend(data_set::shared(
                ("calibration", &settings.calibration),
                judging,
                plan,
            ));
        }
        match plan.machine.device.parse::<Device>() {
            Err(error) => problems.push(Problem::new("", error.to_string())),
            Ok(device) => {
                if let Err(error) = devices(device, settings.at_once) {
                    problems.push(Problem::new("at_once", error.describe()));
                }
                problems.extend(unreserved(
                    device,
                    settings.at_once.min(settings.evaluations),
                    plan.resources.gpus,
                ));
            }
        }
        let inputs: Vec<Option<&ResolvedInput>> = (0..settings.checkpoints.len())
            .map(|at| plan.input(&format!("checkpoints.{at}")))
            .collect();
        let compared = (0..settings.compare.len())
            .map(|at| (format!("compare.{at}"), plan.input(&format!("compare.{at}"))));
        let checkpoints = inputs
            .iter()
            .enumerate()
            .map(|(at, input)| (format!("checkpoints.{at}"), *input));
        let newest = inputs.last().copied().flatten();
        for (field, input) in checkpoints.chain(compared) {
            let Some(input) = input else { continue };
            let found = readable(input, settings).and_then(|()| match newest {
                Some(newest) => same_tokens(input, newest),
                None => Ok(()),
            });
            if let Err(error) = found {
                problems.push(Problem::new(field, error.describe()));
            }
        }
        if let Some(inputs) = inputs.into_iter().collect::<Option<Vec<_>>>()
            && problems.is_empty()
        {
            let compared = (0..settings.compare.len()).filter_map(|at| plan.input(&format!("compare.{at}")));
            let others = compared.chain(plan.input(BASE));
            let models: Vec<&ResolvedInput> = inputs.iter().copied().chain(others).collect();
            problems.extend(overlap::problems(settings, &models, |field| plan.input(field)));
            let newest = settings.only(inputs.len() - 1);
            if let Err(error) = merge_plan(&labels(&inputs), &inputs, &newest, 1) {
                problems.push(Problem::new("checkpoints", error.describe()));
            }
            let base = plan.input(BASE);
            let base_is_there = base.is_some() || !has_base(settings);
            if let Some(merge) = settings.merge.as_ref().filter(|_| base_is_there) {
                let recipe = Recipe::new(merge, &labels(&inputs), &inputs, base, 1);
                // Both ends of every range: what lies between two that are allowed is allowed.
                let ends = merge.ends();
                let planned =
                    recipe.and_then(|recipe| ends.iter().try_for_each(|end| recipe.plan(end).map(drop)));
                if let Err(error) = planned {
                    problems.push(Problem::new("merge", error.describe()));
                }
            }
        }
        problems
    }

    fn estimate(&self, settings: &MergeSearchSettings, plan: &PlanContext<'_>) -> Option<Estimate> {
        let config = plan
            .input("checkpoints.0")
            .and_then(|input| configuration(input).ok());
        let models = settings.checkpoints.len() as u64;
        Some(Estimate {
            // All checkpoints and a mixture in f32; what a method merged is in memory as a file too.
            memory: config.map(|config| {
                let copies = models + u64::from(settings.at_once) * (1 + u64::from(settings.merge.is_some()));
                copies * 4 * config.parameters() as u64
            }),
            note: Some(format!(
                "at most {} evaluations of mixtures of {models} checkpoints, and the baselines'",
                settings.evaluations
            )),
            ..Estimate::default()
        })
    }

    fn run(&self, settings: &MergeSearchSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        crate::threads::install(context.threads, || run(settings, context))?
    }
}

/// What tables call the mixture found.
const FOUND: &str = "search";
/// The field of the method's base.
const BASE: &str = "merge.base_model";
/// Every evaluation, one JSON object a line.
const TRIALS_FILE: &str = "trials.jsonl";

/// Has the method a base?
fn has_base(settings: &MergeSearchSettings) -> bool {
    settings
        .merge
        .as_ref()
        .is_some_and(|merge| merge.base_model.is_some())
}

/// The devices that mixtures are evaluated on at the same time: GPUs from the first on, or the CPU.
fn devices(first: Device, at_once: u32) -> Result<Vec<Device>, JobError> {
    match first {
        Device::Cpu => Ok(vec![first]),
        Device::Cuda(index) => (index..index + at_once as usize)
            .map(|index| format!("cuda:{index}").parse().blame("choosing the devices"))
            .collect(),
    }
}

/// Other steps would be given the GPUs that a search uses without having reserved them.
fn unreserved(device: Device, at_once: u32, gpus: u32) -> Option<Problem> {
    let is_short = device != Device::Cpu && at_once > 1 && gpus < at_once;
    is_short.then(|| {
        let message = format!("{at_once} mixtures at once need as many GPUs, the step reserves {gpus}");
        Problem::new("at_once", message).help(format!("add `resources: {{gpus: {at_once}}}` to the step"))
    })
}

fn configuration(input: &ResolvedInput) -> Result<ModelConfig, JobError> {
    load_config(&input.directory()?).blame("its configuration cannot be used")
}

fn readable(input: &ResolvedInput, settings: &MergeSearchSettings) -> Result<(), JobError> {
    let config = configuration(input)?;
    let layers = config.layers;
    if config.family == Family::Baichuan2 {
        // Mixed in memory are heads that are normalised already.
        let message = "its head is stored as it is before it is normalised: a mixture in memory would be another one than that in files";
        return Err(JobError::bad_input(message));
    }
    if settings.groups as usize > layers {
        let message = format!("its {layers} layers do not fall into {} groups", settings.groups);
        return Err(JobError::config(message));
    }
    Tokenizer::load(&input.folder()?).blame("it has no usable tokenizer")?;
    Ok(())
}

/// Would the same text be the same tokens?
fn same_tokens(input: &ResolvedInput, newest: &ResolvedInput) -> Result<(), JobError> {
    let file = |input: &ResolvedInput| -> Result<_, JobError> { Ok(input.folder()?.get("tokenizer.json")?) };
    if input.digest == newest.digest || file(input)? == file(newest)? {
        return Ok(());
    }
    let message = format!(
        "its tokenizer is not that of {}, the newest checkpoint: nats a token cannot be compared",
        newest.label
    );
    Err(JobError::bad_input(message))
}

fn run(settings: &MergeSearchSettings, context: &JobContext) -> Result<Outcome, JobError> {
    let start = Instant::now();
    let device: Device = context.device.parse().blame("choosing the device")?;
    let inputs = (0..settings.checkpoints.len())
        .map(|at| context.input(&format!("checkpoints.{at}")))
        .collect::<Result<Vec<_>, _>>()?;
    let names = labels(&inputs);
    let newest = names.len() - 1;
    let others = (0..settings.compare.len())
        .map(|at| context.input(&format!("compare.{at}")))
        .collect::<Result<Vec<_>, _>>()?;
    let base = has_base(settings).then(|| context.input(BASE)).transpose()?;
    let all = inputs.iter().chain(&others);
    let models: Vec<&ResolvedInput> = all.clone().chain(&base).copied().collect();
    if let Some(problem) = overlap::problems(settings, &models, |field| context.input(field).ok()).first() {
        return Err(JobError::config(problem.message.clone()));
    }
    for model in all {
        same_tokens(model, inputs[newest])?;
    }
    let documents = documents(settings, context, inputs[newest])?;
    let devices = devices(device, settings.at_once.min(settings.evaluations))?;
    context.progress.begin(
        "loading the checkpoints",
        Some((devices.len() * names.len()) as u64),
        "models",
    );
    let mut blends = Vec::new();
    for device in devices {
        let mut models = Vec::new();
        for (name, input) in names.iter().zip(&inputs) {
            context.cancellation.check()?;
            let decoder = Decoder::load(&input.directory()?, device).blame(format!("loading {name}"))?;
            models.push((name.clone(), decoder));
            context.progress.advance(1);
        }
        blends.push(Blend::new(models, settings.groups as usize).blame("combining the checkpoints")?);
    }
    let options = LikelihoodOptions {
        context: (settings.context as usize).min(configuration(inputs[newest])?.max_positions),
        batch_tokens: settings.batch_tokens as usize,
    };
    let calibration = calibration(settings, context, inputs[newest], options.context)?;
    let recipe = match &settings.merge {
        Some(merge) => Recipe::new(merge, &names, &inputs, base, context.threads)?,
        None => Recipe::default(),
    };
    let mut evaluator = Evaluator::new(blends, &recipe, documents, options, calibration, context)?;

    let mut search = Search::new(settings.space(), settings.search_options(context.seed));
    let (mut proposals, mut choosing) = (Vec::new(), 0.0);
    loop {
        let asked = Instant::now();
        let several = search
            .ask_several(settings.at_once as usize)
            .blame("choosing the next mixture")?;
        choosing += asked.elapsed().as_secs_f64();
        if several.proposals.is_empty() {
            break;
        }
        let subjects: Vec<Subject> = several
            .proposals
            .iter()
            .map(|proposal| settings.subject(&proposal.point))
            .collect();
        let found = evaluator.together(&subjects, settings.halving)?;
        for (nll, _) in &found {
            context.progress.metric("nats a token", *nll);
        }
        let stopped = found.iter().map(|(_, stopped_after)| *stopped_after);
        proposals.extend(several.proposals.iter().cloned().zip(stopped));
        let scores: Vec<f64> = found.iter().map(|(nll, _)| -nll).collect();
        search.tell_several(several, &scores).blame("searching")?;
    }
    let best = search
        .best()
        .ok_or_else(|| JobError::bug("nothing was evaluated"))?;
    let found = settings.subject(&proposals[best].0.point);

    let newest = Subject::Mixture(settings.only(newest));
    let mut subjects = vec![("newest checkpoint".to_owned(), newest)];
    subjects.extend(baselines::all(settings, context.seed, &mut evaluator)?);
    subjects.push((FOUND.to_owned(), found.clone()));
    let others = labels(&others).into_iter().enumerate();
    subjects.extend(others.map(|(at, name)| (name, Subject::Other(at))));
    let candidates = subjects
        .into_iter()
        .map(|(name, subject)| {
            Ok(Candidate {
                searched: evaluator.nll_of(&subject)?,
                reported: evaluator.reported(&subject)?,
                name,
                subject,
                gain: None,
                lead: None,
            })
        })
        .collect::<Result<Vec<_>, JobError>>()?;
    let candidates = judged(candidates, context.seed);
    let winner = candidates.iter().find(|candidate| candidate.name == FOUND);
    let winner = winner.ok_or_else(|| JobError::bug("nothing was found"))?;
    let gain = winner
        .gain
        .ok_or_else(|| JobError::bad_input("fewer than two documents report: give more text"))?;
    if settings.require_gain && gain.low <= 0.0 {
        return Err(no_gain(&found.describe(settings), gain));
    }
    let seconds = start.elapsed().as_secs_f64();
    let trials = evaluator.finish()?;
    context.publication.put(TRIALS_FILE, trials.log)?;
    // A clock is nothing for an artifact, which is to be the same bytes again.
    context.progress.message(&format!(
        "{seconds:.1} s; evaluating took {:.1}, combining models {:.1} (of mixtures at the same time the sum) and choosing what to \
         evaluate {choosing:.2}",
        trials.evaluating, trials.combining
    ));
    let (plan, fact) = match &found {
        Subject::Mixture(weights) => {
            let plan = merge_plan(&names, &inputs, weights, context.threads)?;
            (plan, ("weights", json!(weights)))
        }
        Subject::Method(values) => (recipe.plan(values)?, ("parameters", json!(recipe.named(values)))),
        _ => return Err(JobError::bug("what was found is no mixture")),
    };
    write(&plan, context, "writing the mixture")?;
    let scores: Vec<f64> = search.trials().map(|(_, score)| -score).collect();
    let outcome = trained_on::tell(
        Outcome::default(),
        inputs.iter().copied().chain(base),
        &[],
        context,
    )?
    .fact(fact.0, fact.1)
    .fact("checkpoints", json!(names))
    .fact("evaluations", scores.len())
    .fact("nll_searched", winner.searched)
    .fact("gain", json!(gain))
    .fact("documents_searched", evaluator.documents(Half::Search))
    .fact("documents_reporting", evaluator.documents(Half::Report));
    let figures = figures::all(settings, &names, &search, &proposals, &candidates, winner)?;
    Ok(figures.into_iter().fold(outcome, Outcome::figure))
}

fn no_gain(found: &str, gain: Interval) -> JobError {
    let message = format!(
        "the best mixture found, {}, gains {:+.5} nats a token over the newest checkpoint on the reporting half (95 % interval {:+.5} to \
         {:+.5}), so it is not published: `require_gain` asks for an interval above 0. Give more text, other checkpoints, or \
         leave `require_gain` out",
        found, gain.value, gain.low, gain.high
    );
    JobError::new(JobErrorKind::BadInput, message)
}

/// The candidates with what they gain over the first, which is the newest checkpoint, and what the mixture found gains over them.
fn judged(mut candidates: Vec<Candidate>, seed: u64) -> Vec<Candidate> {
    let reported = |found: Option<&Candidate>| found.map(|found| found.reported.clone()).unwrap_or_default();
    let newest = reported(candidates.first());
    let found = reported(candidates.iter().find(|candidate| candidate.name == FOUND));
    for candidate in &mut candidates {
        candidate.gain = bootstrap_difference(&newest, &candidate.reported, seed);
        candidate.lead =
            bootstrap_difference(&candidate.reported, &found, seed).filter(|_| candidate.name != FOUND);
    }
    candidates
}

/// The text, searched half and reporting half, each document on its side by its content.
fn documents(
    settings: &MergeSearchSettings,
    context: &JobContext,
    newest: &ResolvedInput,
) -> Result<[Vec<Document>; 2], JobError> {
    let tokenizer = Tokenizer::load(&newest.folder()?).blame("loading the tokenizer")?;
    let how = TokenizeOptions {
        add_eos: tokenizer.eos().is_some(),
        completion_only: true,
        ..TokenizeOptions::default()
    };
    let all = data_set::all_documents("data", &settings.data, context, &tokenizer, &how)?;
    let reports = |document: &Document| {
        let digest = blake3::hash(format!("report {}", document.id).as_bytes());
        let mut head = [0; 8];
        head.copy_from_slice(&digest.as_bytes()[..8]);
        u64::from_le_bytes(head) as f64 / u64::MAX as f64 <= settings.report_share
    };
    let (report, search): (Vec<Document>, Vec<Document>) = all.into_iter().partition(reports);
    if search.len() < 2 || report.len() < 2 {
        let message = format!(
            "{} documents to search on and {} to report are too few: give more text",
            search.len(),
            report.len()
        );
        return Err(JobError::bad_input(message));
    }
    Ok([search, report])
}

/// Documents to take gradients on, cut to a window.
fn calibration(
    settings: &MergeSearchSettings,
    context: &JobContext,
    newest: &ResolvedInput,
    window: usize,
) -> Result<Vec<Vec<u32>>, JobError> {
    if settings.calibration.is_empty() {
        return Ok(Vec::new());
    }
    let tokenizer = Tokenizer::load(&newest.folder()?).blame("loading the tokenizer")?;
    let how = TokenizeOptions {
        add_eos: tokenizer.eos().is_some(),
        ..TokenizeOptions::default()
    };
    let documents = data_set::all_documents("calibration", &settings.calibration, context, &tokenizer, &how)?;
    let cut = |document: Document| {
        let mut tokens = document.tokens;
        tokens.truncate(window);
        tokens
    };
    Ok(documents
        .into_iter()
        .map(cut)
        .filter(|tokens| tokens.len() > 1)
        .collect())
}

/// The merge that writes a mixture: `linear`, every group of layers a slice, which is how [`Blend`] groups them too.
fn merge_plan(
    names: &[String],
    inputs: &[&ResolvedInput],
    weights: &Weights,
    threads: usize,
) -> Result<MergePlan, JobError> {
    let sources = names
        .iter()
        .zip(inputs)
        .map(|(name, input)| open(name, input)?.blame(format!("opening {name}")))
        .collect::<Result<Vec<Source>, JobError>>()?;
    let newest = inputs
        .last()
        .ok_or_else(|| JobError::config("there is no checkpoint"))?;
    let layers = configuration(newest)?.layers;
    let groups = weights.len();
    // The first layer of a group: layer·groups/layers = group, rounded down.
    let first = |group: usize| (group * layers).div_ceil(groups);
    let slice = |(group, weights): (usize, &Vec<f64>)| SliceSpec {
        sources: names
            .iter()
            .zip(weights)
            .map(|(name, weight)| SourceSpec {
                model: name.clone(),
                layer_range: (first(group), first(group + 1)),
                parameters: [("weight".to_owned(), (*weight).into())].into(),
                ..SourceSpec::default()
            })
            .collect(),
        ..SliceSpec::default()
    };
    let spec = MergeSpec {
        merge_method: "linear".to_owned(),
        slices: weights.iter().enumerate().map(slice).collect(),
        // They sum to 1, but for the last digit.
        parameters: [("normalize".to_owned(), false.into())].into(),
        ..MergeSpec::default()
    };
    let options = MergeOptions {
        threads: Some(threads),
        ..MergeOptions::default()
    };
    plan(&spec, &sources, &options).blame("planning the merge")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_that_are_used_at_once_are_reserved() {
        let help = unreserved(Device::Cuda(0), 4, 1).and_then(|problem| problem.help);
        assert_eq!(help.as_deref(), Some("add `resources: {gpus: 4}` to the step"));
        assert!(unreserved(Device::Cuda(0), 4, 4).is_none());
        assert!(unreserved(Device::Cuda(0), 1, 0).is_none());
        assert!(unreserved(Device::Cpu, 4, 0).is_none());
    }
}
