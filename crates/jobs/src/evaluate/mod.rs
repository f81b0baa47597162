//! `evaluate`: any number of models on any number of data sets, with errors, differences and every document's score.
//!
//! What one model scores on one data set is kept in the step's checkpoints as soon as it is known, so an interrupted
//! evaluation repeats at most one of them.

mod cell;
mod comparison;
mod figures;
mod model;
mod records;
mod settings;
mod tasks;

use std::collections::BTreeSet;

use serde_json::json;
use tributary_data::Tokenizer;
use tributary_evaluate::{accuracy, remark_on, summarise_answers};
use tributary_model::{Device, load_config};
use tributary_pipeline::{
    Estimate, Figure, InputDeclaration, InputRef, JobContext, JobError, MODEL_KIND, Note, Outcome,
    OutputDeclaration, PlanContext, Problem, TypedJob,
};
use tributary_train::STATE_KIND;

use crate::blame::Blame;
use crate::data_set;
use crate::names::{distinct, labels};
use crate::task_set;
use cell::{Cell, cells};
pub use comparison::{ComparedRow, Comparison, compare_evaluations};
use figures::{differences, influences, reliability, score, states};
use model::Model;
use settings::TOP;
pub use settings::{EvaluateSettings, Metric};
use tasks::{Answers, answers};

/// The outcome as one JSON document.
const SCORES_FILE: &str = "scores.json";
/// Every document's score, one JSON object a line.
const DOCUMENTS_FILE: &str = "documents.jsonl";

/// The job kind `evaluate`.
#[derive(Clone, Copy, Debug)]
pub struct Evaluate;

impl TypedJob for Evaluate {
    type Settings = EvaluateSettings;
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 6;
    const USES_DEVICE: bool = true;
    const SUMMARY: &'static str = "Measures models on texts and tasks: likelihood, accuracy, calibration, answers; with standard errors.";
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
        inputs.extend(task_set::declare("tasks", &settings.tasks));
        inputs
    }

    fn outputs(&self, _: &EvaluateSettings) -> Vec<OutputDeclaration> {
        vec![
            OutputDeclaration::new("scores", "metrics", SCORES_FILE),
            OutputDeclaration::new("documents", "metrics", DOCUMENTS_FILE),
        ]
    }

    fn check(&self, settings: &EvaluateSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let mut problems = match settings.data.is_empty() && !settings.tasks.is_empty() {
            true => Vec::new(),
            false => data_set::check("data", &settings.data, plan),
        };
        let models: Vec<_> = (0..settings.models.len())
            .filter_map(|index| plan.input(&format!("models.{index}")))
            .collect();
        problems.extend(task_set::check("tasks", &settings.tasks, &models, plan));
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
        if settings.batch_tokens == 0 {
            problems.push(Problem::new("batch_tokens", "must be at least 1").help("4096 is usual"));
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
            "{} model(s) on {} data set(s) and {} task(s)",
            settings.models.len(),
            settings.data.len(),
            settings.tasks.len()
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
    let inputs = (0..settings.models.len())
        .map(|index| context.input(&format!("models.{index}")))
        .collect::<Result<Vec<_>, _>>()?;
    let models = labels(&inputs);
    let columns = settings.data.len();
    let mut sets = Vec::new();
    for (column, set) in settings.data.iter().enumerate() {
        let name = set
            .label(context.input(&format!("data.{column}.source"))?)
            .to_owned();
        sets.push(distinct(name, column, &sets));
    }
    let asked = task_set::ask("tasks", &settings.tasks, context)?;
    let (mut all, mut answered, mut windows) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, name) in models.iter().enumerate() {
        let mut model = Model::new(context, index, name, device)?;
        all.extend(cells(settings, context, index, &mut model, &sets)?);
        answered.extend(answers(settings, context, index, &mut model, &asked)?);
        windows.insert(model.window(settings)?);
    }
    let cells = all;
    write(settings, context, &cells, &answered)?;
    let scores = settings.metrics.iter().flat_map(|metric| {
        cells
            .iter()
            .filter_map(|cell| score(*metric, settings.bins, cell))
    });
    let scores = scores.chain(answered.iter().flat_map(tasks::scores));
    let mut outcome = Outcome::default().figure(Figure::Scores {
        scores: scores.collect(),
    });
    if models.len() > 1 && columns > 0 {
        outcome = outcome.figure(differences(&models, columns, &cells));
    }
    for column in 0..columns {
        let of_column: Vec<&Cell> = cells.iter().skip(column).step_by(columns).collect();
        let figures = [reliability(&of_column), influences(&of_column)];
        for figure in figures.into_iter().flatten().chain(states(&of_column)) {
            outcome = outcome.figure(figure);
        }
    }
    let remark = |found: &Answers| {
        let remark = remark_on(&found.answers)?;
        Some(Note::info(format!("{} on {}: {remark}", found.model, found.task)))
    };
    let notes: Vec<Note> = answered.iter().filter_map(remark).collect();
    if !notes.is_empty() {
        outcome = outcome.figure(Figure::Notes { notes });
    }
    let tokens: u64 = cells.iter().map(|cell| cell.total.tokens).sum();
    Ok(outcome
        .fact("models", models.len())
        .fact("data_sets", columns)
        .fact("windows", json!(windows))
        .fact("device", device.kind())
        .fact("precision", device.precision())
        .fact("tokens", tokens))
}

fn write(
    settings: &EvaluateSettings,
    context: &JobContext,
    cells: &[Cell],
    answered: &[Answers],
) -> Result<(), JobError> {
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
            if let Some(states) = &cell.hidden_states {
                line["hidden_states"] = json!(states);
            }
            for (at, k) in TOP.iter().enumerate() {
                if let Some((value, stderr)) = accuracy(&cell.documents, at) {
                    line[format!("top_{k}_accuracy")] = json!({"value": value, "stderr": stderr});
                }
            }
            line
        })
        .collect();
    let mut document = json!({"context": settings.context, "scores": totals});
    if !answered.is_empty() {
        let tasks: Vec<_> = answered
            .iter()
            .map(|found| {
                json!({
                    "model": found.model, "task": found.task, "version": found.version,
                    "scores": summarise_answers(&found.answers),
                })
            })
            .collect();
        document["tasks"] = json!(tasks);
    }
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
    for found in answered {
        for answer in &found.answers {
            let mut line = json!({"model": found.model, "task": found.task});
            if let (Some(line), Ok(serde_json::Value::Object(record))) =
                (line.as_object_mut(), serde_json::to_value(answer))
            {
                line.extend(record);
            }
            lines.extend(serde_json::to_vec(&line).map_err(bug)?);
            lines.push(b'\n');
        }
    }
    context.publication.put(DOCUMENTS_FILE, lines)?;
    if !cells.is_empty() {
        context
            .publication
            .put("documents.parquet", records::documents(cells)?)?;
    }
    if !answered.is_empty() {
        context
            .publication
            .put("answers.parquet", records::answers(answered)?)?;
    }
    Ok(())
}
