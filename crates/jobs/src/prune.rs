//! `prune`: a model without its least influential layers (ShortGPT, arXiv 2403.03853).
//!
//! One pass over a calibration text gives every layer's Block Influence; the lowest go, all at once and without measuring
//! again. What is left is renumbered, and `config.json` says so, by the merge engine's `passthrough`: nothing is computed,
//! tensors are copied. The calibration text should be no text that the result is judged by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tributary_data::{Document, TokenizeOptions, Tokenizer};
use tributary_evaluate::{BlockInfluence, EvaluateError, LikelihoodOptions, Wanted, measure};
use tributary_merge::{MERGE_VERSION, MergeOptions, MergeSpec, SliceSpec, SourceSpec, Watch, Written, plan};
use tributary_model::{Decoder, Device, ModelConfig, load_config};
use tributary_pipeline::{
    Figure, InputDeclaration, InputRef, JobContext, JobError, Line, MODEL_KIND, Outcome, OutputDeclaration,
    PlanContext, Problem, ResolvedInput, TypedJob,
};
use tributary_train::STATE_KIND;

use crate::blame::Blame;
use crate::data_set::{self, DataSet};
use crate::merge::{Bytes, open};

/// Tokens of a batch when measuring.
const BATCH_TOKENS: usize = 4096;

/// Settings of `prune`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneSettings {
    /// The model.
    pub model: InputRef,
    /// How many layers go; or name them with `layers`.
    #[serde(default)]
    pub remove: Option<u32>,
    /// How they are chosen.
    #[serde(default)]
    pub by: ChosenBy,
    /// The layers that go, from 0, instead of choosing some.
    #[serde(default)]
    pub layers: Vec<usize>,
    /// The calibration text, for `block_influence`: no text that the result is judged by. Every token of it counts.
    #[serde(default)]
    pub data: Vec<DataSet>,
    /// Tokens of a window of the calibration text; at most what the model was made for.
    #[serde(default = "default_context")]
    #[schemars(range(min = 2))]
    pub context: u32,
}

/// How layers are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChosenBy {
    /// Those that change their input least on the calibration text.
    #[default]
    BlockInfluence,
    /// The first ones after layer 0: a baseline.
    Sequential,
    /// The last ones: a baseline.
    Reverse,
}

fn default_context() -> u32 {
    256
}

impl PruneSettings {
    fn measures(&self) -> bool {
        self.layers.is_empty() && self.by == ChosenBy::BlockInfluence
    }

    /// What is wrong for a model of so many layers.
    fn fits(&self, layers: usize) -> Option<Problem> {
        if let Some(layer) = self.layers.iter().find(|layer| **layer >= layers) {
            let problem = Problem::new("layers", format!("there is no layer {layer}"));
            return Some(problem.help(format!(
                "the model has {layers}, from 0 to {}",
                layers.saturating_sub(1)
            )));
        }
        let removed = self.remove.map_or(self.layers.len(), |remove| remove as usize);
        (removed >= layers).then(|| {
            let field = match self.remove {
                Some(_) => "remove",
                None => "layers",
            };
            Problem::new(field, format!("{removed} of {layers} layers cannot be removed"))
                .help("at least one must stay")
        })
    }

    /// The layers that go, in order.
    fn chosen(&self, layers: usize, influence: Option<&BlockInfluence>) -> Result<Vec<usize>, JobError> {
        let remove = self.remove.unwrap_or(0) as usize;
        let mut chosen: Vec<usize> = match (self.layers.is_empty(), self.by) {
            (false, _) => self.layers.clone(),
            (true, ChosenBy::BlockInfluence) => {
                let found = influence.ok_or_else(|| JobError::bug("Block Influence was not measured"))?;
                found.ranking().into_iter().take(remove).collect()
            }
            (true, ChosenBy::Sequential) => (1..layers).take(remove).collect(),
            (true, ChosenBy::Reverse) => (0..layers).rev().take(remove).collect(),
        };
        chosen.sort_unstable();
        Ok(chosen)
    }
}

/// The job kind `prune`.
#[derive(Clone, Copy, Debug)]
pub struct Prune;

impl TypedJob for Prune {
    type Settings = PruneSettings;
    const KIND: &'static str = "prune";
    // The merge engine writes the result.
    const VERSION: u32 = 1 + 1000 * MERGE_VERSION;
    const USES_DEVICE: bool = true;
    const SUMMARY: &'static str = "Removes the layers of a model that change their input least (ShortGPT).";
    const EXAMPLE: &'static str = "- id: pruned
  job: prune
  with:
    model: ${base.model}
    remove: 3
    data:
      - {source: \"${corpora.stories}\", limit: 100}
";

    fn is_seeded(&self, _: &PruneSettings) -> bool {
        false
    }

    fn inputs(&self, settings: &PruneSettings) -> Vec<InputDeclaration> {
        let model = InputDeclaration::new("model", &[MODEL_KIND, STATE_KIND], &settings.model).named();
        let mut inputs = vec![model];
        if settings.measures() {
            inputs.extend(data_set::declare("data", &settings.data));
        }
        inputs
    }

    fn outputs(&self, _: &PruneSettings) -> Vec<OutputDeclaration> {
        vec![OutputDeclaration::new("model", MODEL_KIND, "")]
    }

    fn check(&self, settings: &PruneSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        match (settings.remove, settings.layers.is_empty()) {
            (None, true) => problems.push(
                Problem::new("remove", "nothing is to be removed").help("say how many layers: `remove: 3`"),
            ),
            (Some(0), true) => problems.push(Problem::new("remove", "must be at least 1")),
            (Some(_), false) => problems.push(
                Problem::new(
                    "layers",
                    "the layers are named, and their number is given as well",
                )
                .help("leave out `remove` or `layers`"),
            ),
            _ => {}
        }
        let mut sorted = settings.layers.clone();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            problems.push(
                Problem::new("layers", format!("layer {} is named twice", twice[0])).help("name it once"),
            );
        }
        if !settings.measures() && !settings.data.is_empty() {
            let problem = Problem::new("data", "nothing is measured, so no text is read");
            problems.push(problem.help("leave it out, or choose `by: block_influence`"));
        }
        if !settings.layers.is_empty() && settings.by != ChosenBy::BlockInfluence {
            problems
                .push(Problem::new("by", "the layers are named already").help("leave out `by` or `layers`"));
        }
        if settings.context < 2 {
            problems.push(Problem::new(
                "context",
                "must be at least 2: one token to read and one to predict",
            ));
        }
        if settings.measures() {
            problems.extend(data_set::check("data", &settings.data, plan));
        }
        if let Err(error) = plan.machine.device.parse::<Device>() {
            problems.push(Problem::new("", error.to_string()));
        }
        match plan.input("model").map(configuration) {
            Some(Ok(config)) => {
                problems.extend(settings.fits(config.layers));
                let opened = plan
                    .input("model")
                    .map(|input| readable(input, settings.measures()));
                if let Some(Err(error)) = opened {
                    problems.push(Problem::new("model", error.describe()));
                }
            }
            Some(Err(error)) => problems.push(Problem::new("model", error.describe())),
            None => {}
        }
        problems
    }

    fn run(&self, settings: &PruneSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        crate::threads::install(context.threads, || run(settings, context))?
    }
}

fn configuration(input: &ResolvedInput) -> Result<ModelConfig, JobError> {
    load_config(&input.directory()?).blame("its configuration cannot be used")
}

/// Are the tensors there, and the tokenizer if it is needed?
fn readable(input: &ResolvedInput, measures: bool) -> Result<(), JobError> {
    let directory = input.directory()?;
    tributary_tensorfile::Checkpoint::open(&directory).blame("its tensors cannot be read")?;
    if measures {
        Tokenizer::load(&input.folder()?).blame("it has no usable tokenizer")?;
    }
    Ok(())
}

fn run(settings: &PruneSettings, context: &JobContext) -> Result<Outcome, JobError> {
    let input = context.input("model")?;
    let layers = configuration(input)?.layers;
    if let Some(problem) = settings.fits(layers) {
        let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
        return Err(JobError::bad_input(format!("{}{help}", problem.message)));
    }
    let influence = match settings.measures() {
        true => Some(influence(settings, context, input)?),
        false => None,
    };
    let removed = settings.chosen(layers, influence.as_ref().map(|(influence, _)| influence))?;
    let parameters = write(context, input, layers, &removed)?;
    let outcome = Outcome::default()
        .fact("layers", layers - removed.len())
        .fact("layers_before", layers)
        .fact("removed_layers", json!(removed))
        .fact("parameters", parameters);
    Ok(match &influence {
        Some((influence, nll)) => outcome
            .fact("block_influence", json!(influence))
            .fact("calibration_nll_before", *nll)
            .figure(figure(influence, &removed)),
        None => outcome,
    })
}

/// Block Influence of every layer on the calibration text, and the whole model's likelihood there, nats a token.
fn influence(
    settings: &PruneSettings,
    context: &JobContext,
    input: &ResolvedInput,
) -> Result<(BlockInfluence, f64), JobError> {
    let device: Device = context.device.parse().blame("choosing the device")?;
    let decoder = Decoder::load(&input.directory()?, device).blame("loading the model")?;
    let tokenizer = Tokenizer::load(&input.folder()?).blame("loading the tokenizer")?;
    let how = TokenizeOptions {
        add_eos: tokenizer.eos().is_some(),
        ..TokenizeOptions::default()
    };
    let documents: Vec<Document> =
        data_set::all_documents("data", &settings.data, context, &tokenizer, &how)?;
    let options = LikelihoodOptions {
        context: (settings.context as usize).min(decoder.config().max_positions),
        batch_tokens: BATCH_TOKENS,
    };
    let wanted = Wanted {
        block_influence: true,
        ..Wanted::default()
    };
    let mut before = None;
    let measured = measure(&decoder, &documents, &options, &wanted, &mut |done, all| {
        if before.is_none() {
            context
                .progress
                .begin("measuring Block Influence", Some(all), "tokens");
        }
        context.progress.advance(done - before.unwrap_or(0));
        before = Some(done);
        !context.cancellation.is_cancelled()
    });
    let measured = match measured {
        Err(EvaluateError::Cancelled) => return Err(JobError::cancelled()),
        other => other.blame("measuring Block Influence")?,
    };
    let influence = measured.block_influence;
    let influence = influence.ok_or_else(|| JobError::bug("Block Influence was asked for"))?;
    Ok((influence, measured.scored.total.nll))
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

/// Writes the model without these layers; returns its number of parameters.
fn write(
    context: &JobContext,
    input: &ResolvedInput,
    layers: usize,
    removed: &[usize],
) -> Result<u64, JobError> {
    let name = input.label.clone();
    let source = open(&name, input)?.blame("opening the model")?;
    let slice = |layer_range: (usize, usize)| SliceSpec {
        sources: vec![SourceSpec {
            model: name.clone(),
            layer_range,
            ..SourceSpec::default()
        }],
        ..SliceSpec::default()
    };
    let spec = MergeSpec {
        merge_method: "passthrough".to_owned(),
        slices: stretches(layers, removed).into_iter().map(slice).collect(),
        ..MergeSpec::default()
    };
    let options = MergeOptions {
        threads: Some(context.threads),
        ..MergeOptions::default()
    };
    let plan = plan(&spec, &[source], &options).blame("planning the pruned model")?;
    let parameters = plan.summary().parameters;
    let bytes = Bytes::new(&*context.progress);
    let watch = Watch {
        progress: &|progress| bytes.note(progress),
        cancel: context.cancellation.flag(),
    };
    match plan
        .write(&context.publication, &watch)
        .blame("writing the pruned model")?
    {
        Written::Whole(_) => Ok(parameters),
        Written::Portion(_) => Err(JobError::bug("one process makes all files of a model")),
    }
}

/// Block Influence by layer, the removed layers marked.
fn figure(influence: &BlockInfluence, removed: &[usize]) -> Figure {
    let all: Vec<usize> = (0..influence.layers.len()).collect();
    let line = |name: &str, layers: &[usize]| Line {
        name: name.to_owned(),
        x: layers.iter().map(|layer| *layer as f64).collect(),
        y: layers.iter().map(|layer| influence.layers[*layer]).collect(),
    };
    Figure::Series {
        title: format!("Block Influence on {} tokens", influence.tokens),
        x_label: "layer, from 0".to_owned(),
        y_label: "1 − mean cosine of a layer's input and output".to_owned(),
        lines: vec![line("all layers", &all), line("removed", removed)],
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
