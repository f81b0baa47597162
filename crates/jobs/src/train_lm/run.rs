//! Doing a training: data, trainer, session, and what is published of it.

use std::sync::Arc;

use tributary_data::{Loader, LoaderOptions, Padding, TokenizeOptions};
use tributary_model::{Device, ModelConfig, ModelError};
use tributary_pipeline::{Figure, JobContext, JobError, Line, Outcome};
use tributary_store::{Lineage, Producer, Publication, Store};
use tributary_tensorfile::Checkpoint;
use tributary_train::{
    Cadence, METRICS_FILE, Provenance, Session, StepMetrics, TrainError, Trainer, to_json_lines,
};

use super::follower::Reporter;
use super::origin::{self, Origin};
use super::settings::{LossOn, Publish, StartSettings, TrainLmSettings};
use super::{STATE_FOLDER, TrainLm, kept_folder};
use crate::blame::Blame;
use crate::data_set;
use crate::trained_on;

/// What is computed at once, unless `batch.micro_sequences` says otherwise.
pub(super) const ACTIVATION_BYTES: u64 = 2 << 30;
/// Longest row by default, in tokens.
const DEFAULT_LENGTH: usize = 1024;

/// Tokens of a row.
pub(super) fn length(settings: &TrainLmSettings, config: &ModelConfig) -> usize {
    settings
        .batch
        .length
        .map_or(config.max_positions.min(DEFAULT_LENGTH), |length| length as usize)
}

/// Rows computed at once: the largest divisor of a step's rows whose activations fit.
fn micro_sequences(settings: &TrainLmSettings, config: &ModelConfig) -> usize {
    if let Some(rows) = settings.batch.micro_sequences {
        return rows as usize;
    }
    // f32 values that the backward pass keeps of a token, roughly.
    let layer = 10 * config.hidden_size + 4 * config.intermediate_size;
    let row = 4 * (config.layers * layer * length(settings, config)) as u64;
    let rows = settings.batch.sequences as usize;
    let fits = |micro: &usize| rows.is_multiple_of(*micro) && *micro as u64 * row <= ACTIVATION_BYTES;
    (1..=rows).rev().find(fits).unwrap_or(1)
}

/// Trains and writes everything but the manifest.
pub(super) fn run(settings: &TrainLmSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
    let device: Device = context.device.parse().blame("choosing the device")?;
    let origin = Origin::open(&settings.start, context)?;
    let length = length(settings, &origin.config);
    let micro = micro_sequences(settings, &origin.config);
    let options = settings.options(settings.batch.sequences as usize / micro);
    let loader = loader(settings, context, &origin, micro, length)?;
    let mut reporter = reporter(
        settings,
        context,
        &origin,
        length,
        micro * length * options.accumulate,
    )?;
    let session = Session::new(
        context.checkpoints.clone(),
        cadence(settings, origin.resumed_at),
        provenance(settings, context, &origin),
    );

    let mut begin = |weights: Option<&Store>| -> Result<Trainer, TrainError> {
        let open = |folder: &Store| Checkpoint::open(&folder.directory()).map_err(ModelError::from);
        let weights = weights.map(open).transpose()?;
        Trainer::new(
            origin.config.clone(),
            device,
            origin.start.clone(),
            weights,
            loader.clone(),
            options,
        )
    };
    let resumes = origin.resumes.clone();
    let mut trainer = session
        .trainer(&mut reporter, &mut |place| {
            let mut trainer = begin(place)?;
            if let (None, Some(state)) = (place, &resumes) {
                trainer.restore(state)?;
            }
            Ok(trainer)
        })
        .blame("beginning the training")?;
    if trainer.step_count() > settings.steps {
        let (done, steps) = (trainer.step_count(), settings.steps);
        return Err(JobError::config(format!(
            "the state to resume has done {done} steps, and `steps` asks for {steps} in all"
        )));
    }
    let left = settings.steps - trainer.step_count();
    context
        .progress
        .begin("training", Some(left * reporter.tokens_a_step), "tokens");
    let outcome = session.run(&mut trainer, &mut reporter);
    if let Some(failure) = reporter.failure.take() {
        return Err(failure);
    }
    outcome.blame("training")?;
    publish(
        settings,
        context,
        &origin,
        &session,
        &trainer,
        &mut reporter,
        &mut begin,
    )
}

fn loader(
    settings: &TrainLmSettings,
    context: &JobContext,
    origin: &Origin,
    rows: usize,
    len: usize,
) -> Result<Loader, JobError> {
    context.progress.begin("tokenising", None, "documents");
    let documents = data_set::all_documents(
        "data",
        &settings.data,
        context,
        &origin.tokenizer,
        &tokenize_options(settings),
    )?;
    context.progress.advance(documents.len() as u64);
    let packing = settings.batch.packing;
    let options = LoaderOptions {
        rows,
        len,
        seed: origin.seed,
        shuffle: settings.batch.shuffle,
        pack: packing,
        padding: if packing { Padding::Full } else { Padding::Longest },
        pad: origin.tokenizer.pad(),
    };
    Loader::new(Arc::new(documents), options).blame("making batches")
}

fn tokenize_options(settings: &TrainLmSettings) -> TokenizeOptions {
    TokenizeOptions {
        completion_only: settings.loss_on == LossOn::Completion,
        ..TokenizeOptions::default()
    }
}

fn reporter(
    settings: &TrainLmSettings,
    context: &JobContext,
    origin: &Origin,
    length: usize,
    tokens_a_step: usize,
) -> Result<Reporter, JobError> {
    let validation = match &settings.validation {
        Some(validation) => {
            let options = tokenize_options(settings);
            data_set::all_documents(
                "validation.data",
                &validation.data,
                context,
                &origin.tokenizer,
                &options,
            )?
        }
        None => Vec::new(),
    };
    Ok(Reporter {
        progress: Arc::clone(&context.progress),
        cancellation: context.cancellation.clone(),
        tokens_a_step: tokens_a_step as u64,
        validation,
        context: length,
        failure: None,
    })
}

fn cadence(settings: &TrainLmSettings, resumed_at: u64) -> Cadence {
    Cadence {
        checkpoint_every: settings.checkpoints.every,
        keep_last: settings.checkpoints.keep_last as usize,
        keep_every: settings.checkpoints.keep_every,
        validate_every: settings.validation.as_ref().map(|validation| validation.every),
        keep_best: settings.publish == Publish::Best,
        resumed_at,
    }
}

fn provenance(settings: &TrainLmSettings, context: &JobContext, origin: &Origin) -> Provenance {
    use tributary_pipeline::TypedJob as _;
    let lineage = |(field, input): (&str, &tributary_pipeline::ResolvedInput)| Lineage {
        name: field.to_owned(),
        kind: input.kind.clone(),
        digest: input.digest.clone(),
    };
    Provenance {
        inputs: context.inputs().map(lineage).collect(),
        settings: serde_json::to_value(settings).unwrap_or_default(),
        producer: Producer {
            name: "tributary".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            job: TrainLm::KIND.to_owned(),
            job_version: TrainLm::VERSION,
        },
        start: origin.digest.clone(),
        files: origin.files.clone(),
    }
}

/// Writes the model, its tokenizer, the log, and what else was asked for.
fn publish(
    settings: &TrainLmSettings,
    context: &JobContext,
    origin: &Origin,
    session: &Session,
    trainer: &Trainer,
    reporter: &mut Reporter,
    begin: &mut dyn FnMut(Option<&Store>) -> Result<Trainer, TrainError>,
) -> Result<Outcome, JobError> {
    let publication = &context.publication;
    let dtype = settings.save_dtype.dtype();
    context.progress.begin("publishing", None, "models");
    let best = match settings.publish {
        Publish::Best => session
            .best_checkpoint(trainer, reporter)
            .blame("finding the best checkpoint")?,
        Publish::Last => None,
    };
    let mut facts = session
        .facts(trainer, dtype)
        .blame("measuring the distance from the start")?;
    match &best {
        Some(place) => {
            let chosen = begin(Some(place)).blame("loading the best checkpoint")?;
            chosen
                .save_model(publication, "", dtype)
                .blame("writing the model")?;
            let measured = session
                .facts(&chosen, dtype)
                .blame("measuring the distance from the start")?;
            for fact in ["distance_squared", "dose"] {
                facts.insert(fact.into(), measured[fact].clone());
            }
            facts.insert(
                "published".into(),
                place.url().rsplit('/').next().unwrap_or_default().into(),
            );
        }
        None => trainer
            .save_model(publication, "", dtype)
            .blame("writing the model")?,
    }
    put_files(publication, "", &origin.files)?;
    publication.put(METRICS_FILE, to_json_lines(trainer.log()))?;
    context.progress.advance(1);
    if settings.save_state {
        let folder = format!("{STATE_FOLDER}/");
        trainer
            .save_state(publication, &folder)
            .blame("writing the training state")?;
        put_files(publication, &folder, &origin.files)?;
        context.progress.advance(1);
    }
    let kept = session
        .kept(trainer, reporter)
        .blame("finding the kept checkpoints")?;
    for (step, place) in kept {
        context.cancellation.check()?;
        let folder = format!("{}/", kept_folder(step));
        let model = begin(Some(&place)).blame("loading a kept checkpoint")?;
        model
            .save_model(publication, &folder, dtype)
            .blame("writing a kept model")?;
        put_files(publication, &folder, &origin.files)?;
        context.progress.advance(1);
    }
    let last = trainer.log().last();
    let outcome = Outcome {
        facts,
        figures: figures(trainer.log()),
    }
    .fact("loss", last.map_or(f64::NAN, |line| line.loss));
    let start = match &settings.start {
        // Of a model whose tokenizer is taken no weight is.
        StartSettings::New(_) => None,
        _ => Some(context.input(&origin::declare(&settings.start).field)?),
    };
    trained_on::tell(outcome, start, &settings.data, context)
}

fn put_files(publication: &Publication, folder: &str, files: &[(String, Vec<u8>)]) -> Result<(), JobError> {
    for (name, bytes) in files.iter().filter(|(name, _)| name != "config.json") {
        publication.put(&format!("{folder}{name}"), bytes.clone())?;
    }
    Ok(())
}

/// The curves of a log.
fn figures(log: &[StepMetrics]) -> Vec<Figure> {
    let line = |name: &str, points: Vec<(f64, f64)>| {
        let (x, y) = points.into_iter().unzip();
        Line {
            name: name.to_owned(),
            x,
            y,
            ..Line::default()
        }
    };
    let measured = |line: &StepMetrics| Some((line.step as f64, line.validation_loss?));
    let mut losses = vec![line("training", thinned(log, |line| line.loss))];
    let validation: Vec<(f64, f64)> = log.iter().filter_map(measured).collect();
    if !validation.is_empty() {
        losses.push(line("validation", validation));
    }
    let series = |title: &str, y_label: &str, lines: Vec<Line>| Figure::Series {
        title: title.to_owned(),
        x_label: "step".to_owned(),
        y_label: y_label.to_owned(),
        lines,
    };
    vec![
        series("Loss", "nats a token", losses),
        series(
            "Gradient norm",
            "before clipping",
            vec![line("gradient norm", thinned(log, |line| line.gradient_norm))],
        ),
        series(
            "Learning rate",
            "",
            vec![line("learning rate", thinned(log, |line| line.learning_rate))],
        ),
    ]
}

/// At most so many points of a curve are shown; each is the mean of the steps it stands for.
const POINTS: usize = 400;

fn thinned(log: &[StepMetrics], value: impl Fn(&StepMetrics) -> f64) -> Vec<(f64, f64)> {
    let stretch = log.len().div_ceil(POINTS).max(1);
    let mean = |lines: &[StepMetrics], of: &dyn Fn(&StepMetrics) -> f64| {
        lines.iter().map(of).sum::<f64>() / lines.len() as f64
    };
    log.chunks(stretch)
        .map(|lines| (mean(lines, &|line| line.step as f64), mean(lines, &value)))
        .collect()
}
