//! `trib evaluate MODEL --task FILE`: tasks in lm-evaluation-harness's words.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Value, json};
use tributary_data::{Source, Tokenizer};
use tributary_evaluate::{AnswerOptions, BuiltIn, Exercise, Task, TaskScore, remark_on, summarise_answers};
use tributary_model::Decoder;

use crate::exit::Failure;
use crate::output::{bar, line, say};

/// A task with what its rows ask.
pub(super) struct Asked {
    task: Task,
    exercise: Exercise,
}

/// Where a task's parts are.
pub(super) struct Places<'a> {
    /// A file, or the name of a built-in task.
    pub(super) task: &'a str,
    pub(super) rows: Option<&'a str>,
    pub(super) examples: Option<&'a str>,
}

/// Reads a task and the rows it asks about: those given, or of the file it names (relative to itself).
pub(super) fn read(places: &Places<'_>, limit: Option<usize>) -> Result<Asked, Failure> {
    let file = places.task;
    let folder = Path::new(file).parent().unwrap_or(Path::new("")).to_owned();
    let task = match BuiltIn::find(file) {
        Some(built_in) if !Path::new(file).is_file() => built_in.task(),
        _ => {
            let text = std::fs::read_to_string(file).map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    let built_in = BuiltIn::ALL.map(BuiltIn::name).join(", ");
                    Failure::usage(format!("{file}: {error} (built in are: {built_in})"))
                }
                _ => Failure::configuration(format!("{file}: {error}")),
            })?;
            let mut include = |name: &str| {
                let place = folder.join(name);
                std::fs::read_to_string(&place).map_err(|error| format!("{}: {error}", place.display()))
            };
            Task::parse(&text, &mut include)
        }
    };
    let task = task.map_err(|error| Failure::configuration(format!("{file}: {error}")))?;
    let place = match (places.rows, &task.data_file) {
        (Some(data), _) => data.to_owned(),
        (None, Some(name)) if name.contains("://") => name.clone(),
        (None, Some(name)) => folder.join(name).to_string_lossy().into_owned(),
        (None, None) => {
            let message = format!(
                "{file}: it names no local file of rows; give one: --data ROWS.jsonl or ROWS.parquet (`datasets.load_dataset(…)[\"test\"].to_parquet(…)` writes it)"
            );
            return Err(Failure::usage(message));
        }
    };
    if task.needs_examples() && places.examples.is_none() {
        let message = format!("{file}: it shows examples from other rows; give them: --examples ROWS.jsonl");
        return Err(Failure::usage(message));
    }
    let rows = Source::open(&place)?.rows()?;
    let examples = places
        .examples
        .map(|place| Source::open(place)?.rows())
        .transpose()?;
    let exercise = task
        .exercise(&rows, examples.as_deref(), limit.unwrap_or(usize::MAX))
        .map_err(|error| Failure::data(format!("{file}: {place}, {error}")))?;
    if exercise.is_empty() {
        return Err(Failure::data(format!("{file}: {place} has nothing to answer")));
    }
    Ok(Asked { task, exercise })
}

/// Asks the model; says the scores, or gives them as JSON.
pub(super) fn ask(
    asked: &Asked,
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    options: &AnswerOptions,
    is_json: bool,
) -> Result<Value, Failure> {
    let bar = bar(asked.exercise.len() as u64, "answers");
    let mut answers = Vec::new();
    for portion in asked.exercise.portions() {
        answers.extend(
            asked
                .exercise
                .answer(portion, decoder, tokenizer, options, &mut |more| {
                    bar.inc(more);
                    true
                })?,
        );
    }
    bar.finish_and_clear();
    let scores = summarise_answers(&answers);
    if let Some(remark) = remark_on(&answers) {
        say(remark);
    }
    if !is_json {
        line(describe(&asked.task, &scores))?;
    }
    Ok(json!({
        "task": asked.task.name, "version": asked.task.version, "scores": scores, "answers": answers,
    }))
}

fn describe(task: &Task, scores: &[TaskScore]) -> String {
    let one = |score: &TaskScore| match score.stderr {
        Some(stderr) => format!("{} {:.4} ± {stderr:.4}", score.name, score.value),
        None => format!("{} {:.4}", score.name, score.value),
    };
    let rows = scores.first().map_or(0, |score| score.rows);
    let scores: Vec<String> = scores.iter().map(one).collect();
    format!("{}: {}, {rows} row(s)", task.name, scores.join(", "))
}
