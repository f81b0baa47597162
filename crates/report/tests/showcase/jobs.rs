//! Jobs that compute nothing and show what real ones would: curves, scores, matrices, tables and notes from formulas.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_pipeline::*;

pub const TASKS: [&str; 4] = ["stories", "facts", "arithmetic", "instructions"];

/// A number in 0..1 that depends on the text and the index alone.
pub fn noise(text: &str, index: usize) -> f64 {
    let mut state = 0xcbf2_9ce4_8422_2325u64 ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in text.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state ^= state >> 31;
    state = state.wrapping_mul(0x94d0_49bb_1331_11eb);
    (state >> 11) as f64 / (1u64 << 53) as f64
}

fn model_output() -> Vec<OutputDeclaration> {
    vec![OutputDeclaration::new("model", "model", "")]
}

fn write_model(context: &JobContext, size: usize) -> Result<(), JobError> {
    context
        .publication
        .put("config.json", "{\"model_type\": \"llama\"}")?;
    context.publication.put("model.safetensors", vec![7u8; size])?;
    Ok(())
}

pub struct Synth;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SynthSettings {
    pub people: u32,
    pub documents: u32,
}

impl TypedJob for Synth {
    type Settings = SynthSettings;
    const KIND: &'static str = "synth";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Writes a small world.";
    const EXAMPLE: &'static str = "- {id: world, job: synth, with: {people: 3, documents: 4}}\n";

    fn inputs(&self, _: &SynthSettings) -> Vec<InputDeclaration> {
        Vec::new()
    }

    fn outputs(&self, _: &SynthSettings) -> Vec<OutputDeclaration> {
        let output = |task: &&str| OutputDeclaration::new(*task, "dataset", format!("{task}.jsonl"));
        TASKS.iter().map(output).collect()
    }

    fn run(&self, settings: &SynthSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        for task in TASKS {
            let line = format!("{{\"text\": \"{task}\"}}\n").repeat(settings.documents as usize);
            context.publication.put(&format!("{task}.jsonl"), line)?;
        }
        Ok(Outcome::default()
            .fact("documents", settings.documents * 4)
            .fact("people", settings.people))
    }
}

pub struct Train;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    pub data: Vec<InputRef>,
    #[serde(default)]
    pub start: Option<InputRef>,
    pub steps: u32,
    #[serde(default = "rate")]
    pub learning_rate: f64,
    #[serde(default = "schedule")]
    pub schedule: String,
    /// Breaks: `bug`, or `late` for one that passes.
    #[serde(default)]
    pub breaks: Option<String>,
}

fn rate() -> f64 {
    3e-4
}

fn schedule() -> String {
    "cosine".to_owned()
}

impl TypedJob for Train {
    type Settings = TrainSettings;
    const KIND: &'static str = "train.lm";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Trains, it says.";
    const EXAMPLE: &'static str = "- {id: t, job: train.lm, with: {data: [a.jsonl], steps: 5}}\n";

    fn inputs(&self, settings: &TrainSettings) -> Vec<InputDeclaration> {
        let data =
            settings.data.iter().enumerate().map(|(index, data)| {
                InputDeclaration::new(format!("data.{index}"), &["dataset", "file"], data)
            });
        let start = settings
            .start
            .iter()
            .map(|start| InputDeclaration::new("start", &["model"], start));
        data.chain(start).collect()
    }

    fn outputs(&self, _: &TrainSettings) -> Vec<OutputDeclaration> {
        model_output()
    }

    fn run(&self, settings: &TrainSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        match settings.breaks.as_deref() {
            Some("late") if context.attempt > 0 => {}
            Some("late") => {
                return Err(JobError::new(
                    JobErrorKind::Unavailable,
                    "the store did not answer for 30 s",
                ));
            }
            Some(_) => {
                return Err(JobError::bad_input(format!(
                    "the loss is not a number at step 118 of {}: the last finite loss was 9.41\n\
                     lower `learning_rate` (now {}) or clip gradients with `clip`",
                    settings.steps, settings.learning_rate
                )));
            }
            None => {}
        }
        write_model(context, 3_456_789)?;
        let name = context.step.clone();
        let from = if settings.start.is_some() { 2.1 } else { 8.3 };
        let to = if settings.start.is_some() { 1.15 } else { 1.9 };
        let loss = |step: f64, spread: f64| {
            let decay = (-4.0 * step / f64::from(settings.steps)).exp();
            to + (from - to) * decay + spread * (noise(&name, step as usize) - 0.5) * (0.6 + decay)
        };
        let steps: Vec<f64> = (1..=settings.steps).map(f64::from).collect();
        let checks: Vec<f64> = (0..=10)
            .map(|index| (f64::from(settings.steps) * f64::from(index) / 10.0).round())
            .collect();
        let (validation, train) = (
            checks.iter().map(|step| loss(*step, 0.02) + 0.04).collect(),
            steps.iter().map(|step| loss(*step, 0.28)).collect(),
        );
        let curves = Figure::Series {
            title: "loss".into(),
            x_label: "step".into(),
            y_label: "nats a token".into(),
            lines: vec![
                Line {
                    name: "train".into(),
                    x: steps.clone(),
                    y: train,
                    ..Line::default()
                },
                Line {
                    name: "validation".into(),
                    x: checks,
                    y: validation,
                    ..Line::default()
                },
            ],
        };
        let half = f64::from(settings.steps) / 2.0;
        let schedule = Figure::Series {
            title: "learning rate".into(),
            x_label: "step".into(),
            y_label: "learning rate".into(),
            lines: vec![Line {
                name: settings.schedule.clone(),
                y: steps
                    .iter()
                    .map(|step| settings.learning_rate * (1.0 + (step / half * 1.57).cos()) / 2.0)
                    .collect(),
                x: steps,
                ..Line::default()
            }],
        };
        let mut outcome = Outcome::default()
            .fact("parameters", 864_192)
            .fact("tokens", u64::from(settings.steps) * 4096)
            .fact("shift", 3.2517)
            .fact(
                "layers",
                (0..12).map(|layer| noise(&name, layer)).collect::<Vec<f64>>(),
            )
            .figure(curves);
        if settings.start.is_none() {
            outcome = outcome.figure(schedule);
        }
        Ok(outcome)
    }
}

pub struct Merge;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeSettings {
    pub method: String,
    pub base: InputRef,
    pub models: Vec<InputRef>,
}

impl TypedJob for Merge {
    type Settings = MergeSettings;
    const KIND: &'static str = "merge";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Merges, it says.";
    const EXAMPLE: &'static str = "- {id: m, job: merge, with: {method: linear, base: a, models: [b]}}\n";

    fn inputs(&self, settings: &MergeSettings) -> Vec<InputDeclaration> {
        let models = settings.models.iter().enumerate().map(|(index, model)| {
            InputDeclaration::new(format!("models.{index}"), &["model"], model).named()
        });
        let base = InputDeclaration::new("base", &["model"], &settings.base);
        std::iter::once(base).chain(models).collect()
    }

    fn outputs(&self, _: &MergeSettings) -> Vec<OutputDeclaration> {
        model_output()
    }

    fn run(&self, settings: &MergeSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        write_model(context, 3_456_789)?;
        let names: Vec<String> = (0..settings.models.len())
            .map(|index| Ok(context.input(&format!("models.{index}"))?.label.clone()))
            .collect::<Result<_, JobError>>()?;
        let weights: Vec<f64> = match settings.method.as_str() {
            "metagpt" => names
                .iter()
                .enumerate()
                .map(|(i, name)| 0.2 + 0.2 * noise(name, i))
                .collect(),
            _ => vec![1.0 / names.len() as f64; names.len()],
        };
        let cosine = |a: usize, b: usize| match a == b {
            true => 1.0,
            false => 0.34 * noise("cosine", a.min(b) * 10 + a.max(b)) - 0.09,
        };
        let table = Figure::Table {
            title: "coefficients".into(),
            columns: ["model", "λ", "‖τ‖", "n_eff"].map(str::to_owned).to_vec(),
            rows: names
                .iter()
                .zip(&weights)
                .enumerate()
                .map(|(index, (name, weight))| {
                    vec![
                        name.clone(),
                        format!("{weight:.4}"),
                        format!("{:.3}", 3.0 + noise(name, 9)),
                        format!("{:.1}", 240.0 + 9.0 * index as f64),
                    ]
                })
                .collect(),
        };
        let count = names.len();
        let matrix = Figure::Matrix {
            title: "cosines between task vectors".into(),
            rows: names.clone(),
            columns: names,
            values: (0..count)
                .map(|a| (0..count).map(|b| cosine(a, b)).collect())
                .collect(),
        };
        let mut notes = vec![Note::info(format!(
            "λ sums to {:.3}.",
            weights.iter().sum::<f64>()
        ))];
        if settings.method == "metagpt" {
            notes.push(Note::warning(
                "tune-facts and tune-stories have a cosine of 0.21 (above 0.2): MetaGPT's assumption of orthogonal task \
                 vectors holds only roughly, the coefficients may be too large.",
            ));
        }
        Ok(Outcome::default()
            .fact("method", settings.method.as_str())
            .figure(table)
            .figure(matrix)
            .figure(Figure::Notes { notes }))
    }
}

pub struct Evaluate;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateSettings {
    pub models: Vec<InputRef>,
    pub data: InputRef,
}

impl TypedJob for Evaluate {
    type Settings = EvaluateSettings;
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Evaluates, it says.";
    const EXAMPLE: &'static str = "- {id: e, job: evaluate, with: {models: [a], data: b}}\n";

    fn is_seeded(&self, _: &EvaluateSettings) -> bool {
        false
    }

    fn inputs(&self, settings: &EvaluateSettings) -> Vec<InputDeclaration> {
        let models = settings.models.iter().enumerate().map(|(index, model)| {
            InputDeclaration::new(format!("models.{index}"), &["model"], model).named()
        });
        std::iter::once(InputDeclaration::new("data", &["dataset"], &settings.data))
            .chain(models)
            .collect()
    }

    fn outputs(&self, _: &EvaluateSettings) -> Vec<OutputDeclaration> {
        vec![OutputDeclaration::new("metrics", "metrics", "metrics.json")]
    }

    fn run(&self, settings: &EvaluateSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        context.publication.put("metrics.json", "{}")?;
        let mut scores = Vec::new();
        for index in 0..settings.models.len() {
            let model = context.input(&format!("models.{index}"))?.label.clone();
            for task in TASKS {
                let is_own = model.ends_with(task);
                let is_merged = !model.starts_with("tune") && model != "base";
                let gain = if is_own {
                    0.62
                } else if is_merged {
                    0.35 + 0.12 * noise(&model, 1)
                } else {
                    0.0
                };
                let value = 1.9 - gain + 0.1 * noise(&format!("{model}{task}"), 3);
                let error = 0.022 + 0.02 * noise(task, index);
                let mut add = |metric: &str, value: f64, error: f64, lower_is_better: bool| {
                    scores.push(Score {
                        model: model.clone(),
                        dataset: task.to_owned(),
                        metric: metric.to_owned(),
                        value,
                        stderr: Some(error),
                        count: 200,
                        lower_is_better,
                    });
                };
                add("nll", value, error, true);
                add("perplexity", value.exp(), error * value.exp(), true);
            }
        }
        Ok(Outcome::default().figure(Figure::Scores { scores }))
    }
}

pub struct Show;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowSettings {
    /// Figures, as JSON.
    pub figures: String,
}

impl TypedJob for Show {
    type Settings = ShowSettings;
    const KIND: &'static str = "show";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Shows what it is given.";
    const EXAMPLE: &'static str = "- {id: s, job: show, with: {figures: \"[]\"}}\n";

    fn inputs(&self, _: &ShowSettings) -> Vec<InputDeclaration> {
        Vec::new()
    }

    fn outputs(&self, _: &ShowSettings) -> Vec<OutputDeclaration> {
        model_output()
    }

    fn run(&self, settings: &ShowSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        write_model(context, 10)?;
        let figures = Figure::from_json(settings.figures.as_bytes())
            .map_err(|error| JobError::bad_input(error.to_string()))?;
        let outcome = Outcome::default()
            .fact(settings.figures.as_str(), "a name")
            .fact("name", settings.figures.as_str());
        Ok(figures.into_iter().fold(outcome, Outcome::figure))
    }
}
