//! Two evaluations side by side: refused unless they asked the same of the same text, paired by document where they did.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tributary_evaluate::{
    Answer, DocumentScore, Interval, bootstrap_difference, is_exponential, paired_difference,
};
use tributary_store::Artifact;

use super::settings::{ACCURACIES, TOP};
use super::{DOCUMENTS_FILE, Evaluate};
use tributary_pipeline::{JobError, TypedJob};

/// Seed of the bootstrap: the same comparison gives the same interval.
const SEED: u64 = 1;

/// What two evaluations have in common, and where they part.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Identity of what was asked: program, job, text, tasks, context, device, precision. 64 hexadecimal digits.
    pub asked: String,
    /// A row for each model of the first and each of the second on each data set and task of both.
    pub rows: Vec<ComparedRow>,
}

/// Two models on one text or task.
#[derive(Clone, Debug, Serialize)]
pub struct ComparedRow {
    /// The data set or task.
    pub on: String,
    /// `nats a token`, `accuracy`, `top-5 accuracy`, or the score of a task; of a perplexity its logarithm.
    pub metric: String,
    /// A model of the first evaluation.
    pub first: String,
    /// One of the second.
    pub second: String,
    /// Second minus first, with the 95 % interval of a paired bootstrap over documents or questions.
    pub difference: Interval,
    /// Documents or questions.
    pub count: usize,
}

/// Compares the artifacts of two `evaluate` steps.
///
/// # Errors
/// [`JobErrorKind::BadInput`](tributary_pipeline::JobErrorKind::BadInput) if one is no evaluation, or if they cannot be compared;
/// the message says every reason.
pub fn compare_evaluations(first: &Artifact, second: &Artifact) -> Result<Comparison, JobError> {
    let [a, b] = [asked(first)?, asked(second)?];
    let mut differing = Vec::new();
    for ((name, one), (_, other)) in a.iter().zip(&b) {
        differences(name, one, other, &mut differing);
    }
    if !differing.is_empty() {
        let message = format!(
            "these evaluations cannot be compared, they differ in more than the models:\n  {}",
            differing.join("\n  ")
        );
        return Err(JobError::bad_input(message));
    }
    let asked = serde_json::to_vec(&a).map_err(|error| JobError::bug(error.to_string()))?;
    let [first, second] = [scores(first)?, scores(second)?];
    let mut rows = Vec::new();
    for ((on, metric, name), documents) in &first {
        let same = second
            .iter()
            .filter(|((other_on, other_metric, _), _)| other_on == on && other_metric == metric);
        for ((_, _, other), others) in same {
            let Some(difference) = bootstrap_difference(others, documents, SEED) else {
                let message = match paired_difference(others, documents) {
                    Some(_) => {
                        format!("{on} has too few documents or questions for an interval: two are needed")
                    }
                    None => format!(
                        "{name} and {other} were not scored on the same tokens of {on}: their tokenizers differ"
                    ),
                };
                return Err(JobError::bad_input(message));
            };
            rows.push(ComparedRow {
                on: on.clone(),
                metric: metric.clone(),
                first: name.clone(),
                second: other.clone(),
                difference,
                count: documents.len(),
            });
        }
    }
    // A model that both evaluated is nothing to compare, unless nothing else is.
    let is_nothing = |row: &ComparedRow| row.difference.low == 0.0 && row.difference.high == 0.0;
    let itself: BTreeSet<String> = rows
        .iter()
        .filter(|row| row.first == row.second)
        .filter(|row| {
            rows.iter()
                .filter(|other| (&other.first, &other.second) == (&row.first, &row.second))
                .all(is_nothing)
        })
        .map(|row| row.first.clone())
        .collect();
    let is_itself = |row: &ComparedRow| row.first == row.second && itself.contains(&row.first);
    if !rows.iter().all(is_itself) {
        rows.retain(|row| !is_itself(row));
    }
    if rows.is_empty() {
        let called = |scores: &Scores| {
            let names: BTreeSet<&str> = scores.keys().map(|(on, _, _)| on.as_str()).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        let message = format!(
            "the same texts have other names in the two evaluations: {} and {}; give them the same `name:`",
            called(&first),
            called(&second)
        );
        return Err(JobError::bad_input(message));
    }
    Ok(Comparison {
        asked: blake3::hash(&asked).to_hex().to_string(),
        rows,
    })
}

/// All that must be equal, by name.
fn asked(artifact: &Artifact) -> Result<Vec<(&'static str, Value)>, JobError> {
    let manifest = artifact.manifest();
    if manifest.producer.job != Evaluate::KIND {
        let message = format!(
            "{} was made by `{}`, not by an evaluation",
            artifact.store().url(),
            manifest.producer.job
        );
        return Err(JobError::bad_input(message));
    }
    let setting = |name: &str| manifest.settings.get(name).cloned().unwrap_or(Value::Null);
    let fact = |name: &str| manifest.facts.get(name).cloned().unwrap_or(Value::Null);
    // Names in tables change nothing.
    let content = |name: &str| {
        let mut sets = setting(name);
        for set in sets.as_array_mut().into_iter().flatten() {
            if let Some(set) = set.as_object_mut() {
                set.remove("name");
                for input in ["source", "rows", "examples", "task"] {
                    if let Some(input) = set.get_mut(input).and_then(Value::as_object_mut) {
                        input.remove("name");
                    }
                }
            }
        }
        sets
    };
    Ok(vec![
        ("program", json!(manifest.producer.version)),
        ("version of the job", json!(manifest.producer.job_version)),
        ("data", content("data")),
        ("tasks", content("tasks")),
        ("context", setting("context")),
        ("tokens of a window", fact("windows")),
        ("device", fact("device")),
        ("precision", fact("precision")),
    ])
}

/// Says where two values differ, down to what is no list and no map.
fn differences(at: &str, one: &Value, other: &Value, said: &mut Vec<String>) {
    match (one, other) {
        _ if one == other => {}
        (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => {
            for (index, (one, other)) in ones.iter().zip(others).enumerate() {
                differences(&format!("{at}.{index}"), one, other, said);
            }
        }
        (Value::Array(ones), Value::Array(others)) => {
            said.push(format!("{at}: {} and {} of them", ones.len(), others.len()));
        }
        (Value::Object(ones), Value::Object(others)) => {
            let keys: BTreeSet<&String> = ones.keys().chain(others.keys()).collect();
            for key in keys {
                let (one, other) = (ones.get(key), others.get(key));
                let place = format!("{at}.{key}");
                differences(
                    &place,
                    one.unwrap_or(&Value::Null),
                    other.unwrap_or(&Value::Null),
                    said,
                );
            }
        }
        _ => said.push(format!("{at}: {} and {}", short(one), short(other))),
    }
}

/// A value, cut where it gets long.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Scores by data set or task, metric and model.
type Scores = BTreeMap<(String, String, String), Vec<DocumentScore>>;

fn scores(artifact: &Artifact) -> Result<Scores, JobError> {
    let text = artifact.read(DOCUMENTS_FILE)?;
    let mut scores = Scores::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let broken = || {
            JobError::bad_input(format!(
                "{DOCUMENTS_FILE}, line {}: not what an evaluation writes",
                number + 1
            ))
        };
        let line: Value = serde_json::from_slice(line).map_err(|_| broken())?;
        let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
        let model = text("model").ok_or_else(broken)?;
        let mut add = |on: String, metric: &str, id: String, tokens: u64, value: f64| {
            let documents = scores.entry((on, metric.to_owned(), model.clone())).or_default();
            documents.push(DocumentScore {
                id,
                tokens,
                nll: value,
                correct: Vec::new(),
            });
        };
        match (text("data"), text("task")) {
            (Some(data), _) => {
                let number = |key: &str| line.get(key).and_then(Value::as_f64).ok_or_else(broken);
                let id = text("id").ok_or_else(broken)?;
                let tokens = number("tokens")? as u64;
                for (k, metric) in TOP.iter().zip(ACCURACIES) {
                    if let Some(correct) = line.get(format!("top_{k}")).and_then(Value::as_f64) {
                        add(data.clone(), metric, id.clone(), tokens, correct);
                    }
                }
                add(data, "nats a token", id, tokens, number("nll")?);
            }
            (None, Some(task)) => {
                let answer = Answer::deserialize(&line).map_err(|_| broken())?;
                for (name, part) in answer.scores {
                    let name = match is_exponential(&name) {
                        true => format!("log {name}"),
                        false => name,
                    };
                    add(
                        task.clone(),
                        &name,
                        answer.row.to_string(),
                        part.weight,
                        part.value,
                    );
                }
            }
            _ => return Err(broken()),
        }
    }
    Ok(scores)
}
