//! The job `merge` in pipelines over tiny models: what it makes, what it says, and what it finds wrong before any work.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tributary_jobs::registry;
use tributary_model::{Decoder, Device, TokenBatch};
use tributary_pipeline::{
    FIGURES, Figure, Level, Machine, NoObserver, PipelineError, PlanState, Planned, RunOptions, RunReport,
    Source, StepStatus, plan, run,
};
use tributary_store::{Artifact, ManifestDraft, OutputEntry, Publication, Store};
use tributary_tensorfile::{Checkpoint, DType, LocalDirectory, ModelLayout, TensorSpec, to_f32, write_model};
use tributary_testkit::tiny_model::TinyModel;

/// Models `base`, `one` and `two`, and a store, in a folder.
struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    fn new() -> Self {
        let workplace = Workplace {
            folder: tempfile::tempdir().unwrap(),
        };
        for (seed, name) in [(1, "base"), (2, "one"), (3, "two")] {
            workplace.model(&TinyModel::default(), name, seed);
        }
        workplace
    }

    fn model(&self, model: &TinyModel, name: &str, seed: u64) {
        model.write(&self.path(name), seed).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn try_plan(&self, steps: &str) -> Result<Planned, PipelineError> {
        let text = format!(
            "name: merging\nstore: {}\nsteps:\n{steps}",
            self.path("ckpt").display()
        );
        let mut source = Source::from_text("merging.yaml", text);
        source.base = self.folder.path().to_owned();
        let machine = Machine {
            cpus: 2,
            memory: 8 << 30,
            gpus: 0,
            device: "cpu".into(),
            system: "test".into(),
        };
        plan(source, &registry(), &machine)
    }

    fn plan(&self, steps: &str) -> Planned {
        match self.try_plan(steps) {
            Ok(planned) => planned,
            Err(PipelineError::Document(found)) => panic!("{}", found.render(1000, false)),
            Err(error) => panic!("{error}"),
        }
    }

    fn run(&self, steps: &str) -> RunReport {
        let report = run(&self.plan(steps), RunOptions::new(&NoObserver)).unwrap();
        for record in report.steps.iter().filter(|record| record.error.is_some()) {
            eprintln!("{}: {:?}", record.step, record.error);
        }
        report
    }

    /// Where the artifact of a step lies.
    fn artifact(&self, report: &RunReport, step: &str) -> PathBuf {
        let record = report.steps.iter().find(|record| record.step == step).unwrap();
        self.path("ckpt").join(record.artifact.as_ref().unwrap())
    }

    /// What planning finds wrong, as a reader sees it; nothing may have been done.
    fn wrong(&self, steps: &str) -> String {
        let Err(PipelineError::Document(found)) = self.try_plan(steps) else {
            panic!("nothing is wrong with\n{steps}");
        };
        let ckpt = self.path("ckpt");
        let left = ckpt.exists().then(|| {
            Store::open(ckpt.to_str().unwrap())
                .unwrap()
                .list("artifacts")
                .unwrap()
        });
        assert!(
            left.unwrap_or_default().is_empty(),
            "work was done before the error was found"
        );
        let drawn = found
            .render(1000, false)
            .replace(self.folder.path().to_str().unwrap(), "[folder]");
        drawn.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// Publishes a model's files as an artifact at `to`, with these facts; returns its digest.
    fn publish(&self, from: &str, to: &str, kind: &str, facts: Value) -> String {
        let publication = Publication::begin(&Store::open(self.path(to).to_str().unwrap()).unwrap());
        for entry in std::fs::read_dir(self.path(from)).unwrap() {
            let entry = entry.unwrap();
            publication
                .put(
                    entry.file_name().to_str().unwrap(),
                    std::fs::read(entry.path()).unwrap(),
                )
                .unwrap();
        }
        let output = OutputEntry {
            kind: "model".into(),
            path: String::new(),
        };
        let draft = ManifestDraft {
            kind: kind.into(),
            outputs: BTreeMap::from([("model".into(), output)]),
            facts: facts.as_object().unwrap().clone(),
            ..Default::default()
        };
        publication.commit(draft).unwrap().digest()
    }
}

/// Every tensor of a model, in f32.
fn read(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let checkpoint = Checkpoint::open(&LocalDirectory::new(path)).unwrap();
    let values = |tensor: &tributary_tensorfile::TensorInfo| {
        let mut values = vec![0.0; tensor.shape.iter().product()];
        to_f32(tensor.dtype, &checkpoint.read(tensor).unwrap(), &mut values).unwrap();
        (tensor.name.clone(), values)
    };
    checkpoint.tensors().iter().map(values).collect()
}

fn figures(path: &Path) -> Vec<Figure> {
    Figure::from_json(&std::fs::read(path.join(FIGURES)).unwrap()).unwrap()
}

const TWO_MERGES: &str = "
  - id: half
    job: merge
    with:
      merge_method: task_arithmetic
      base_model: base
      models:
        - {model: one, parameters: {weight: 0.5}}
        - {model: two, parameters: {weight: 0.25}}
  - id: both
    job: merge
    with:
      merge_method: metagpt
      base_model: base
      models:
        - model: ${half.model}
        - {model: two, name: second}
";

#[test]
fn merges_in_a_pipeline_are_their_formulas() {
    let workplace = Workplace::new();
    let report = workplace.run(TWO_MERGES);
    let [base, one, two] = ["base", "one", "two"].map(|name| read(&workplace.path(name)));
    let (half_at, both_at) = (
        workplace.artifact(&report, "half"),
        workplace.artifact(&report, "both"),
    );
    let (half, both) = (read(&half_at), read(&both_at));
    assert_eq!(half.keys().collect::<Vec<_>>(), base.keys().collect::<Vec<_>>());
    for (name, found) in &half {
        for (i, found) in found.iter().enumerate() {
            let [base, one, two] = [&base, &one, &two].map(|model| f64::from(model[name][i]));
            let expected = base + 0.5 * (one - base) + 0.25 * (two - base);
            assert!(
                (f64::from(*found) - expected).abs() <= 1e-7 * expected.abs().max(0.01),
                "{name}[{i}]"
            );
        }
    }
    let square = |model: &BTreeMap<String, Vec<f32>>| -> f64 {
        let of_tensor = |(name, values): (&String, &Vec<f32>)| {
            values
                .iter()
                .zip(&base[name])
                .map(|(x, base)| f64::from(x - base).powi(2))
                .sum::<f64>()
        };
        model.iter().map(of_tensor).sum()
    };
    let squares = [square(&half), square(&two)];
    let lambda = squares.map(|square| square / (squares[0] + squares[1]));
    for (name, found) in &both {
        for (i, found) in found.iter().enumerate() {
            let expected = lambda[0] * f64::from(half[name][i]) + lambda[1] * f64::from(two[name][i]);
            assert!(
                (f64::from(*found) - expected).abs() <= 1e-7 * expected.abs().max(0.01),
                "{name}[{i}]"
            );
        }
    }

    // The manifest, for whoever reads no tensors.
    let manifest = Artifact::open(&Store::open(both_at.to_str().unwrap()).unwrap())
        .unwrap()
        .manifest()
        .clone();
    assert_eq!(
        (manifest.kind.as_str(), manifest.producer.job.as_str()),
        ("model", "merge")
    );
    assert_eq!(manifest.facts["norms"], "measured");
    for (model, (name, (lambda, square))) in manifest.facts["models"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["half", "second"].iter().zip(lambda.iter().zip(squares)))
    {
        assert_eq!(model["name"], *name);
        assert!((model["coefficient"].as_f64().unwrap() / lambda - 1.0).abs() < 1e-12);
        assert!((model["norm_squared"].as_f64().unwrap() / square - 1.0).abs() < 1e-12);
    }
    let fields: Vec<&str> = manifest.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(fields, ["base_model", "models.0.model", "models.1.model"]);

    // The figures, for the report.
    let figures = figures(&both_at);
    let Figure::Table { rows, columns, .. } = &figures[0] else {
        panic!("{figures:?}")
    };
    assert_eq!(columns.len(), 4);
    assert_eq!(
        rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(),
        ["base (base)", "half", "second"]
    );
    assert_eq!(rows[1][1], format!("{:.6}", lambda[0]));
    assert_eq!(rows[1][2], format!("{:.4}", squares[0].sqrt()));
    let Figure::Matrix { rows, values, .. } = &figures[1] else {
        panic!("{figures:?}")
    };
    assert_eq!(rows, &["half", "second"]);
    assert!((values[0][0] - 1.0).abs() < 1e-12 && values[0][1] == values[1][0] && values[0][1].abs() < 1.0);
    let Figure::Notes { notes } = &figures[2] else {
        panic!("{figures:?}")
    };
    let effective = 1.0 / (lambda[0] * lambda[0] + lambda[1] * lambda[1]);
    assert_eq!(notes[1].text, format!("n_eff = {effective:.2} of 2 models"));

    // Nothing of this machine is in what was written, and there is nothing to do a second time.
    let here = workplace.folder.path().to_str().unwrap().as_bytes();
    for file in [
        "README.md",
        "merge.json",
        "config.json",
        "tributary.json",
        FIGURES,
    ] {
        let text = std::fs::read(both_at.join(file)).unwrap();
        assert!(
            !text.windows(here.len()).any(|part| part == here),
            "{file} names a place of this machine"
        );
    }
    assert!(workplace.plan(TWO_MERGES).plan.is_complete());
}

/// A merge that was made before is planned with everything at hand: what it costs is known.
#[test]
fn what_a_merge_takes_is_known_before_it_runs() {
    let workplace = Workplace::new();
    let planned = workplace.plan(TWO_MERGES);
    let [half, both] = planned.plan.steps.as_slice() else {
        panic!("two steps")
    };
    assert_eq!((half.state, both.state), (PlanState::Run, PlanState::Unknown));
    let estimate = half.estimate.clone().unwrap();
    let size = std::fs::metadata(workplace.path("base/model.safetensors"))
        .unwrap()
        .len();
    let tensors = Checkpoint::open(&LocalDirectory::new(workplace.path("base"))).unwrap();
    let bytes: u64 = tensors.tensors().iter().map(|tensor| tensor.bytes).sum();
    assert_eq!(estimate.bytes_read, Some(3 * bytes));
    assert!(estimate.bytes_written.unwrap().abs_diff(size) < 100);
    assert!(estimate.memory.unwrap() <= 256 << 20);
    assert!(estimate.note.unwrap().starts_with("task_arithmetic of 2 models"));
    assert!(both.estimate.is_none());
}

/// λ may come from what training recorded, and says so; the default reads the models.
#[test]
fn norms_may_come_from_manifests() {
    let workplace = Workplace::new();
    let merge = |base: &str, models: [&str; 2], norms: &str| {
        format!(
            "  - id: merged\n    job: merge\n    with:\n      merge_method: metagpt\n      base_model: {base}\n      \
             models: [{{model: {}}}, {{model: {}}}]\n      parameters: {{{norms}}}\n",
            models[0], models[1]
        )
    };
    let measured = workplace.run(&merge("base", ["one", "two"], ""));
    let at = workplace.artifact(&measured, "merged");
    let facts = Artifact::open(&Store::open(at.to_str().unwrap()).unwrap())
        .unwrap()
        .manifest()
        .facts
        .clone();
    let base = workplace.publish("base", "known/base", "model", json!({}));
    for (index, name) in ["one", "two"].iter().enumerate() {
        let fact =
            json!({"distance_squared": {"from": base, "value": facts["models"][index]["norm_squared"]}});
        // A checkpoint of a training is as good as its model.
        workplace.publish(
            name,
            &format!("known/{name}"),
            ["model", "training_state"][index],
            fact,
        );
    }
    let recorded = merge("known/base", ["known/one", "known/two"], "norms: recorded");
    let planned = workplace.plan(&recorded);
    let read_again = workplace.plan(&merge("known/base", ["known/one", "known/two"], ""));
    let bytes = |planned: &Planned| {
        planned.plan.steps[0]
            .estimate
            .clone()
            .unwrap()
            .bytes_read
            .unwrap()
    };
    // Two models once, instead of three and then two.
    assert_eq!(5 * bytes(&planned), 2 * bytes(&read_again));
    let recorded = workplace.run(&recorded);
    let recorded_at = workplace.artifact(&recorded, "merged");
    assert_eq!(read(&recorded_at), read(&at));
    let Some(Figure::Notes { notes }) = figures(&recorded_at).pop() else {
        panic!("notes come last")
    };
    assert!(
        notes.iter().any(|note| note.text.contains("training recorded")),
        "{notes:?}"
    );
    // A directory without a manifest records nothing: said before any work.
    let found = Workplace::new().wrong(&merge("base", ["one", "two"], "norms: recorded"));
    assert!(
        found.contains("its manifest records no distance from this base; use norms: read"),
        "{found}"
    );
    // A base of the same content by another way is another base.
    let found = workplace.try_plan(&merge("base", ["known/one", "known/two"], "norms: recorded"));
    assert!(matches!(found, Err(PipelineError::Document(_))));
}

/// Lopsided training is worth a warning (spec 1e.5).
#[test]
fn warnings_become_notes() {
    let workplace = Workplace::new();
    let steps = "
  - id: near
    job: merge
    with:
      merge_method: task_arithmetic
      base_model: base
      models: [{model: one, parameters: {weight: 0.01}}]
  - id: both
    job: merge
    with: {merge_method: metagpt, base_model: base, models: [{model: '${near.model}'}, {model: two}]}
";
    let report = workplace.run(steps);
    let Some(Figure::Notes { notes }) = figures(&workplace.artifact(&report, "both")).pop() else {
        panic!("notes")
    };
    let warnings: Vec<&str> = notes
        .iter()
        .filter(|note| note.level == Level::Warning)
        .map(|note| note.text.as_str())
        .collect();
    assert_eq!(warnings.len(), 2, "{notes:?}");
    assert!(warnings[0].contains("dominated by few models"), "{warnings:?}");
    assert!(
        warnings[1].starts_with("near has almost no weight"),
        "{warnings:?}"
    );
}

/// Two folders of one name, and a tokenizer asked for by reference.
#[test]
fn models_of_one_name_are_told_apart() {
    let workplace = Workplace::new();
    for (seed, name) in [(4, "a/base"), (5, "b/base")] {
        workplace.model(&TinyModel::default(), name, seed);
        let vocabulary = format!(r#"{{"version": "x{seed}", "model": {{"vocab": {{"a": 0}}}}}}"#);
        std::fs::write(workplace.path(name).join("tokenizer.json"), vocabulary).unwrap();
    }
    let report = workplace.run(
        "  - id: merged\n    job: merge\n    with:\n      merge_method: linear\n      models: [{model: a/base}, {model: \
         b/base}]\n      tokenizer_source: b/base\n",
    );
    let at = workplace.artifact(&report, "merged");
    let Figure::Table { rows, .. } = &figures(&at)[0] else {
        panic!("a table comes first")
    };
    assert_eq!(
        rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(),
        ["base (2)", "base (3)"]
    );
    assert!(
        std::fs::read_to_string(at.join("tokenizer.json"))
            .unwrap()
            .contains("x5")
    );
    let [a, b] = ["a/base", "b/base"].map(|name| read(&workplace.path(name)));
    for (name, found) in read(&at) {
        let mean: Vec<f32> = a[&name]
            .iter()
            .zip(&b[&name])
            .map(|(a, b)| (0.5 * f64::from(*a) + 0.5 * f64::from(*b)) as f32)
            .collect();
        assert_eq!(found, mean, "{name}");
    }
}

fn metagpt(models: &[&str]) -> String {
    let models: String = models
        .iter()
        .map(|model| format!("        - model: {model}\n"))
        .collect();
    format!(
        "  - id: merged\n    job: merge\n    with:\n      merge_method: metagpt\n      base_model: base\n      \
         models:\n{models}"
    )
}

#[test]
fn models_that_do_not_fit_are_named_before_any_work() {
    let workplace = Workplace::new();
    workplace.model(
        &TinyModel {
            vocab: 300,
            ..TinyModel::default()
        },
        "wide",
        4,
    );
    workplace.model(
        &TinyModel {
            layers: 1,
            ..TinyModel::default()
        },
        "short",
        5,
    );
    insta::assert_snapshot!(
        "models_that_do_not_fit",
        workplace.wrong(&metagpt(&["one", "wide", "short"]))
    );
    // Also where a third is not there yet.
    let both = format!(
        "  - id: half\n    job: merge\n    with: {{merge_method: linear, models: [{{model: one}}, {{model: two}}]}}\n{}",
        metagpt(&["\"${half.model}\"", "wide"])
    );
    insta::assert_snapshot!("models_that_do_not_fit_partly", workplace.wrong(&both));
}

#[test]
fn models_that_are_not_there_are_named_before_any_work() {
    let workplace = Workplace::new();
    // A folder without a model in it, and a model with a shard that its index names.
    std::fs::create_dir_all(workplace.path("empty")).unwrap();
    std::fs::write(workplace.path("empty/config.json"), "{}").unwrap();
    workplace.model(
        &TinyModel {
            shard_bytes: 100_000,
            ..TinyModel::default()
        },
        "holed",
        4,
    );
    let shards: Vec<PathBuf> = std::fs::read_dir(workplace.path("holed"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "safetensors")
        })
        .collect();
    assert!(shards.len() > 2);
    std::fs::remove_file(shards.iter().max().unwrap()).unwrap();
    insta::assert_snapshot!(
        "models_that_are_not_there",
        workplace.wrong(&metagpt(&["onne", "empty", "holed"]))
    );
}

#[test]
fn broken_files_are_named_before_any_work() {
    let workplace = Workplace::new();
    for (seed, name) in [
        (4, "truncated"),
        (5, "hostile"),
        (6, "overlapping"),
        (7, "nonsense"),
    ] {
        workplace.model(&TinyModel::default(), name, seed);
    }
    let file = |name: &str| workplace.path(name).join("model.safetensors");
    let cut = std::fs::OpenOptions::new()
        .write(true)
        .open(file("truncated"))
        .unwrap();
    cut.set_len(cut.metadata().unwrap().len() - 1000).unwrap();
    let mut hostile = std::fs::OpenOptions::new()
        .write(true)
        .open(file("hostile"))
        .unwrap();
    hostile.write_all(&(1u64 << 62).to_le_bytes()).unwrap();
    // Two tensors in the same bytes.
    let mut overlapping = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file("overlapping"))
        .unwrap();
    let mut len = [0; 8];
    overlapping.read_exact(&mut len).unwrap();
    let mut header = vec![0; u64::from_le_bytes(len) as usize];
    overlapping.read_exact(&mut header).unwrap();
    let mut tensors: Value = serde_json::from_slice(&header).unwrap();
    tensors["model.norm.weight"]["data_offsets"] = json!([0, 256]);
    let mut changed = serde_json::to_vec(&tensors).unwrap();
    assert!(changed.len() <= header.len());
    changed.resize(header.len(), b' ');
    overlapping.seek(SeekFrom::Start(8)).unwrap();
    overlapping.write_all(&changed).unwrap();
    std::fs::write(workplace.path("nonsense/config.json"), "[1, 2").unwrap();
    let found = workplace.wrong(&metagpt(&["truncated", "hostile", "overlapping", "nonsense"]));
    insta::assert_snapshot!("broken_files", found);
}

#[test]
fn wrong_settings_are_all_named_at_their_places() {
    let workplace = Workplace::new();
    let steps = "
  - id: a
    job: merge
    with:
      merge_method: task_aritmetic
      models: [{model: one, wieght: 1}, {model: two}]
      dtype: bfloat61
      layers: []
  - id: b
    job: merge
    with:
      merge_method: linear
      models: [{model: 7}, {model: two, parameters: {weight: [0.1, x]}}]
  - id: c
    job: merge
    with:
      merge_method: metagpt
      base_model: ${d.weights}
      models: [{model: '${d}'}]
  - id: d
    job: merge
    with:
      merge_method: task_arithmetic
      base_model: base
      models: [{model: one, parameters: {weight: heavy}}, {model: two, parameters: {lambda: 2}}]
  - id: e
    job: merge
    with:
      merge_method: metagpt
      models: [{model: one, name: x}, {model: two, name: x}]
      parameters: {scope: layers, lambda: 1}
      tokenizer_source: three
  - {id: f, job: merge, with: {merge_method: task_aritmetic, models: [{model: '${e.weights}'}]}}
";
    insta::assert_snapshot!("wrong_settings", workplace.wrong(steps));
}

/// What shows only when a step is done is told when it is done, before the merge begins.
#[test]
fn what_could_not_be_checked_before_is_checked_when_it_can() {
    let workplace = Workplace::new();
    workplace.model(
        &TinyModel {
            vocab: 300,
            ..TinyModel::default()
        },
        "wide",
        4,
    );
    let steps = format!(
        "  - id: half\n    job: merge\n    with: {{merge_method: linear, models: [{{model: wide}}]}}\n{}",
        metagpt(&["\"${half.model}\"", "one"])
    );
    let report = workplace.run(&steps);
    let failed = report
        .steps
        .iter()
        .find(|record| record.step == "merged")
        .unwrap();
    assert_eq!(failed.status, StepStatus::Failed);
    let error = failed.error.as_ref().unwrap();
    assert_eq!((error.kind.as_str(), error.exit_code), ("config", 78));
    assert!(
        error
            .message
            .starts_with("merging.yaml:13:18: half does not fit: tensor model.embed"),
        "{}",
        error.message
    );
}

/// Loads a directory and prints the logits of some tokens.
const SCRIPT: &str = "
import json, sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
with torch.no_grad():
    logits = model(torch.tensor([json.loads(sys.argv[2])])).logits[0]
print(json.dumps(logits.flatten().tolist()))
";

#[test]
fn transformers_loads_a_merge_and_computes_the_same() {
    let Ok(python) = std::env::var("TRIBUTARY_PYTHON") else {
        eprintln!("skipped: TRIBUTARY_PYTHON names no Python with transformers");
        return;
    };
    let workplace = Workplace::new();
    let tokens: Vec<u32> = (0..64).map(|i| (i * 37 + 5) % 256).collect();
    for (dtype, shards) in [(DType::F32, u64::MAX), (DType::BF16, 100_000)] {
        for (seed, name) in [(1, "base"), (2, "one"), (3, "two")] {
            std::fs::remove_dir_all(workplace.path(name)).unwrap();
            workplace.model(
                &TinyModel {
                    dtype,
                    shard_bytes: shards,
                    ..TinyModel::default()
                },
                name,
                seed,
            );
        }
        let report = workplace.run(TWO_MERGES);
        let merged = workplace.artifact(&report, "both");
        let store = Store::open(merged.to_str().unwrap()).unwrap();
        let ours = Decoder::load(&store.directory(), Device::Cpu)
            .unwrap()
            .logits(&TokenBatch::document(&tokens))
            .unwrap();
        let output = Command::new(&python)
            .args([
                "-c",
                SCRIPT,
                merged.to_str().unwrap(),
                &serde_json::to_string(&tokens).unwrap(),
            ])
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let theirs: Vec<f32> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(ours.len(), theirs.len());
        let worst = ours
            .iter()
            .zip(&theirs)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        let scale = theirs.iter().fold(0.0f32, |scale, value| scale.max(value.abs()));
        eprintln!("{dtype}: logits up to {scale}, at most {worst:e} apart");
        assert!(worst <= 1e-5 * scale.max(1.0), "{dtype}: {worst} apart");
    }
}

/// Slices, an adapter and a weight by norms, all of it in a step's words.
#[test]
fn the_whole_vocabulary_is_a_steps() {
    let workplace = Workplace::new();
    adapter(&workplace.path("adapter"));
    let report = workplace.run(
        "  - id: stacked\n    job: merge\n    with:\n      merge_method: passthrough\n      slices:\n        - sources: [{model: \
         one, layer_range: [0, 2]}]\n        - sources: [{model: base, adapter: adapter, layer_range: [0, 1]}]\n  - id: merged\n    \
         job: merge\n    with:\n      merge_method: ties\n      base_model: base\n      compat: mergekit\n      parameters: \
         {weight: metagpt, density: 0.5}\n      models: [{model: base, adapter: adapter}, {model: two}]\n",
    );
    let (stacked, merged) = (
        workplace.artifact(&report, "stacked"),
        workplace.artifact(&report, "merged"),
    );
    let configuration: Value =
        serde_json::from_slice(&std::fs::read(stacked.join("config.json")).unwrap()).unwrap();
    assert_eq!(configuration["num_hidden_layers"], 3);
    let (one, base, result) = (
        read(&workplace.path("one")),
        read(&workplace.path("base")),
        read(&stacked),
    );
    assert_eq!(
        result["model.layers.1.mlp.up_proj.weight"],
        one["model.layers.1.mlp.up_proj.weight"]
    );
    assert_eq!(
        result["model.layers.2.mlp.up_proj.weight"],
        base["model.layers.0.mlp.up_proj.weight"]
    );
    // Everywhere s·B·A = 2 · 0.25 · 0.5 more.
    let [before, after] = [
        &base["model.layers.0.self_attn.q_proj.weight"],
        &result["model.layers.2.self_attn.q_proj.weight"],
    ];
    assert!(
        before
            .iter()
            .zip(after.iter())
            .all(|(before, after)| (after - before - 0.25).abs() < 1e-6)
    );
    let record: Value = serde_json::from_slice(&std::fs::read(merged.join("merge.json")).unwrap()).unwrap();
    assert_eq!(record["models"][0]["name"], "base+adapter");
    let sum: f64 = (0..2)
        .map(|model| record["models"][model]["coefficient"].as_f64().unwrap())
        .sum();
    assert!(
        (sum - 1.0).abs() < 1e-12 && record["parameters"]["vote"] == "weighted",
        "{record}"
    );
}

/// A LoRA adapter of rank one on one weight of a [`TinyModel`].
fn adapter(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let settings =
        json!({"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["q_proj"], "bias": "none"});
    std::fs::write(folder.join("adapter_config.json"), settings.to_string()).unwrap();
    let name = |side: &str| format!("base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight");
    let specs = [("A", vec![1, 64], 0.5f32), ("B", vec![64, 1], 0.25)];
    let layout: Vec<TensorSpec> = specs
        .iter()
        .map(|(side, shape, _)| TensorSpec {
            name: name(side),
            dtype: DType::F32,
            shape: shape.clone(),
        })
        .collect();
    let layout = ModelLayout::plan(&layout, u64::MAX, &[]).unwrap();
    write_model(
        &layout,
        &mut |_| {
            Ok(Box::new(std::fs::File::create(folder.join("adapter_model.safetensors"))?) as Box<dyn Write>)
        },
        &mut |spec, sink| {
            let value = specs.iter().find(|(side, ..)| spec.name == name(side)).unwrap().2;
            sink.write_all(&value.to_le_bytes().repeat(64))
        },
    )
    .unwrap();
}
