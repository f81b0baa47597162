//! Layers removed from a model, and everything that can be measured of it.

use serde_json::Value;

use crate::{folder_with, run, stderr, stdout, steps};

const PRUNED: &str = "
  - id: tokenizer
    job: train.tokenizer
    with: {vocab_size: 300, data: [{source: '${corpus.facts}'}]}
  - id: base
    job: train.lm
    with:
      start: {new: {tokenizer: '${tokenizer.tokenizer}', hidden_size: 32, layers: 4, heads: 2, context: 64}}
      data: [{source: '${corpus.facts}'}]
      steps: 4
      learning_rate: 1.0e-3
      batch: {sequences: 2, length: 32}
  - id: pruned
    job: prune
    with: {model: '${base.model}', remove: 2, context: 32, data: [{source: '${corpus.facts}'}]}
  - id: named
    job: prune
    with: {model: '${base.model}', layers: [0, 2]}
  - id: scores
    job: evaluate
    with:
      models: ['${base.model}', '${pruned.model}', '${named.model}']
      data: [{source: '${corpus.facts}'}]
      metrics: [nll, perplexity, accuracy, top_5_accuracy, ece, class_wise_ece, full_ece, block_influence]
      bins: 10
";

#[test]
fn layers_are_removed_and_everything_is_measured() {
    let folder = folder_with(&steps(PRUNED));
    let said = run(folder.path(), &["run", "p.yaml", "--json", "--no-report"]);
    assert_eq!((said.status.code(), stderr(&said).as_str()), (Some(0), ""));
    let done: Value = serde_json::from_str(stdout(&said).lines().last().unwrap()).unwrap();
    let of = |step: &str| {
        let steps = done["steps"].as_array().unwrap();
        steps.iter().find(|found| found["step"] == step).unwrap().clone()
    };
    let read = |step: &str, file: &str| -> Value {
        let artifact = of(step)["artifact"].as_str().unwrap().to_owned();
        let place = folder.path().join("ckpt").join(artifact).join(file);
        serde_json::from_slice(&std::fs::read(&place).unwrap()).unwrap()
    };
    assert_eq!(read("pruned", "config.json")["num_hidden_layers"], 2);
    let facts = read("pruned", "tributary.json")["facts"].clone();
    assert_eq!(facts["removed_layers"].as_array().unwrap().len(), 2, "{facts:#}");
    assert_eq!(facts["metric"].as_array().unwrap().len(), 4);
    assert_eq!(
        read("named", "tributary.json")["facts"]["removed_layers"],
        serde_json::json!([0, 2])
    );

    let scores = read("scores", "scores.json");
    let layers: Vec<usize> = scores["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| {
            let calibration = &cell["calibration"];
            assert_eq!(calibration["bins"], 10);
            assert_eq!(calibration["positions"], cell["nll"]["tokens"]);
            for error in ["ece", "class_wise_ece", "full_ece"] {
                assert!(
                    (0.0..=2.0).contains(&calibration[error].as_f64().unwrap()),
                    "{calibration:#}"
                );
            }
            assert!(cell["top_5_accuracy"]["value"].as_f64() >= cell["top_1_accuracy"]["value"].as_f64());
            cell["block_influence"]["layers"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(layers, [4, 2, 2]);
}

const HEALED: &str = "
  - {id: tales, job: synth, with: {stories: 60, seed: 3}}
  - id: tokenizer
    job: train.tokenizer
    with: {vocab_size: 300, data: [{source: '${tales.stories}'}]}
  - id: base
    job: train.lm
    with:
      start: {new: {tokenizer: '${tokenizer.tokenizer}', hidden_size: 32, layers: 4, heads: 2, context: 64}}
      data: [{source: '${tales.stories}'}]
      steps: 12
      learning_rate: 1.0e-2
      batch: {sequences: 4, length: 32}
  - id: pruned
    job: prune
    with:
      model: '${base.model}'
      remove: 2
      how: iterative
      heal: true
      context: 32
      data: [{source: '${tales.stories}', split: train, held_out: 300}]
      curve:
        up_to: 3
        seeds: 2
        prompts: 2
        against: [random, reverse, relative_magnitude]
        data: [{source: '${tales.stories}', split: held_out, held_out: 300}]
        tasks: [{task: task.yaml, rows: rows.jsonl, name: ends}]
  - id: named
    job: prune
    with: {model: '${base.model}', layers: [1, 2], heal: true, context: 32, data: [{source: '${tales.stories}', split: train, held_out: 300}]}
  - id: inattentive
    job: prune
    with:
      model: '${base.model}'
      remove: 2
      part: attention
      heal: true
      context: 32
      data: [{source: '${tales.stories}', split: train, held_out: 300}]
      curve:
        against: [random, likelihood]
        seeds: 1
        data: [{source: '${tales.stories}', split: held_out, held_out: 300}]
  - id: replaced
    job: prune
    with:
      model: '${base.model}'
      remove: 2
      replace: {units: 24}
      context: 32
      data: [{source: '${tales.stories}', split: train, held_out: 300}]
      curve:
        against: []
        data: [{source: '${tales.stories}', split: held_out, held_out: 300}]
  - id: trained_on
    job: train.lm
    with:
      start: {warm_start: '${replaced.model}'}
      data: [{source: '${tales.stories}', split: train, held_out: 300}]
      steps: 6
      learning_rate: 3.0e-3
      batch: {sequences: 4, length: 32}
  - id: unfed
    job: prune
    with: {model: '${base.model}', remove: 4, part: feed_forward, by: likelihood, how: iterative, context: 32, data: [{source: '${tales.stories}', split: train, held_out: 300}]}
  - id: scores
    job: evaluate
    with:
      models: ['${base.model}', '${pruned.model}', '${named.model}', '${inattentive.model}', '${replaced.model}', '${trained_on.model}', '${unfed.model}']
      data: [{source: '${tales.stories}', split: held_out, held_out: 300}]
      context: 32
";

#[test]
fn what_is_healed_is_what_the_curve_measured() {
    let folder = folder_with(&steps(HEALED));
    let task = "task: ends\noutput_type: multiple_choice\ndoc_to_text: text\ndoc_to_choice: [\"end.\", \"began\"]\ndoc_to_target: gold\n";
    std::fs::write(folder.path().join("task.yaml"), task).unwrap();
    let rows = "{\"text\": \"This is the\", \"gold\": 0}\n{\"text\": \"So it\", \"gold\": 1}\n";
    std::fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
    let said = run(folder.path(), &["run", "p.yaml", "--json", "--no-report"]);
    assert_eq!((said.status.code(), stderr(&said).as_str()), (Some(0), ""));
    let done: Value = serde_json::from_str(stdout(&said).lines().last().unwrap()).unwrap();
    let artifact = |step: &str| -> String {
        let steps = done["steps"].as_array().unwrap();
        let found = steps.iter().find(|found| found["step"] == step).unwrap();
        found["artifact"].as_str().unwrap().to_owned()
    };
    let read = |step: &str, file: &str| -> Value {
        let place = folder.path().join("ckpt").join(artifact(step)).join(file);
        serde_json::from_slice(&std::fs::read(place).unwrap()).unwrap()
    };
    assert_eq!(read("pruned", "config.json")["num_hidden_layers"], 2);
    let facts = read("named", "tributary.json")["facts"].clone();
    assert_eq!(facts["healed"][0]["layer"], 0, "{facts:#}");
    assert!(facts["healed"][0]["missing"].as_f64().unwrap() < 1.0, "{facts:#}");

    let figures = read("pruned", "figures.json");
    let curve = figures
        .as_array()
        .unwrap()
        .iter()
        .find(|figure| figure["title"] == "What removing layers costs")
        .unwrap();
    let lines = curve["lines"].as_array().unwrap();
    let names: Vec<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    let expected = [
        "Block Influence",
        "Block Influence, healed",
        "random, mean of 2",
        "last layers",
        "relative magnitude",
    ];
    assert_eq!(names, expected);
    let table = figures
        .as_array()
        .unwrap()
        .iter()
        .find(|figure| figure["title"] == "Removed by Block Influence");
    let columns = table.unwrap()["columns"].as_array().unwrap();
    assert!(
        columns.contains(&"ends: acc".into()) && columns.contains(&"healed: ends: acc".into()),
        "{columns:?}"
    );
    let scores = read("scores", "scores.json");
    let nll = |model: &str| {
        let cells = scores["scores"].as_array().unwrap();
        let found = cells.iter().find(|cell| cell["model"] == model).unwrap();
        found["nll"]["nll"].as_f64().unwrap()
    };
    let point = |line: usize, removed: usize| lines[line]["y"][removed].as_f64().unwrap();
    // The published model, read back, is the point of the curve, and the curve begins with the whole model.
    assert!(
        (nll("pruned") - point(1, 2)).abs() < 1e-5,
        "{} {}",
        nll("pruned"),
        point(1, 2)
    );
    // So is one without two attentions.
    let figures = read("inattentive", "figures.json");
    let curve = figures.as_array().unwrap().iter();
    let curve = curve
        .clone()
        .find(|figure| figure["title"] == "What removing attentions costs");
    let healed = curve.unwrap()["lines"][1]["y"][2].as_f64().unwrap();
    assert!(
        (nll("inattentive") - healed).abs() < 1e-5,
        "{} {healed}",
        nll("inattentive")
    );
    // And one with small networks in the place of two layers, which training leaves small.
    let figures = read("replaced", "figures.json");
    let mut tables = figures.as_array().unwrap().iter();
    let curve = tables.find(|figure| figure["title"] == "What removing layers costs");
    let replaced = curve.unwrap()["lines"][1]["y"][2].as_f64().unwrap();
    assert!(
        (nll("replaced") - replaced).abs() < 1e-5,
        "{} {replaced}",
        nll("replaced")
    );
    assert!(nll("trained_on") < nll("replaced"));
    let facts = read("replaced", "tributary.json")["facts"].clone();
    let layer = facts["removed_layers"][0].as_u64().unwrap();
    let zeros = |step: &str, name: &str| {
        let place = folder.path().join("ckpt").join(artifact(step));
        let directory = tributary_tensorfile::LocalDirectory::new(place);
        let checkpoint = tributary_tensorfile::Checkpoint::open(&directory).unwrap();
        let tensor = checkpoint
            .get(&format!("model.layers.{layer}.{name}.weight"))
            .unwrap();
        let values = checkpoint.read_f32(tensor).unwrap();
        values.iter().filter(|value| **value == 0.0).count() as f64 / values.len() as f64
    };
    for step in ["replaced", "trained_on"] {
        assert_eq!(zeros(step, "self_attn.v_proj"), 1.0, "{step}");
        assert_eq!(zeros(step, "self_attn.o_proj"), 1.0, "{step}");
        let idle = zeros(step, "mlp.up_proj");
        assert!(idle > 0.2 && idle < 0.9, "{step}: {idle}");
        assert_eq!(idle, zeros(step, "mlp.down_proj"), "{step}");
    }
    for step in ["inattentive", "unfed", "replaced"] {
        assert_eq!(read(step, "config.json")["num_hidden_layers"], 4);
    }
    assert_eq!(
        read("unfed", "tributary.json")["facts"]["removed_layers"],
        serde_json::json!([0, 1, 2, 3])
    );
    for (number, line) in lines.iter().enumerate() {
        assert!((nll("base") - point(number, 0)).abs() < 1e-5);
        assert_eq!(line["y"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn more_layers_than_there_are_cannot_be_removed() {
    let folder = folder_with(&steps(PRUNED));
    assert_eq!(
        run(folder.path(), &["run", "p.yaml", "--no-report"])
            .status
            .code(),
        Some(0)
    );
    let text = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    for (from, to, message) in [
        ("remove: 2", "remove: 4", "4 of 4 layers cannot be removed"),
        ("layers: [0, 2]", "layers: [0, 9]", "there is no layer 9"),
        ("remove: 2", "remove: 0", "must be at least 1"),
        (
            "remove: 2",
            "remove: 5, part: attention",
            "5 of 4 attentions cannot be removed",
        ),
        (
            "remove: 2",
            "remove: 2, replace: {units: 100000}",
            "more than a layer has",
        ),
        (
            "remove: 2",
            "remove: 2, heal: true, replace: {units: 8}",
            "what replaces them is fitted already",
        ),
        (
            "remove: 2",
            "remove: 2, part: attention, how: stretch",
            "a stretch is of whole layers",
        ),
    ] {
        std::fs::write(folder.path().join("p.yaml"), text.replace(from, to)).unwrap();
        let said = run(folder.path(), &["plan", "p.yaml"]);
        assert_eq!(said.status.code(), Some(78), "{}", stderr(&said));
        assert!(stderr(&said).contains(message), "{}", stderr(&said));
    }
}
