//! `trib evaluate MODEL --task FILE`: multiple-choice tasks in lm-evaluation-harness's words.

use std::path::Path;

use serde_json::{Value, json};
use tributary_data::{Source, Tokenizer};
use tributary_evaluate::{ChoiceScores, LikelihoodOptions, Question, Task, choose, summarise_choices};
use tributary_model::Decoder;

use crate::exit::Failure;
use crate::output::{bar, line};

/// A task with its questions.
pub(super) struct Asked {
    task: Task,
    questions: Vec<Question>,
}

/// Reads a task file and the rows it asks about: those of `data`, or of the file it names (relative to itself).
pub(super) fn read(file: &str, data: Option<&str>, limit: Option<usize>) -> Result<Asked, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{file}: {error}")))?;
    let folder = Path::new(file).parent().unwrap_or(Path::new("")).to_owned();
    let mut include = |name: &str| {
        let place = folder.join(name);
        std::fs::read_to_string(&place).map_err(|error| format!("{}: {error}", place.display()))
    };
    let task = Task::parse(&text, &mut include)
        .map_err(|error| Failure::configuration(format!("{file}: {error}")))?;
    let place = match (data, &task.data_file) {
        (Some(data), _) => data.to_owned(),
        (None, Some(name)) if name.contains("://") => name.clone(),
        (None, Some(name)) => folder.join(name).to_string_lossy().into_owned(),
        (None, None) => {
            let message = format!(
                "{file}: it names no local file of rows; give one: --data ROWS.jsonl (`datasets.load_dataset(…)[\"test\"].to_json(…)` writes it)"
            );
            return Err(Failure::usage(message));
        }
    };
    let rows = Source::open(&place)?.rows()?;
    let questions = task
        .questions(&rows, limit.unwrap_or(usize::MAX))
        .map_err(|error| Failure::data(format!("{file}: {place}, {error}")))?;
    if questions.is_empty() {
        return Err(Failure::data(format!("{file}: {place} has no question to ask")));
    }
    Ok(Asked { task, questions })
}

/// Asks the model; says the scores, or gives them as JSON.
pub(super) fn ask(
    asked: &Asked,
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    options: &LikelihoodOptions,
    is_json: bool,
) -> Result<Value, Failure> {
    let bar = bar(0, "tokens");
    let records = choose(decoder, tokenizer, &asked.questions, options, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
        true
    })?;
    bar.finish_and_clear();
    let scores = summarise_choices(&records);
    if let (false, Some(scores)) = (is_json, &scores) {
        line(describe(&asked.task, scores))?;
    }
    Ok(json!({
        "task": asked.task.name, "version": asked.task.version, "scores": scores, "questions": records,
    }))
}

fn describe(task: &Task, scores: &ChoiceScores) -> String {
    let share = |value: f64, stderr: Option<f64>| match stderr {
        Some(stderr) => format!("{value:.4} ± {stderr:.4}"),
        None => format!("{value:.4}"),
    };
    format!(
        "{}: acc {}, acc_norm {}, {} question(s)",
        task.name,
        share(scores.acc, scores.acc_stderr),
        share(scores.acc_norm, scores.acc_norm_stderr),
        scores.questions
    )
}
