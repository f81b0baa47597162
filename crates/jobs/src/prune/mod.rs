//! `prune`: a model without some of its layers (ShortGPT, arXiv 2403.03853).
//!
//! One pass over a calibration text gives every layer's Block Influence; the lowest go, all at once or one by one. What is left is
//! renumbered, and `config.json` says so, by the merge engine's `passthrough`: tensors are copied, but for the matrices that
//! `heal` corrected or `replace` put there ([`mending`]). The calibration text should be no text that the result is judged by ([`curve`]).

mod curve;
mod mending;
mod settings;

use std::time::Instant;

use serde_json::json;
use tributary_data::{Document, TokenizeOptions, Tokenizer};
use tributary_evaluate::{LikelihoodOptions, Wanted, measure};
use tributary_merge::{
    Case, MERGE_VERSION, MergeOptions, MergePlan, MergeSpec, ParameterValue, Parameters, Scalar, Setting,
    SliceSpec, SourceSpec, plan,
};
use tributary_model::{Decoder, Device, ModelConfig, load_config};
use tributary_pipeline::{
    Drawn, Estimate, Figure, InputDeclaration, JobContext, JobError, Line, MODEL_KIND, Outcome,
    OutputDeclaration, PlanContext, Problem, ResolvedInput, TypedJob,
};
use tributary_prune::{Text, removals};
use tributary_train::STATE_KIND;

use crate::blame::Blame;
use crate::data_set;
use crate::merge::open;
use crate::task_set;
use crate::trained_on;
use curve::Curve;
use mending::{Matrix, Mending};
pub use settings::{ChosenBy, ChosenHow, ChosenPart, CurveSettings, PruneSettings, ReplaceSettings};

/// Tokens of a batch when measuring.
const BATCH_TOKENS: usize = 4096;
/// Passes that are timed, of the whole model and of the pruned one in turn, after one of each that is not.
const TIMED: usize = 7;

/// The job kind `prune`.
#[derive(Clone, Copy, Debug)]
pub struct Prune;

impl TypedJob for Prune {
    type Settings = PruneSettings;
    const KIND: &'static str = "prune";
    // The merge engine writes the result.
    const VERSION: u32 = 5 + 1000 * MERGE_VERSION;
    const USES_DEVICE: bool = true;
    const SUMMARY: &'static str = "Removes the layers of a model that change their input least (ShortGPT), or parts of them, and heals what is left";
    const EXAMPLE: &'static str = "- id: pruned
  job: prune
  with:
    model: ${base.model}
    remove: 3
    heal: true
    data:
      - {source: \"${corpora.stories}\", split: train, limit: 100}
    curve:
      up_to: 8
      data:
        - {source: \"${corpora.stories}\", split: held_out}
";

    fn is_seeded(&self, settings: &PruneSettings) -> bool {
        settings.is_random()
    }

    fn inputs(&self, settings: &PruneSettings) -> Vec<InputDeclaration> {
        let model = InputDeclaration::new("model", &[MODEL_KIND, STATE_KIND], &settings.model).named();
        let mut inputs = vec![model];
        if settings.reads_text() {
            inputs.extend(data_set::declare("data", &settings.data));
        }
        if let Some(curve) = &settings.curve {
            inputs.extend(data_set::declare("curve.data", &curve.data));
            inputs.extend(task_set::declare("curve.tasks", &curve.tasks));
        }
        inputs
    }

    fn outputs(&self, _: &PruneSettings) -> Vec<OutputDeclaration> {
        vec![OutputDeclaration::new("model", MODEL_KIND, "")]
    }

    fn check(&self, settings: &PruneSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let mut problems = settings.problems();
        if settings.reads_text() {
            problems.extend(data_set::check("data", &settings.data, plan));
        }
        if let Some(curve) = &settings.curve {
            problems.extend(data_set::check("curve.data", &curve.data, plan));
            let models: Vec<_> = plan.input("model").into_iter().collect();
            problems.extend(task_set::check("curve.tasks", &curve.tasks, &models, plan));
            if settings.reads_text() {
                let judging = ("curve.data", curve.data.as_slice());
                problems.extend(data_set::shared(("data", &settings.data), judging, plan));
            }
        }
        if let Err(error) = plan.machine.device.parse::<Device>() {
            problems.push(Problem::new("", error.to_string()));
        }
        let Some(input) = plan.input("model") else {
            return problems;
        };
        match configuration(input) {
            Ok(config) => {
                problems.extend(settings.fits(config.layers, config.intermediate_size));
                if let Err(error) = readable(input, settings, config.layers) {
                    problems.push(Problem::new("model", error.describe()));
                }
            }
            Err(error) => problems.push(Problem::new("model", error.describe())),
        }
        problems
    }

    fn estimate(&self, settings: &PruneSettings, plan: &PlanContext<'_>) -> Option<Estimate> {
        let config = configuration(plan.input("model")?).ok()?;
        let needs_model = settings.reads_text() || settings.curve.is_some();
        let (layers, what) = (config.layers, settings.part.plural());
        let branches = settings.curve.as_ref().map_or(0, |curve| {
            let seeds = |by: &ChosenBy| if *by == ChosenBy::Random { curve.seeds } else { 1 };
            1 + u32::from(Mending::of(settings) != Mending::Not)
                + curve.against.iter().map(seeds).sum::<u32>()
        });
        let points = branches as usize * settings.up_to();
        Some(Estimate {
            memory: needs_model.then(|| 4 * config.parameters() as u64),
            note: Some(match points {
                0 => format!("{} of {layers} {what} go", settings.count()),
                points => format!(
                    "{} of {layers} {what} go; the curve takes {points} evaluations and one of the whole model",
                    settings.count()
                ),
            }),
            ..Estimate::default()
        })
    }

    fn run(&self, settings: &PruneSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        crate::threads::install(context.threads, || run(settings, context))?
    }
}

fn configuration(input: &ResolvedInput) -> Result<ModelConfig, JobError> {
    load_config(&input.directory()?).blame("its configuration cannot be used")
}

/// Can the model be read, and could it be written without its last layers?
fn readable(input: &ResolvedInput, settings: &PruneSettings, layers: usize) -> Result<(), JobError> {
    if settings.reads_text() || settings.curve.is_some() {
        Tokenizer::load(&input.folder()?).blame("it has no usable tokenizer")?;
    }
    let removed: Vec<usize> = (layers.saturating_sub(settings.count())..layers).collect();
    let part = Mending::of(settings).removed(settings.part);
    if part != ChosenPart::Layer || removed.len() < layers {
        let source = open(&input.label, input)?.blame("it cannot be read")?;
        passthrough(source, &input.label, part, layers, &removed, 1)?;
    }
    Ok(())
}

fn run(settings: &PruneSettings, context: &JobContext) -> Result<Outcome, JobError> {
    let input = context.input("model")?;
    let config = configuration(input)?;
    let layers = config.layers;
    if let Some(problem) = settings.fits(layers, config.intermediate_size) {
        let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
        return Err(JobError::bad_input(format!("{}{help}", problem.message)));
    }
    let outcome = Outcome::default().fact("layers_before", layers);
    // Which layers have the part, only the weights tell.
    let is_blind = settings.part == ChosenPart::Layer || !settings.layers.is_empty();
    if is_blind && !settings.reads_text() && settings.curve.is_none() {
        let removed = match settings.layers.as_slice() {
            [] => blindly(settings, context, layers),
            named => sorted(named),
        };
        return write(context, input, settings, &removed, &[], outcome);
    }

    let device: Device = context.device.parse().blame("choosing the device")?;
    let decoder = Decoder::load(&input.directory()?, device).blame("loading the model")?;
    let tokenizer = Tokenizer::load(&input.folder()?).blame("loading the tokenizer")?;
    // What cannot be asked is told before anything is measured.
    let asked = match &settings.curve {
        Some(curve) => task_set::ask("curve.tasks", &curve.tasks, context)?,
        None => Vec::new(),
    };
    let calibration = match settings.reads_text() {
        true => documents("data", &settings.data, context, &tokenizer)?,
        false => Vec::new(),
    };
    let options = LikelihoodOptions {
        context: (settings.context as usize).min(config.max_positions),
        batch_tokens: BATCH_TOKENS,
    };
    let text = Text {
        documents: &calibration,
        options: &options,
    };
    let mut stretch = Stretch::new(context);
    let (mut outcome, removed, chosen) = match settings.layers.as_slice() {
        [] => {
            let most = settings.count().max(settings.up_to());
            let found = removals(
                &decoder,
                text,
                settings.rule(context.seed),
                most,
                &mut |what, done, all| stretch.note(what, done, all),
            );
            let found = found.blame("choosing layers")?;
            let removed = found.sets[settings.count() - 1].clone();
            let mut outcome = outcome;
            if let Some(nll) = found.nll {
                outcome = outcome
                    .fact("chosen_by", json!(settings.by))
                    .fact("metric", json!(found.metric))
                    .fact("calibration_nll_before", nll)
                    .figure(by_layer(settings, &found.metric, &removed));
            }
            (outcome, removed, found.sets)
        }
        named => (outcome, sorted(named), Vec::new()),
    };
    let part = settings.part.part();
    let mending = Mending::of(settings);
    let mended = mending.apply(&decoder, part, &removed, text, &mut |what, done, all| {
        stretch.note(what, done, all)
    })?;
    if let Some(name) = mending.name() {
        outcome = outcome.fact(name, json!(mended.facts));
    }
    if !mended.in_vain.is_empty() {
        let layers: Vec<String> = mended.in_vain.iter().map(usize::to_string).collect();
        context.progress.message(&format!(
            "layers {} are removed and no more: on calibration text held back nothing is gained in their place, or too few documents left any to hold back; more text may help",
            layers.join(", ")
        ));
    }
    outcome = outcome
        .fact("parameters_before", decoder.parameters())
        .fact("parameters_left", mended.decoder.parameters());
    if let Some(curve) = &settings.curve {
        let judging = documents("curve.data", &curve.data, context, &tokenizer)?;
        tell_speeds(&decoder, &mended.decoder.compact(), &judging, &options, context)?;
        let curve = Curve {
            settings,
            context,
            decoder: &decoder,
            calibration: &calibration,
            judging: &judging,
            options: &options,
            stop: config.eos.clone(),
            asked,
            tokenizer: &tokenizer,
        };
        for figure in curve.figures(&chosen)? {
            outcome = outcome.figure(figure);
        }
    }
    write(context, input, settings, &removed, &mended.matrices, outcome)
}

fn sorted(layers: &[usize]) -> Vec<usize> {
    let mut layers = layers.to_vec();
    layers.sort_unstable();
    layers
}

/// The layers that go where nothing is measured.
fn blindly(settings: &PruneSettings, context: &JobContext, layers: usize) -> Vec<usize> {
    tributary_prune::blind(settings.by.rule(context.seed), layers, settings.count())
}

fn documents(
    field: &str,
    sets: &[crate::data_set::DataSet],
    context: &JobContext,
    tokenizer: &Tokenizer,
) -> Result<Vec<Document>, JobError> {
    let how = TokenizeOptions {
        add_eos: tokenizer.eos().is_some(),
        ..TokenizeOptions::default()
    };
    data_set::all_documents(field, sets, context, tokenizer, &how)
}

/// Progress of passes that follow each other.
struct Stretch<'a> {
    context: &'a JobContext,
    what: String,
    done: u64,
}

impl<'a> Stretch<'a> {
    fn new(context: &'a JobContext) -> Self {
        Self {
            context,
            what: String::new(),
            done: 0,
        }
    }

    /// So much of a pass is done; says whether to go on.
    fn note(&mut self, what: &str, done: u64, all: u64) -> bool {
        if self.what != what || done < self.done {
            self.context.progress.begin(what, Some(all), "tokens");
            (self.what, self.done) = (what.to_owned(), 0);
        }
        self.context.progress.advance(done - self.done);
        self.done = done;
        !self.context.cancellation.is_cancelled()
    }
}

/// Says how fast the whole model and the pruned one read. A clock is nothing for an artifact, which is to be the same bytes again.
fn tell_speeds(
    whole: &Decoder,
    pruned: &Decoder,
    documents: &[Document],
    options: &LikelihoodOptions,
    context: &JobContext,
) -> Result<(), JobError> {
    // As many documents as fill a batch.
    let mut tokens = 0;
    let few: Vec<Document> = documents
        .iter()
        .take_while(|document| {
            tokens += document.tokens.len();
            tokens - document.tokens.len() < options.batch_tokens
        })
        .cloned()
        .collect();
    let seconds = |decoder: &Decoder| -> Result<f64, JobError> {
        let start = Instant::now();
        measure(decoder, &few, options, &Wanted::default(), &mut |_, _| true).blame("timing")?;
        Ok(start.elapsed().as_secs_f64())
    };
    let mut times: [Vec<f64>; 2] = Default::default();
    seconds(whole)?;
    seconds(pruned)?;
    for _ in 0..TIMED {
        context.cancellation.check()?;
        times[0].push(seconds(whole)?);
        times[1].push(seconds(pruned)?);
    }
    let [before, after] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[TIMED / 2]
    });
    let text = format!(
        "reads {:.0} tokens a second, {:.0} before: {:.3} times as fast, with {:.3} times the parameters",
        tokens as f64 / after,
        tokens as f64 / before,
        before / after,
        pruned.parameters() as f64 / whole.parameters() as f64
    );
    context.progress.message(&text);
    context.progress.metric("speedup", before / after);
    Ok(())
}

/// The stretches of layers that stay.
fn stretches(layers: usize, removed: &[usize]) -> Vec<(usize, usize)> {
    let mut stretches: Vec<(usize, usize)> = Vec::new();
    for layer in (0..layers).filter(|layer| !removed.contains(layer)) {
        match stretches.last_mut() {
            Some((_, end)) if *end == layer => *end += 1,
            _ => stretches.push((layer, layer + 1)),
        }
    }
    stretches
}

/// The merge that writes a model without these layers.
fn passthrough(
    source: tributary_merge::Source,
    name: &str,
    part: ChosenPart,
    layers: usize,
    removed: &[usize],
    threads: usize,
) -> Result<MergePlan, JobError> {
    // The layers as they are, and those whose part becomes 0.
    let mut slices: Vec<((usize, usize), Parameters)> = stretches(layers, removed)
        .into_iter()
        .map(|range| (range, Parameters::new()))
        .collect();
    if let Some(filter) = tensors_of(part) {
        let zero = ParameterValue {
            cases: vec![Case {
                filter: Some(filter.to_owned()),
                setting: Setting::Scalar(Scalar::Number(0.0)),
            }],
        };
        let scale = Parameters::from([("scale".to_owned(), zero)]);
        slices.extend(removed.iter().map(|layer| ((*layer, layer + 1), scale.clone())));
        slices.sort_by_key(|(range, _)| *range);
    }
    let slice = |(layer_range, parameters): ((usize, usize), Parameters)| SliceSpec {
        sources: vec![SourceSpec {
            model: name.to_owned(),
            layer_range,
            ..SourceSpec::default()
        }],
        parameters,
        ..SliceSpec::default()
    };
    let spec = MergeSpec {
        merge_method: "passthrough".to_owned(),
        slices: slices.into_iter().map(slice).collect(),
        ..MergeSpec::default()
    };
    let options = MergeOptions {
        threads: Some(threads),
        ..MergeOptions::default()
    };
    plan(&spec, &[source], &options).blame("planning the pruned model")
}

/// What the names of the part's tensors contain, where it is not the layer.
fn tensors_of(part: ChosenPart) -> Option<&'static str> {
    match part {
        ChosenPart::Layer => None,
        ChosenPart::Attention => Some(".self_attn."),
        ChosenPart::FeedForward => Some(".mlp."),
    }
}

/// Writes the model without these layers, or without this part of them.
fn write(
    context: &JobContext,
    input: &ResolvedInput,
    settings: &PruneSettings,
    removed: &[usize],
    matrices: &[Matrix],
    outcome: Outcome,
) -> Result<Outcome, JobError> {
    let mut name = input.label.clone();
    let config = configuration(input)?;
    let mut source = open(&name, input)?.blame("opening the model")?;
    let mending = Mending::of(settings);
    if let Some(mended) = mending.name().filter(|_| !matrices.is_empty()) {
        // What the model's card calls it too.
        name = format!("{name}, {mended}");
        source = mending::in_place(&source, &name, matrices, config.hidden_size, context)?;
    }
    let (layers, part) = (config.layers, mending.removed(settings.part));
    let plan = passthrough(source, &name, part, layers, removed, context.threads)?;
    crate::merge::write(&plan, context, "writing the pruned model")?;
    let left = match part {
        ChosenPart::Layer => layers - removed.len(),
        ChosenPart::Attention | ChosenPart::FeedForward => layers,
    };
    // What is mended is fitted to the text.
    let fitted = match mending {
        Mending::Not => &[],
        _ => settings.data.as_slice(),
    };
    Ok(trained_on::tell(outcome, [input], fitted, context)?
        .fact("layers", left)
        .fact("removed_part", json!(settings.part))
        .fact("removed_layers", json!(removed))
        .fact("parameters", plan.summary().parameters))
}

/// What was measured, by layer, the removed layers marked.
fn by_layer(settings: &PruneSettings, metric: &[f64], removed: &[usize]) -> Figure {
    let all: Vec<usize> = (0..metric.len()).collect();
    let line = |name: &str, layers: &[usize], drawn: Drawn| Line {
        name: name.to_owned(),
        x: layers.iter().map(|layer| *layer as f64).collect(),
        y: layers.iter().map(|layer| metric[*layer]).collect(),
        drawn,
    };
    let y_label = match settings.by {
        ChosenBy::RelativeMagnitude => "share of what comes out that it adds",
        ChosenBy::Likelihood => "nats a token without it",
        _ => "1 − mean cosine of what goes in and comes out",
    };
    let name = settings.by.name();
    Figure::Series {
        title: format!("{}{} by layer", name[..1].to_uppercase(), &name[1..]),
        x_label: "layer, from 0".to_owned(),
        y_label: y_label.to_owned(),
        lines: vec![
            line("all layers", &all, Drawn::Curve),
            line("removed", removed, Drawn::Points),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_are_stretches() {
        assert_eq!(stretches(6, &[1, 4, 5]), [(0, 1), (2, 4)]);
        assert_eq!(stretches(3, &[]), [(0, 3)]);
        assert_eq!(stretches(3, &[0]), [(1, 3)]);
    }
}
