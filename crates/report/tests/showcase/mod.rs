//! A run with everything a report shows, made by jobs that compute nothing, with times of a real one.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests and an example use some of it, and fail by panicking"
)]

mod jobs;

use std::collections::BTreeMap;
use std::path::Path;

use tributary_pipeline::*;
use tributary_store::Store;

/// What the pipeline does.
pub const DOCUMENT: &str = r#"
# A base model, three fine-tunes, three merges, and every model on every task.
seed: 7
steps:
  - id: world
    job: synth
    with: {people: 40, documents: 2000}
  - id: base
    job: train.lm
    with: {data: ["${world.stories}", "${world.facts}", style-guide.jsonl], steps: 600}
  - id: tune-stories
    job: train.lm
    with: {start: "${base.model}", data: ["${world.stories}"], steps: 200, learning_rate: 1.0e-4}
  - id: tune-facts
    job: train.lm
    with: {start: "${base.model}", data: ["${world.facts}"], steps: 200, learning_rate: 1.0e-4}
  - id: tune-arithmetic
    job: train.lm
    retries: 1
    with: {start: "${base.model}", data: ["${world.arithmetic}"], steps: 200, learning_rate: 1.0e-4, breaks: @BREAKS@}
  - id: average
    job: merge
    with: {method: linear, base: "${base.model}", models: ["${tune-stories.model}", "${tune-facts.model}", "${tune-arithmetic.model}"]}
  - id: task-arithmetic
    job: merge
    with: {method: task_arithmetic, base: "${base.model}", models: ["${tune-stories.model}", "${tune-facts.model}", "${tune-arithmetic.model}"]}
  - id: metagpt
    job: merge
    with: {method: metagpt, base: "${base.model}", models: ["${tune-stories.model}", "${tune-facts.model}", "${tune-arithmetic.model}"]}
  - id: evaluate
    job: evaluate
    with:
      data: "${world.instructions}"
      models: ["${base.model}", "${tune-stories.model}", "${tune-facts.model}", "${tune-arithmetic.model}", "${average.model}", "${task-arithmetic.model}", "${metagpt.model}"]
  - id: continue-with-everything-we-have-found
    job: train.lm
    after: [evaluate]
    with: {start: "${metagpt.model}", data: ["${world.instructions}"], steps: 80, learning_rate: 5.0e-5}
  - id: evaluate-again
    job: evaluate
    with: {data: "${world.instructions}", models: ["${continue-with-everything-we-have-found.model}"]}
"#;

/// Step, seconds after the start, seconds, tokens or bytes.
const TIMES: [(&str, f64, f64, &str, u64); 11] = [
    ("world", 0.1, 1.3, "documents", 8_000),
    ("base", 1.6, 48.2, "tokens", 2_457_600),
    ("tune-stories", 50.1, 21.4, "tokens", 819_200),
    ("tune-facts", 50.1, 20.2, "tokens", 819_200),
    ("tune-arithmetic", 70.4, 22.9, "tokens", 819_200),
    ("average", 93.5, 0.42, "bytes", 13_827_156),
    ("task-arithmetic", 93.5, 0.51, "bytes", 13_827_156),
    ("metagpt", 94.1, 0.78, "bytes", 13_827_156),
    ("evaluate", 95.0, 17.6, "tokens", 1_146_880),
    (
        "continue-with-everything-we-have-found",
        112.8,
        9.1,
        "tokens",
        327_680,
    ),
    ("evaluate-again", 122.0, 2.6, "tokens", 163_840),
];

/// How the run ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All is done.
    Done,
    /// A training fails.
    Failed,
    /// It goes on.
    Running,
}

pub fn registry() -> Registry {
    Registry::new()
        .with(jobs::Synth)
        .with(jobs::Train)
        .with(jobs::Merge)
        .with(jobs::Evaluate)
        .with(jobs::Show)
}

pub fn machine() -> Machine {
    Machine {
        cpus: 2,
        memory: 16 << 30,
        gpus: 0,
        device: "cpu".into(),
        system: "linux x86_64".into(),
    }
}

/// Runs a document in a folder; gives its store and its records.
pub fn run_document(folder: &Path, text: &str) -> (Store, RunHistory) {
    std::fs::write(folder.join("style-guide.jsonl"), "{\"text\": \"plainly\"}\n").unwrap();
    let store = Store::open(folder.join("ckpt").to_str().unwrap()).unwrap();
    let mut source = Source::from_text("showcase.yaml", text);
    source.base = folder.to_owned();
    let planned = match plan_in(source, &registry(), &machine(), store.clone()) {
        Ok(planned) => planned,
        Err(PipelineError::Document(found)) => panic!("{}", found.render(100, false)),
        Err(error) => panic!("{error}"),
    };
    let mut options = RunOptions::new(&NoObserver);
    options.first_pause = std::time::Duration::from_millis(1);
    run(&planned, options).unwrap();
    let mut history = RunHistory::latest(&store).unwrap();
    history.run.id = "20260102T090000Z-5eed07".into();
    history.run.store = "./ckpt".into();
    history.run.started = "2026-01-02T09:00:00Z".into();
    (store, history)
}

fn moment(seconds: f64) -> String {
    let whole = seconds as u64;
    format!("2026-01-02T09:{:02}:{:02}Z", whole / 60, whole % 60)
}

/// Runs the showcase in a folder.
pub fn showcase(folder: &Path, ending: Ending) -> (Store, RunHistory) {
    let breaks = if ending == Ending::Failed { "nan" } else { "late" };
    let (store, mut history) = run_document(
        folder,
        &format!("name: showcase{}", DOCUMENT.replace("@BREAKS@", breaks)),
    );
    for (record, (step, start, seconds, unit, amount)) in history.steps.iter_mut().zip(TIMES) {
        assert_eq!(record.step, step);
        if record.started.is_some() {
            (record.started, record.finished) = (Some(moment(start)), Some(moment(start + seconds)));
            record.seconds = Some(seconds);
            record.throughput = vec![Throughput {
                unit: unit.into(),
                amount,
                seconds: seconds * 0.96,
            }];
        } else {
            record.finished = record.finished.as_ref().map(|_| moment(93.4));
        }
        if unit == "tokens" && record.job == "train.lm" {
            record.metrics =
                BTreeMap::from([("loss".to_owned(), 1.2345), ("gradient norm".to_owned(), 0.8712)]);
        }
        if ending == Ending::Running && start > 90.0 {
            let is_next = step == "average";
            record.status = if is_next {
                StepStatus::Running
            } else {
                StepStatus::Queued
            };
            (record.digest, record.seconds, record.finished) = (None, None, None);
            record.started = is_next.then(|| moment(start));
            record.throughput.clear();
            record.metrics.clear();
        }
    }
    match &mut history.finished {
        _ if ending == Ending::Running => history.finished = None,
        Some(finished) => {
            finished.seconds = if ending == Ending::Failed { 93.4 } else { 124.7 };
            finished.finished = moment(finished.seconds);
        }
        None => panic!("the run has not finished"),
    }
    (store, history)
}
