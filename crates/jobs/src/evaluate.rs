//! `evaluate`: any number of models on any number of data sets, with errors, differences and every document's score.
//!
//! What one model scores on one data set is kept in the step's checkpoints as soon as it is known, so an interrupted
//! evaluation repeats at most one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tributary_data::{Document, TokenizeOptions, Tokenizer};
use tributary_evaluate::{
    Bin, BlockInfluence, Calibration, CalibrationWanted, DocumentScore, EvaluateError, Likelihood,
    LikelihoodOptions, Wanted, accuracy, measure, paired_difference,
};
use tributary_model::{Decoder, Device, load_config};
use tributary_pipeline::{
    Estimate, Figure, InputDeclaration, InputRef, JobContext, JobError, Line, MODEL_KIND, Outcome,
    OutputDeclaration, PlanContext, Problem, ResolvedInput, Score, TypedJob,
};
use tributary_train::STATE_KIND;

use crate::blame::Blame;
use crate::data_set::{self, DataSet};

/// The outcome as one JSON document.
const SCORES_FILE: &str = "scores.json";
/// Every document's score, one JSON object a line.
const DOCUMENTS_FILE: &str = "documents.jsonl";

/// Settings of `evaluate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateSettings {
    /// The models; differences are taken from the first.
    pub models: Vec<InputRef>,
    /// The texts. Of records with a prompt, the completion is scored; so is the token that ends each text.
    pub data: Vec<DataSet>,
    /// What to measure.
    #[serde(default = "default_metrics")]
    pub metrics: Vec<Metric>,
    /// Bins of probability, of equal width, for calibration errors.
    #[serde(default = "default_bins")]
    #[schemars(range(min = 1, max = 1000))]
    pub bins: u32,
    /// Tokens of a window: a prediction looks back on one less; each model's context, at most 2048, unless given.
    #[serde(default)]
    pub context: Option<u32>,
    /// Tokens of a batch.
    #[serde(default = "default_batch_tokens")]
    #[schemars(range(min = 1))]
    pub batch_tokens: u32,
    /// Keep the score of every token, in `documents.jsonl`.
    #[serde(default)]
    pub per_token: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean negative log-likelihood, nats a token.
    Nll,
    /// Its exponential.
    Perplexity,
    /// Share of tokens that were the most probable one.
    Accuracy,
    /// Share of tokens that were among the five most probable ones.
    #[serde(rename = "top_5_accuracy")]
    Top5Accuracy,
    /// Expected calibration error of the most probable token.
    Ece,
    /// Calibration error of every token of the vocabulary on its own, their mean.
    ClassWiseEce,
    /// Calibration error of all tokens of the vocabulary together.
    FullEce,
    /// How much each layer changes its input.
    BlockInfluence,
}

/// The k of the accuracies.
const TOP: [usize; 2] = [1, 5];

impl Metric {
    fn title(self, bins: u32) -> String {
        match self {
            Self::Nll => "negative log-likelihood, nats a token".to_owned(),
            Self::Perplexity => "perplexity".to_owned(),
            Self::Accuracy => "accuracy".to_owned(),
            Self::Top5Accuracy => "top-5 accuracy".to_owned(),
            Self::Ece => format!("ECE, {bins} bins"),
            Self::ClassWiseEce => format!("class-wise ECE, {bins} bins"),
            Self::FullEce => format!("Full-ECE, {bins} bins"),
            Self::BlockInfluence => "Block Influence".to_owned(),
        }
    }

    /// The value with its standard error; none for what is no single number.
    fn of(self, cell: &Cell) -> Option<(f64, Option<f64>)> {
        let calibration = cell.calibration.as_ref();
        match self {
            Self::Nll => Some((cell.total.nll, cell.total.nll_stderr)),
            Self::Perplexity => Some((cell.total.perplexity, cell.total.perplexity_stderr)),
            Self::Accuracy => accuracy(&cell.documents, 0),
            Self::Top5Accuracy => accuracy(&cell.documents, 1),
            Self::Ece => calibration.map(|found| (found.ece, found.ece_stderr)),
            Self::ClassWiseEce => Some((calibration?.class_wise_ece?, None)),
            Self::FullEce => calibration.map(|found| (found.full_ece, found.full_ece_stderr)),
            Self::BlockInfluence => None,
        }
    }

    fn lower_is_better(self) -> bool {
        !matches!(self, Self::Accuracy | Self::Top5Accuracy)
    }
}

impl EvaluateSettings {
    /// What the metrics need beside the likelihood.
    fn wanted(&self) -> Wanted {
        let has = |metrics: &[Metric]| self.metrics.iter().any(|metric| metrics.contains(metric));
        let class_wise = has(&[Metric::ClassWiseEce]);
        let calibration = class_wise || has(&[Metric::Ece, Metric::FullEce]);
        Wanted {
            top: if has(&[Metric::Accuracy, Metric::Top5Accuracy]) {
                TOP.to_vec()
            } else {
                Vec::new()
            },
            calibration: calibration.then_some(CalibrationWanted {
                bins: self.bins as usize,
                class_wise,
            }),
            block_influence: has(&[Metric::BlockInfluence]),
        }
    }
}

fn default_metrics() -> Vec<Metric> {
    vec![Metric::Nll]
}

fn default_bins() -> u32 {
    15
}

fn default_batch_tokens() -> u32 {
    4096
}

/// What one model scores on one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    model: String,
    data: String,
    total: Likelihood,
    documents: Vec<DocumentScore>,
    calibration: Option<Calibration>,
    block_influence: Option<BlockInfluence>,
    /// For each document the negative log-likelihood of each token, null where not scored.
    tokens: Option<Vec<Vec<Option<f32>>>>,
}

/// The job kind `evaluate`.
#[derive(Clone, Copy, Debug)]
pub struct Evaluate;

impl TypedJob for Evaluate {
    type Settings = EvaluateSettings;
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 2;
    const USES_DEVICE: bool = true;
    const SUMMARY: &'static str =
        "Measures models on texts: likelihood, accuracy, calibration, Block Influence; with standard errors.";
    const EXAMPLE: &'static str = "- id: scores
  job: evaluate
  with:
    models: [\"${base.model}\", \"${tuned.model}\"]
    data:
      - {name: facts, source: \"${corpora.facts}\", split: held_out}
    metrics: [nll, accuracy, full_ece]
";

    fn is_seeded(&self, _: &EvaluateSettings) -> bool {
        false
    }

    fn inputs(&self, settings: &EvaluateSettings) -> Vec<InputDeclaration> {
        let model = |(index, model): (usize, &InputRef)| {
            InputDeclaration::new(format!("models.{index}"), &[MODEL_KIND, STATE_KIND], model).named()
        };
        let mut inputs: Vec<InputDeclaration> = settings.models.iter().enumerate().map(model).collect();
        inputs.extend(
            data_set::declare("data", &settings.data)
                .into_iter()
                .map(InputDeclaration::named),
        );
        inputs
    }

    fn outputs(&self, _: &EvaluateSettings) -> Vec<OutputDeclaration> {
        vec![
            OutputDeclaration::new("scores", "metrics", SCORES_FILE),
            OutputDeclaration::new("documents", "metrics", DOCUMENTS_FILE),
        ]
    }

    fn check(&self, settings: &EvaluateSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let mut problems = data_set::check("data", &settings.data, plan);
        for (field, is_empty) in [
            ("models", settings.models.is_empty()),
            ("metrics", settings.metrics.is_empty()),
        ] {
            if is_empty {
                problems.push(Problem::new(field, "nothing is listed").help("list at least one"));
            }
        }
        if !(1..=1000).contains(&settings.bins) {
            problems.push(Problem::new("bins", "must be 1 to 1000").help("15 is usual"));
        }
        if settings.context.is_some_and(|context| context < 2) {
            let problem = Problem::new(
                "context",
                "must be at least 2: one token to read and one to predict",
            );
            problems.push(problem);
        }
        if let Err(error) = plan.machine.device.parse::<Device>() {
            problems.push(Problem::new("", error.to_string()));
        }
        for index in 0..settings.models.len() {
            let field = format!("models.{index}");
            let opened = plan.input(&field).map(|input| -> Result<_, JobError> {
                let directory = input.directory()?;
                load_config(&directory).blame("its configuration cannot be used")?;
                tributary_tensorfile::Checkpoint::open(&directory).blame("its tensors cannot be read")?;
                Tokenizer::load(&input.folder()?).blame("it has no usable tokenizer")
            });
            if let Some(Err(error)) = opened {
                problems.push(Problem::new(field, error.describe()));
            }
        }
        problems
    }

    fn estimate(&self, settings: &EvaluateSettings, _: &PlanContext<'_>) -> Option<Estimate> {
        let note = format!(
            "{} model(s) on {} data set(s)",
            settings.models.len(),
            settings.data.len()
        );
        Some(Estimate {
            note: Some(note),
            ..Estimate::default()
        })
    }

    fn run(&self, settings: &EvaluateSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        crate::threads::install(context.threads, || run(settings, context))?
    }
}

fn run(settings: &EvaluateSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
    let device: Device = context.device.parse().blame("choosing the device")?;
    let models = labels(&settings.models, |index| {
        context.input(&format!("models.{index}"))
    })?;
    let columns = settings.data.len();
    let mut sets = Vec::new();
    for (column, set) in settings.data.iter().enumerate() {
        let name = set
            .label(context.input(&format!("data.{column}.source"))?)
            .to_owned();
        sets.push(distinct(name, column, &sets));
    }
    let mut cells = Vec::new();
    for (index, name) in models.iter().enumerate() {
        cells.extend(model_cells(settings, context, index, name, &sets, device)?);
    }
    write(settings, context, &cells)?;
    let scores = settings.metrics.iter().flat_map(|metric| {
        cells
            .iter()
            .filter_map(|cell| score(*metric, settings.bins, cell))
    });
    let mut outcome = Outcome::default().figure(Figure::Scores {
        scores: scores.collect(),
    });
    if models.len() > 1 {
        outcome = outcome.figure(differences(&models, columns, &cells));
    }
    for column in 0..columns {
        let of_column: Vec<&Cell> = cells.iter().skip(column).step_by(columns).collect();
        for figure in [reliability(&of_column), influences(&of_column)]
            .into_iter()
            .flatten()
        {
            outcome = outcome.figure(figure);
        }
    }
    let tokens: u64 = cells.iter().map(|cell| cell.total.tokens).sum();
    Ok(outcome
        .fact("models", models.len())
        .fact("data_sets", columns)
        .fact("tokens", tokens))
}

/// A name for each model: its label, and the whole reference where two have the same.
fn labels<'a>(
    models: &[InputRef],
    input: impl Fn(usize) -> Result<&'a ResolvedInput, JobError>,
) -> Result<Vec<String>, JobError> {
    let mut names = Vec::new();
    for (index, reference) in models.iter().enumerate() {
        let label = input(index)?.label.clone();
        let name = match reference {
            InputRef::Step { output, .. } if output != "model" => format!("{label}.{output}"),
            _ => label,
        };
        names.push(distinct(name, index, &names));
    }
    Ok(names)
}

/// A name, with its position if another has it already.
fn distinct(name: String, index: usize, others: &[String]) -> String {
    if others.contains(&name) {
        format!("{name} ({})", index + 1)
    } else {
        name
    }
}

/// One model on every data set: from the checkpoints, or measured now.
fn model_cells(
    settings: &EvaluateSettings,
    context: &JobContext,
    index: usize,
    name: &str,
    sets: &[String],
    device: Device,
) -> Result<Vec<Cell>, JobError> {
    let input = context.input(&format!("models.{index}"))?;
    let place = |column: usize| format!("cells/{index}-{column}.json");
    let kept = |column: usize| -> Result<Option<Cell>, JobError> {
        match context.checkpoints.get(&place(column)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    let mut cells = Vec::new();
    let mut loaded: Option<(Decoder, Tokenizer)> = None;
    for (column, set) in settings.data.iter().enumerate() {
        context.cancellation.check()?;
        if let Some(cell) = kept(column)? {
            cells.push(cell);
            continue;
        }
        let (decoder, tokenizer) = match &mut loaded {
            Some(loaded) => loaded,
            None => {
                let decoder = Decoder::load(&input.directory()?, device).blame(format!("loading {name}"))?;
                let tokenizer =
                    Tokenizer::load(&input.folder()?).blame(format!("loading the tokenizer of {name}"))?;
                loaded.insert((decoder, tokenizer))
            }
        };
        let mut cell = cell(settings, context, (name, decoder, tokenizer), column, set)?;
        cell.data.clone_from(&sets[column]);
        let bytes = serde_json::to_vec(&cell).map_err(|error| JobError::bug(error.to_string()))?;
        context.checkpoints.put(&place(column), bytes)?;
        cells.push(cell);
    }
    Ok(cells)
}

fn cell(
    settings: &EvaluateSettings,
    context: &JobContext,
    (name, decoder, tokenizer): (&str, &Decoder, &Tokenizer),
    column: usize,
    set: &DataSet,
) -> Result<Cell, JobError> {
    let input = context.input(&format!("data.{column}.source"))?;
    let data = set.label(input).to_owned();
    let how = TokenizeOptions {
        add_eos: tokenizer.eos().is_some(),
        completion_only: true,
        ..TokenizeOptions::default()
    };
    let documents: Vec<Document> = data_set::documents(set, input, tokenizer, &how)?;
    let most = decoder.config().max_positions.min(2048);
    let options = LikelihoodOptions {
        context: settings.context.map_or(most, |context| context as usize),
        batch_tokens: settings.batch_tokens as usize,
    };
    let mut before = None;
    let measured = measure(
        decoder,
        &documents,
        &options,
        &settings.wanted(),
        &mut |done, all| {
            if before.is_none() {
                context
                    .progress
                    .begin(&format!("{name} on {data}"), Some(all), "tokens");
            }
            context.progress.advance(done.min(all) - before.unwrap_or(0));
            before = Some(done.min(all));
            !context.cancellation.is_cancelled()
        },
    );
    let measured = match measured {
        Err(EvaluateError::Cancelled) => return Err(JobError::cancelled()),
        other => other.blame(format!("measuring {name} on {data}"))?,
    };
    let scored = measured.scored;
    context.progress.metric(&data, scored.total.nll);
    let finite = |scores: Vec<f32>| {
        scores
            .into_iter()
            .map(|score| (!score.is_nan()).then_some(score))
            .collect()
    };
    let tokens = settings
        .per_token
        .then(|| scored.tokens.into_iter().map(finite).collect());
    Ok(Cell {
        model: name.to_owned(),
        data,
        total: scored.total,
        documents: scored.documents,
        calibration: measured.calibration,
        block_influence: measured.block_influence,
        tokens,
    })
}

fn score(metric: Metric, bins: u32, cell: &Cell) -> Option<Score> {
    let (value, stderr) = metric.of(cell)?;
    Some(Score {
        model: cell.model.clone(),
        dataset: cell.data.clone(),
        metric: metric.title(bins),
        value,
        stderr,
        count: cell.total.documents,
        lower_is_better: metric.lower_is_better(),
    })
}

/// The reliability diagram of models on one data set: how often tokens came, against the probability they were given.
fn reliability(cells: &[&Cell]) -> Option<Figure> {
    let line = |cell: &&Cell| {
        let bins = &cell.calibration.as_ref()?.full;
        let filled: Vec<&Bin> = bins.iter().filter(|bin| bin.predictions > 0).collect();
        let share = |part: f64, bin: &Bin| part / bin.predictions as f64;
        Some(Line {
            name: cell.model.clone(),
            x: filled.iter().map(|bin| share(bin.mass, bin)).collect(),
            y: filled.iter().map(|bin| share(bin.hits as f64, bin)).collect(),
        })
    };
    let mut lines: Vec<Line> = cells.iter().filter_map(line).collect();
    if lines.is_empty() {
        return None;
    }
    lines.push(Line {
        name: "calibrated".to_owned(),
        x: vec![0.0, 1.0],
        y: vec![0.0, 1.0],
    });
    Some(Figure::Series {
        title: format!("Reliability on {}: all tokens of the vocabulary", cells[0].data),
        x_label: "probability given".to_owned(),
        y_label: "share that came".to_owned(),
        lines,
    })
}

/// Block Influence of models on one data set.
fn influences(cells: &[&Cell]) -> Option<Figure> {
    let line = |cell: &&Cell| {
        let layers = &cell.block_influence.as_ref()?.layers;
        Some(Line {
            name: cell.model.clone(),
            x: (0..layers.len()).map(|layer| layer as f64).collect(),
            y: layers.clone(),
        })
    };
    let lines: Vec<Line> = cells.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| Figure::Series {
        title: format!("Block Influence on {}", cells[0].data),
        x_label: "layer, from 0".to_owned(),
        y_label: "1 − mean cosine of a layer's input and output".to_owned(),
        lines,
    })
}

/// How far each model is from the first, paired by document.
fn differences(models: &[String], columns: usize, cells: &[Cell]) -> Figure {
    let data = cells.iter().take(columns).map(|cell| cell.data.clone());
    let cell = |model: usize, column: usize| &cells[model * columns + column];
    let row = |model: usize| {
        let differences = (0..columns).map(|column| {
            match paired_difference(&cell(model, column).documents, &cell(0, column).documents) {
                Some(found) => match found.stderr {
                    Some(stderr) => format!("{:+.4} ± {stderr:.4}", found.nll),
                    None => format!("{:+.4}", found.nll),
                },
                None => "other tokens".to_owned(),
            }
        });
        std::iter::once(models[model].clone())
            .chain(differences)
            .collect()
    };
    Figure::Table {
        title: format!(
            "Difference from {} in nats a token, paired by document",
            models[0]
        ),
        columns: std::iter::once("model".to_owned()).chain(data).collect(),
        rows: (1..models.len()).map(row).collect(),
    }
}

fn write(settings: &EvaluateSettings, context: &JobContext, cells: &[Cell]) -> Result<(), JobError> {
    let bug = |error: serde_json::Error| JobError::bug(error.to_string());
    let totals: Vec<_> = cells
        .iter()
        .map(|cell| {
            let mut line = json!({"model": cell.model, "data": cell.data, "nll": cell.total});
            if let Some(calibration) = &cell.calibration {
                line["calibration"] = json!(calibration);
            }
            if let Some(influence) = &cell.block_influence {
                line["block_influence"] = json!(influence);
            }
            for (at, k) in TOP.iter().enumerate() {
                if let Some((value, stderr)) = accuracy(&cell.documents, at) {
                    line[format!("top_{k}_accuracy")] = json!({"value": value, "stderr": stderr});
                }
            }
            line
        })
        .collect();
    let document = json!({"context": settings.context, "scores": totals});
    context
        .publication
        .put(SCORES_FILE, serde_json::to_vec_pretty(&document).map_err(bug)?)?;
    let mut lines = Vec::new();
    for cell in cells {
        for (index, scored) in cell.documents.iter().enumerate() {
            let tokens = cell.tokens.as_ref().map(|tokens| &tokens[index]);
            let mut line = json!({"model": cell.model, "data": cell.data, "id": scored.id, "tokens": scored.tokens, "nll": scored.nll});
            for (k, correct) in TOP.iter().zip(&scored.correct) {
                line[format!("top_{k}")] = json!(correct);
            }
            if let Some(tokens) = tokens {
                line["token_nll"] = json!(tokens);
            }
            lines.extend(serde_json::to_vec(&line).map_err(bug)?);
            lines.push(b'\n');
        }
    }
    context.publication.put(DOCUMENTS_FILE, lines)?;
    Ok(())
}
