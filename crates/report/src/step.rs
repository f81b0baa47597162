//! Everything about one step, for its own block of the page.

use serde::Serialize;
use serde_json::Value;
use tributary_pipeline::{ByteSize, Figure, Note, RunHistory, StepOutline, StepRecord, StepStatus};

use crate::lineage::short;
use crate::material::Material;
use crate::{moment, number, status};

/// Longest value that stands on the line of its name.
const LINE: usize = 96;

/// A step, ready to draw.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    id: String,
    job: String,
    job_version: u32,
    status: &'static str,
    mark: &'static str,
    is_open: bool,
    /// What stands in the summary line.
    summary: Vec<String>,
    error: Option<Failure>,
    fault: Option<String>,
    facts_of_run: Vec<(&'static str, String)>,
    inputs: Vec<Input>,
    outputs: Vec<(String, String, String)>,
    after: Vec<String>,
    throughput: Vec<(String, String, String)>,
    metrics: Vec<(String, String)>,
    facts: Vec<Fact>,
    settings: String,
    canonical: Option<String>,
    notes: Vec<Note>,
}

#[derive(Debug, Serialize)]
struct Failure {
    kind: String,
    message: String,
    exit_code: i32,
    /// Is another attempt under way?
    is_past: bool,
}

#[derive(Debug, Serialize)]
struct Input {
    field: String,
    reference: String,
    step: Option<String>,
    kind: String,
    digest: String,
    short: String,
}

#[derive(Debug, Serialize)]
struct Fact {
    name: String,
    text: String,
    is_long: bool,
}

/// Describes a step.
pub(crate) fn describe(
    history: &RunHistory,
    outline: &StepOutline,
    record: &StepRecord,
    material: &Material,
) -> Step {
    let manifest = material.manifest.as_ref();
    let rate = |unit: &str, amount: u64, seconds: f64| match seconds > 0.0 {
        true => format!("{} {unit}/s", rounded(amount as f64 / seconds)),
        false => String::new(),
    };
    let mut summary = Vec::new();
    summary.extend(
        record
            .seconds
            .filter(|_| record.status != StepStatus::Cached)
            .map(number::duration),
    );
    // Tokens say most; otherwise what was counted first.
    let counted = &record.throughput;
    let tokens = counted.iter().find(|made| made.unit == "tokens");
    if let Some(made) = tokens.or(counted.first()) {
        summary.push(match made.unit.as_str() {
            "bytes" if made.seconds > 0.0 => {
                format!("{}/s", ByteSize((made.amount as f64 / made.seconds) as u64))
            }
            unit => rate(unit, made.amount, made.seconds),
        });
    }
    summary.extend(manifest.map(|manifest| ByteSize(manifest.total_bytes()).to_string()));
    summary.retain(|part| !part.is_empty());
    let is_bad =
        matches!(record.status, StepStatus::Failed | StepStatus::Cancelled) || material.fault.is_some();
    Step {
        id: outline.id.clone(),
        job: outline.job.clone(),
        job_version: outline.job_version,
        status: status::name(record.status),
        mark: status::mark(record.status),
        is_open: is_bad,
        summary,
        error: record.error.as_ref().map(|error| Failure {
            kind: error.kind.replace('_', " "),
            message: error.message.clone(),
            exit_code: error.exit_code,
            is_past: record.status == StepStatus::Running,
        }),
        fault: material.fault.clone(),
        facts_of_run: facts_of_run(outline, record, material),
        inputs: inputs(history, outline, material),
        outputs: outline
            .outputs
            .iter()
            .map(|output| (output.name.clone(), output.kind.clone(), output.path.clone()))
            .collect(),
        after: outline.after.clone(),
        throughput: record
            .throughput
            .iter()
            .map(|made| match made.unit.as_str() {
                "bytes" => (
                    ByteSize(made.amount).to_string(),
                    number::duration(made.seconds),
                    match made.seconds > 0.0 {
                        true => format!("{}/s", ByteSize((made.amount as f64 / made.seconds) as u64)),
                        false => String::new(),
                    },
                ),
                unit => (
                    format!("{} {unit}", number::count(made.amount)),
                    number::duration(made.seconds),
                    rate(unit, made.amount, made.seconds),
                ),
            })
            .collect(),
        metrics: record
            .metrics
            .iter()
            .map(|(name, value)| (name.clone(), number::number(*value)))
            .collect(),
        facts: manifest
            .map(|manifest| manifest.facts.iter().map(fact).collect())
            .unwrap_or_default(),
        settings: pretty(&outline.settings),
        canonical: manifest
            .filter(|manifest| manifest.settings != outline.settings)
            .map(|manifest| pretty(&manifest.settings)),
        notes: notes(material).cloned().collect(),
    }
}

/// The remarks of a step.
pub(crate) fn notes(material: &Material) -> impl Iterator<Item = &Note> {
    material
        .figures
        .iter()
        .filter_map(|figure| match figure {
            Figure::Notes { notes } => Some(notes),
            _ => None,
        })
        .flatten()
}

fn rounded(rate: f64) -> String {
    if rate >= 100.0 {
        number::fixed(rate, 0)
    } else {
        number::number(rate)
    }
}

fn facts_of_run(
    outline: &StepOutline,
    record: &StepRecord,
    material: &Material,
) -> Vec<(&'static str, String)> {
    let resources = &outline.resources;
    let mut reserved = Vec::new();
    if let Value::Object(map) = serde_json::to_value(resources).unwrap_or_default() {
        let is_set = |value: &Value| !value.is_null() && value.as_u64() != Some(0);
        reserved.extend(
            map.iter()
                .filter(|(_, value)| is_set(value))
                .map(|(name, value)| match value {
                    Value::String(text) => format!("{name} {text}"),
                    other => format!("{name} {other}"),
                }),
        );
    }
    let mut facts = vec![("status", status::name(record.status).to_owned())];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    add("started", record.started.as_deref().map(moment::show));
    add("finished", record.finished.as_deref().map(moment::show));
    add("wall time", record.seconds.map(number::duration));
    add(
        "attempts",
        (record.attempts > 0).then(|| record.attempts.to_string()),
    );
    add("reserved", (!reserved.is_empty()).then(|| reserved.join(", ")));
    add("artifact", record.artifact.clone());
    add("digest", record.digest.clone());
    add("cache key", record.key.clone());
    if let Some(manifest) = &material.manifest {
        let objects = number::plural(manifest.objects.len(), "object");
        add(
            "content",
            Some(format!("{objects}, {}", ByteSize(manifest.total_bytes()))),
        );
        let producer = &manifest.producer;
        add(
            "made by",
            Some(format!(
                "{} {}, {} version {}",
                producer.name, producer.version, producer.job, producer.job_version
            )),
        );
    }
    facts
}

/// What the step reads: as planned, with the digests of what it has read.
fn inputs(history: &RunHistory, outline: &StepOutline, material: &Material) -> Vec<Input> {
    let lineage = material
        .manifest
        .as_ref()
        .map(|manifest| manifest.inputs.as_slice())
        .unwrap_or_default();
    let read = |field: &str| lineage.iter().find(|input| input.name == field);
    let of_step = |id: &str| {
        let record = history.steps.iter().find(|record| record.step == id)?;
        record.digest.clone()
    };
    outline
        .inputs
        .iter()
        .map(|input| {
            let known = read(&input.field);
            let digest = known
                .map(|known| known.digest.clone())
                .or_else(|| of_step(input.step.as_deref()?))
                .unwrap_or_default();
            Input {
                field: input.field.clone(),
                reference: input.reference.clone(),
                step: input.step.clone(),
                kind: known
                    .map(|known| known.kind.clone())
                    .or_else(|| input.kind.clone())
                    .unwrap_or_default(),
                short: short(&digest),
                digest,
            }
        })
        .collect()
}

fn fact((name, value): (&String, &Value)) -> Fact {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(value) => match (value.as_u64(), value.as_f64()) {
            (Some(whole), _) => number::count(whole),
            (None, Some(value)) => number::number(value),
            _ => value.to_string(),
        },
        other => other.to_string(),
    };
    let is_long = text.chars().count() > LINE;
    Fact {
        name: name.clone(),
        text: if is_long && !value.is_string() {
            pretty(value)
        } else {
            text
        },
        is_long,
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
