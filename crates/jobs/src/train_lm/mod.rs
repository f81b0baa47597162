//! `train.lm`: a causal language model from scratch, from other weights, or on from where a training was.

mod follower;
mod origin;
mod run;
mod settings;

pub use settings::{
    BatchSettings, CheckpointSettings, LossOn, NewModel, OptimizerSettings, Publish, SaveDtype,
    ScheduleSettings, StartSettings, TrainLmSettings, ValidationSettings,
};

use tributary_model::{Device, ModelConfig};
use tributary_pipeline::{
    Estimate, InputDeclaration, JobContext, JobError, MODEL_KIND, Outcome, OutputDeclaration, PlanContext,
    Problem, TypedJob,
};
use tributary_train::{METRICS_FILE, STATE_KIND, TrainError};

use crate::data_set;

/// Most rows of a step: some hundred million tokens.
const MAX_SEQUENCES: u32 = 1 << 17;
/// Most models that a step publishes beside the last one.
const MAX_KEPT: u64 = 1000;
/// Folder of the artifact that holds the training state, if it is published.
const STATE_FOLDER: &str = "state";

/// The job kind `train.lm`.
#[derive(Clone, Copy, Debug)]
pub struct TrainLm;

impl TypedJob for TrainLm {
    type Settings = TrainLmSettings;
    const KIND: &'static str = "train.lm";
    const VERSION: u32 = 3;
    const USES_DEVICE: bool = true;
    const SUMMARY: &'static str = "Trains a language model: new, from other weights (warm_start), or on from a training state (resume).";
    const EXAMPLE: &'static str = "- id: tuned
  job: train.lm
  with:
    start: {warm_start: \"${base.model}\"}
    data: [{source: \"${corpora.facts}\", split: train}]
    steps: 200
    learning_rate: 1.0e-3
    schedule: {shape: cosine, warmup_steps: 20}
    batch: {sequences: 16, length: 256}
  resources: {cpus: 2}
";

    fn inputs(&self, settings: &TrainLmSettings) -> Vec<InputDeclaration> {
        let mut inputs = vec![origin::declare(&settings.start)];
        inputs.extend(data_set::declare("data", &settings.data));
        if let Some(validation) = &settings.validation {
            inputs.extend(data_set::declare("validation.data", &validation.data));
        }
        inputs
    }

    fn outputs(&self, settings: &TrainLmSettings) -> Vec<OutputDeclaration> {
        let mut outputs = vec![
            OutputDeclaration::new("model", MODEL_KIND, ""),
            OutputDeclaration::new("metrics", "metrics", METRICS_FILE),
        ];
        if settings.save_state {
            outputs.push(OutputDeclaration::new("state", STATE_KIND, STATE_FOLDER));
        }
        let kept = |step: u64| OutputDeclaration::new(format!("step_{step}"), MODEL_KIND, kept_folder(step));
        outputs.extend(settings.kept_steps().into_iter().map(kept));
        outputs
    }

    fn check(&self, settings: &TrainLmSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let (mut problems, config) = origin::check(&settings.start, plan);
        problems.extend(data_set::check("data", &settings.data, plan));
        if let Some(validation) = &settings.validation {
            problems.extend(data_set::check("validation.data", &validation.data, plan));
            if validation.every == 0 {
                problems.push(
                    Problem::new("validation.every", "must not be 0")
                        .help("leave `validation` out to measure nothing"),
                );
            }
        }
        if settings.publish == Publish::Best && settings.validation.is_none() {
            let problem = Problem::new(
                "publish",
                "the best weights are those with the lowest validation loss, and there is no validation",
            );
            problems.push(problem.help("add `validation: {data: […]}`"));
        }
        if settings.checkpoints.keep_every.is_some() && matches!(settings.start, StartSettings::Resume(_)) {
            let problem = Problem::new(
                "checkpoints.keep_every",
                "a resumed training has only the steps after its state, and which those are is not known here",
            );
            problems.push(
                problem.help("leave it out, or cut the training into several steps that resume each other"),
            );
        }
        if settings.kept_count() > MAX_KEPT {
            let message = format!(
                "{} models on the way are more than {MAX_KEPT}",
                settings.kept_count()
            );
            problems
                .push(Problem::new("checkpoints.keep_every", message).help("a larger number keeps fewer"));
        }
        if let Err(TrainError::Option { option, problem }) = settings.options(1).check() {
            problems.push(Problem::new(TrainLmSettings::field(option), problem));
        }
        check_batch(settings, config.as_ref(), &mut problems);
        if let Err(error) = plan.machine.device.parse::<Device>() {
            problems.push(Problem::new("", error.to_string()));
        }
        problems
    }

    fn estimate(&self, settings: &TrainLmSettings, plan: &PlanContext<'_>) -> Option<Estimate> {
        let (_, config) = origin::check(&settings.start, plan);
        let rows = u64::from(settings.batch.sequences);
        let Some(config) = config else {
            return Some(Estimate {
                note: Some(format!("{} steps", settings.steps)),
                ..Estimate::default()
            });
        };
        let tokens = rows * run::length(settings, &config) as u64;
        let parameters = config.parameters() as u64;
        let size = settings.save_dtype.dtype().size() as u64;
        Some(Estimate {
            // Weights, gradients and two moments in f32, and what is computed at once.
            memory: Some(parameters * 16 + run::ACTIVATION_BYTES),
            bytes_written: Some(parameters * size),
            note: Some(format!(
                "{} steps of {tokens} tokens, {:.1} M parameters",
                settings.steps,
                parameters as f64 / 1e6
            )),
            ..Estimate::default()
        })
    }

    fn run(&self, settings: &TrainLmSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        crate::threads::install(context.threads, || run::run(settings, context))?
    }
}

/// Where the model after `step` lies in the artifact, for `checkpoints.keep_every`.
fn kept_folder(step: u64) -> String {
    format!("steps/{step:08}")
}

fn check_batch(settings: &TrainLmSettings, config: Option<&ModelConfig>, problems: &mut Vec<Problem>) {
    let batch = &settings.batch;
    if batch.sequences == 0 {
        problems.push(Problem::new("batch.sequences", "must not be 0"));
    } else if batch.sequences > MAX_SEQUENCES {
        let message = format!(
            "{} rows are more than a step can have, {MAX_SEQUENCES}",
            batch.sequences
        );
        problems.push(Problem::new("batch.sequences", message));
    }
    if let Some(micro) = batch.micro_sequences
        && (micro == 0 || !batch.sequences.is_multiple_of(micro))
    {
        let message = format!(
            "{micro} does not divide the {} sequences of a step",
            batch.sequences
        );
        problems.push(Problem::new("batch.micro_sequences", message));
    }
    if batch.length == Some(0) {
        problems.push(Problem::new("batch.length", "must not be 0"));
    }
    if let (Some(length), Some(config)) = (batch.length, config)
        && length as usize > config.max_positions
    {
        let message = format!(
            "{length} tokens are more than the model's context of {}",
            config.max_positions
        );
        problems
            .push(Problem::new("batch.length", message).help(format!("at most {}", config.max_positions)));
    }
    if settings.checkpoints.keep_last == 0 {
        problems.push(Problem::new(
            "checkpoints.keep_last",
            "must not be 0: an interrupted training goes on from the newest",
        ));
    }
}
