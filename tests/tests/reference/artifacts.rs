//! Every kind of model directory that we write: transformers loads it unchanged, with the same token ids and logits.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tributary_data::Tokenizer;
use tributary_jobs::registry;
use tributary_model::{Decoder, Device, TokenBatch};
use tributary_pipeline::{
    CHECKPOINTS, CancellationToken, Event, Machine, NoObserver, Observer, RunOptions, RunReport, RunStatus,
    Source, plan, run,
};
use tributary_store::Store;

use crate::program::trib;
use crate::python::Python;
use crate::shared;

/// Of every single logit, beside the largest of its model: both compute in f32, in different orders.
const TOLERANCE: f32 = 1e-5;

const TEXTS: [&str; 4] = [
    "Once upon a time there was a river.",
    "What is 3 + 4?",
    "  It's 12 o'clock;\n\nna\u{ef}ve caf\u{e9}, \u{4f60}\u{597d} \u{1f98a}",
    "Anna has a red kite. She likes to fly it near the old mill, and her friend Ben likes to watch.",
];

/// Everything that writes a model, in the smallest sizes. Step `base` is long enough to be stopped on its way.
const PIPELINE: &str = r#"
name: reference
store: ckpt
seed: 5
steps:
  - id: corpora
    job: synth
    with: {stories: 60, facts: 60}
  - id: tokenizer
    job: train.tokenizer
    with: {vocab_size: 400, data: [{source: "${corpora.stories}"}]}
  - id: base
    job: train.lm
    with:
      start: {new: {tokenizer: "${tokenizer.tokenizer}", hidden_size: 32, layers: 2, heads: 4, kv_heads: 2, context: 64}}
      data: [{source: "${corpora.stories}"}]
      steps: 120
      learning_rate: 1.0e-2
      batch: {sequences: 4, length: 64}
      checkpoints: {every: 40, keep_every: 60}
      save_state: true
  - id: rounded
    job: train.lm
    with:
      start: {warm_start: "${base.model}"}
      data: [{source: "${corpora.facts}"}]
      steps: 4
      learning_rate: 1.0e-3
      batch: {sequences: 4, length: 64}
      save_dtype: bfloat16
  - id: untied
    job: train.lm
    with:
      start: {new: {tokenizer: "${base.model}", hidden_size: 48, layers: 1, heads: 3, context: 96, rope_theta: 500000, tied_head: false}}
      data: [{source: "${corpora.facts}"}]
      steps: 4
      learning_rate: 1.0e-3
      batch: {sequences: 4, length: 64}
      save_dtype: float16
  - id: resumed
    job: train.lm
    with:
      start: {resume: "${base.state}"}
      data: [{source: "${corpora.stories}"}]
      steps: 124
      learning_rate: 1.0e-2
      batch: {sequences: 4, length: 64}
  - id: metagpt
    job: merge
    with:
      merge_method: metagpt
      base_model: "${base.model}"
      models: [{model: "${rounded.model}"}, {model: "${resumed.model}"}]
  - id: added
    job: merge
    with:
      merge_method: task_arithmetic
      base_model: "${base.model}"
      models: [{model: "${rounded.model}"}, {model: "${resumed.model}"}]
      parameters: {weight: 0.5}
      out_dtype: float16
  - id: average
    job: merge
    with:
      merge_method: linear
      models: [{model: "${base.model}"}, {model: "${rounded.model}"}]
      parameters: {weight: 1.0}
      out_dtype: bfloat16
  - id: healed
    job: prune
    with: {model: "${base.model}", remove: 1, heal: true, data: [{source: "${corpora.stories}"}]}
  - id: without_attention
    job: prune
    with: {model: "${base.model}", part: attention, layers: [1], heal: true, data: [{source: "${corpora.stories}"}]}
  - id: without_feed_forward
    job: prune
    with: {model: "${base.model}", part: feed_forward, layers: [0]}
  - id: replaced
    job: prune
    with: {model: "${base.model}", layers: [1], replace: {units: 16}, data: [{source: "${corpora.stories}"}]}
  - id: searched
    job: merge.search
    with:
      checkpoints: ["${base.model}", "${resumed.model}"]
      data: [{source: "${corpora.facts}"}]
      evaluations: 3
      baselines: []
"#;

/// A model directory, and the type its weights should have.
struct Written {
    what: String,
    directory: PathBuf,
    dtype: &'static str,
}

impl Written {
    fn new(what: &str, directory: PathBuf, dtype: &'static str) -> Self {
        Self {
            what: what.to_owned(),
            directory,
            dtype,
        }
    }
}

/// Stops a run as soon as a step trains.
struct Stopper {
    step: &'static str,
    token: CancellationToken,
}

impl Observer for Stopper {
    fn event(&self, event: &Event) {
        if matches!(event, Event::StepWork { step, what, .. } if step == self.step && what == "training") {
            self.token.cancel();
        }
    }
}

fn run_pipeline(folder: &Path, observer: &dyn Observer, cancellation: CancellationToken) -> RunReport {
    let mut source = Source::from_text(
        "reference.yaml",
        PIPELINE.replace("ckpt", folder.to_str().unwrap()),
    );
    source.base = folder.to_owned();
    let machine = Machine {
        cpus: 2,
        memory: 8 << 30,
        gpus: 0,
        device: "cpu".into(),
        system: "test".into(),
    };
    let planned = plan(source, &registry(), &machine).unwrap_or_else(|error| panic!("{error}"));
    let mut options = RunOptions::new(observer);
    options.cancellation = cancellation;
    run(&planned, options).unwrap()
}

/// The directory of a step's artifact.
fn artifact(folder: &Path, report: &RunReport, step: &str) -> PathBuf {
    let record = report.steps.iter().find(|record| record.step == step).unwrap();
    folder.join(record.artifact.as_ref().unwrap())
}

/// The one checkpoint of a run that was stopped, copied away: it goes when its step is done.
fn checkpoint(store: &Path, copy: &Path) {
    let found = |folder: PathBuf| {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.is_dir())
    };
    let mut place = store.join(CHECKPOINTS);
    while !place.join("config.json").exists() {
        place = found(place).unwrap_or_else(|| panic!("no checkpoint in {}", store.display()));
    }
    fs::create_dir(copy).unwrap();
    for entry in fs::read_dir(place).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
}

fn import(source: &Path, out: &Path, options: &[&str]) {
    let mut arguments = vec!["import", source.to_str().unwrap(), out.to_str().unwrap()];
    arguments.extend(options);
    trib(&arguments);
}

fn shards(directory: &Path) -> usize {
    let names = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("model-") && name.ends_with(".safetensors"))
        .count()
}

/// Imports a model in every way there is.
fn imports(what: &str, source: &Path, folder: &Path, written: &mut Vec<Written>) {
    let ways: [(&str, &[&str], &str); 4] = [
        ("as it is", &[], "float32"),
        ("bfloat16", &["--dtype", "bfloat16"], "bfloat16"),
        (
            "float16 in shards",
            &["--dtype", "float16", "--shard-bytes", "20000"],
            "float16",
        ),
        (
            "float32 in shards",
            &["--dtype", "float32", "--shard-bytes", "70000"],
            "float32",
        ),
    ];
    for (index, (how, options, dtype)) in ways.into_iter().enumerate() {
        let out = folder.join(format!("{}-{index}", what.replace(' ', "-")));
        import(source, &out, options);
        assert!(
            index < 2 || shards(&out) > 2,
            "{}: {} shards",
            out.display(),
            shards(&out)
        );
        written.push(Written::new(&format!("import of {what}, {how}"), out, dtype));
    }
}

/// Asks transformers about all of them in one process, which takes longer to start than to answer.
fn ask(python: &Python, written: &[Written], folder: &Path) -> Vec<(Value, Vec<f32>)> {
    let logits = |index: usize| folder.join(format!("logits-{index}"));
    let models = written.iter().enumerate();
    let models: Vec<Value> = models
        .map(|(index, written)| json!({"directory": written.directory, "logits": logits(index)}))
        .collect();
    let request = folder.join("request.json");
    fs::write(&request, json!({"texts": TEXTS, "models": models}).to_string()).unwrap();
    let answers = python.ask("logits.py", &[request.as_ref()]);
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), written.len());
    let values = |index| {
        let bytes = fs::read(logits(index)).unwrap();
        bytes
            .chunks_exact(4)
            .map(|value| f32::from_le_bytes(value.try_into().unwrap()))
            .collect()
    };
    answers
        .iter()
        .enumerate()
        .map(|(index, answer)| (answer.clone(), values(index)))
        .collect()
}

/// Holds our ids and logits against the answers; says the largest difference.
fn compare(written: &Written, answer: &Value, theirs: &[f32]) {
    let what = &written.what;
    assert_eq!(answer["troubles"], json!({}), "{what}: loading");
    assert_eq!(answer["dtype"], written.dtype, "{what}");
    let store = Store::open(written.directory.to_str().unwrap()).unwrap();
    let tokenizer = Tokenizer::load(&store).unwrap();
    let decoder = Decoder::load(&store.directory(), Device::Cpu).unwrap();
    let mut ours = Vec::new();
    for (text, ids) in TEXTS.iter().zip(answer["ids"].as_array().unwrap()) {
        let tokens = tokenizer.encode(text).unwrap();
        assert_eq!(json!(tokens), *ids, "{what}: {text:?}");
        ours.extend(decoder.logits(&TokenBatch::document(&tokens)).unwrap());
    }
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs
        .iter()
        .fold(0.0f32, |largest, value| largest.max(value.abs()));
    let apart = ours
        .iter()
        .zip(theirs)
        .fold(0.0f32, |worst, (ours, theirs)| worst.max((ours - theirs).abs()));
    eprintln!(
        "{what}: {} logits, at most {apart:.1e} apart, the largest is {largest:.1}",
        ours.len()
    );
    assert!(largest > 0.1, "{what}: logits that say nothing");
    assert!(apart <= TOLERANCE * largest.max(1.0), "{what}: {apart:e} apart");
}

#[test]
fn transformers_loads_whatever_we_train_stop_merge_prune_search_and_import() {
    let Some(python) = Python::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (store, stopped) = (at("store"), at("stopped"));
    fs::create_dir(&store).unwrap();
    let stopper = Stopper {
        step: "base",
        token: CancellationToken::new(),
    };
    let report = run_pipeline(&store, &stopper, stopper.token.clone());
    assert_eq!(
        report.status,
        RunStatus::Cancelled,
        "the run ended before it was stopped"
    );
    checkpoint(&store, &stopped);
    let report = run_pipeline(&store, &NoObserver, CancellationToken::new());
    assert_eq!(report.status, RunStatus::Done, "{:?}", report.steps);

    let step = |id: &str| artifact(&store, &report, id);
    let mut written = vec![
        Written::new("a checkpoint of a stopped training", stopped, "float32"),
        Written::new("train.lm, new", step("base"), "float32"),
        Written::new("train.lm, training state", step("base").join("state"), "float32"),
        Written::new(
            "train.lm, kept on the way",
            step("base").join("steps/00000060"),
            "float32",
        ),
        Written::new(
            "train.lm, warm start, saved as bfloat16",
            step("rounded"),
            "bfloat16",
        ),
        Written::new(
            "train.lm, head of its own, saved as float16",
            step("untied"),
            "float16",
        ),
        Written::new("train.lm, resumed", step("resumed"), "float32"),
        Written::new("merge, metagpt", step("metagpt"), "float32"),
        Written::new(
            "merge, task arithmetic, written as float16",
            step("added"),
            "float16",
        ),
        Written::new("merge, linear, written as bfloat16", step("average"), "bfloat16"),
        Written::new("prune, a layer, healed", step("healed"), "float32"),
        Written::new(
            "prune, an attention, healed",
            step("without_attention"),
            "float32",
        ),
        Written::new(
            "prune, a feed-forward network",
            step("without_feed_forward"),
            "float32",
        ),
        Written::new("prune, a layer replaced", step("replaced"), "float32"),
        Written::new("merge.search", step("searched"), "float32"),
    ];
    imports("a trained model", &step("base"), folder.path(), &mut written);
    if let Some(stories) = shared("models/stories260K/stories260K.bin") {
        imports("a llama2.c file", &stories, folder.path(), &mut written);
    }
    for (written, (answer, logits)) in written.iter().zip(ask(&python, &written, folder.path())) {
        compare(written, &answer, &logits);
    }
}
