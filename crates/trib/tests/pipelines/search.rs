//! `merge.search` through the real binary: what it finds, what it refuses, and that a kill changes nothing.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{folder_with, run, stderr, stdout, steps, trib};

const TRAINED: &str = "
  - id: tokenizer
    job: train.tokenizer
    with: {vocab_size: 300, data: [{source: '${corpus.facts}'}]}
  - id: base
    job: train.lm
    with:
      start: {new: {tokenizer: '${tokenizer.tokenizer}', hidden_size: 32, layers: 4, heads: 2, context: 64}}
      data: [{source: '${corpus.facts}', split: train, held_out: 500}]
      loss_on: all
      steps: 24
      learning_rate: 1.0e-2
      schedule: {shape: constant}
      batch: {sequences: 2, length: 32}
      checkpoints: {keep_every: 6}
";
const PAIR: &str = "
  - id: pair
    job: merge.search
    with:
      checkpoints: ['${base.step_18}', '${base.step_24}']
      data: [{source: '${corpus.facts}', split: held_out, held_out: 500}]
      evaluations: 6
      tolerance: 0
      compare: ['${base.model}']
      context: 32
";
const FOUR: &str = "
  - id: four
    job: merge.search
    with:
      checkpoints: ['${base.step_6}', '${base.step_12}', '${base.step_18}', '${base.step_24}']
      data: [{source: '${corpus.facts}', split: held_out, held_out: 500}]
      evaluations: 16
      groups: 2
      baselines: [uniform, greedy, lawa, metagpt, fisher, regmean, grid, random]
      calibration: [{source: '${corpus.facts}', split: train, held_out: 500, limit: 4}]
      context: 32
  - id: scores
    job: evaluate
    with:
      models: ['${base.model}', '${four.model}']
      data: [{source: '${corpus.facts}', split: held_out, held_out: 500}]
      context: 32
";

/// Runs the pipeline of a folder, which must succeed.
fn done(folder: &Path) -> Value {
    let said = run(folder, &["run", "p.yaml", "--json", "--no-report"]);
    assert_eq!((said.status.code(), stderr(&said).as_str()), (Some(0), ""));
    serde_json::from_str(stdout(&said).lines().last().unwrap()).unwrap()
}

fn artifact(folder: &Path, done: &Value, step: &str) -> PathBuf {
    let steps = done["steps"].as_array().unwrap();
    let found = steps.iter().find(|found| found["step"] == step).unwrap();
    folder.join("ckpt").join(found["artifact"].as_str().unwrap())
}

fn read(place: &Path, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(place.join(file)).unwrap()).unwrap()
}

fn lines(place: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(place.join(file)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_is_published_is_what_was_evaluated() {
    let folder = folder_with(&steps(&format!("{TRAINED}{PAIR}{FOUR}")));
    let done = done(folder.path());
    let pair = artifact(folder.path(), &done, "pair");
    let facts = read(&pair, "tributary.json")["facts"].clone();
    let trials = lines(&pair, "trials.jsonl");
    let best = trials
        .iter()
        .filter(|trial| trial["half"] == "search" && trial["subject"].get("mixture").is_some())
        .map(|trial| trial["nll"].as_f64().unwrap())
        .fold(f64::INFINITY, f64::min);
    // No baseline was better here than what the search found.
    assert_eq!(facts["nll_searched"].as_f64(), Some(best), "{facts:#}");
    assert!(facts["evaluations"].as_u64().unwrap() <= 6);
    let newer = facts["weights"][0][1].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&newer), "{facts:#}");
    for end in ["low", "value", "high"] {
        assert!(facts["gain"][end].as_f64().is_some(), "{facts:#}");
    }

    // The published mixture scores as the one that was made in memory.
    let four = artifact(folder.path(), &done, "four");
    let facts = read(&four, "tributary.json")["facts"].clone();
    assert_eq!(facts["weights"].as_array().unwrap().len(), 2, "a group each");
    let trials = lines(&four, "trials.jsonl");
    let reported = trials
        .iter()
        .find(|trial| trial["half"] == "report" && trial["subject"]["mixture"] == facts["weights"])
        .unwrap();
    let scores = lines(&artifact(folder.path(), &done, "scores"), "documents.jsonl");
    let mut compared = 0;
    for document in reported["documents"].as_array().unwrap() {
        let published = scores
            .iter()
            .find(|score| score["model"] == "four" && score["id"] == document["id"])
            .unwrap();
        let (made, read) = (
            document["nll"].as_f64().unwrap(),
            published["nll"].as_f64().unwrap(),
        );
        assert!((made / read - 1.0).abs() < 1e-5, "{document} {published}");
        compared += 1;
    }
    assert!(compared > 5, "{compared}");
    let figures = std::fs::read_to_string(four.join("figures.json")).unwrap();
    for name in [
        "uniform soup",
        "greedy soup",
        "LAWA, last 2",
        "LAWA, last 3",
        "MetaGPT",
        "Fisher",
        "RegMean",
        "grid",
        "random",
    ] {
        assert!(figures.contains(name), "{name} is missing");
    }
}

#[test]
fn a_search_that_is_killed_ends_with_the_same_bytes() {
    let whole = folder_with(&steps(&format!("{TRAINED}{PAIR}")));
    let expected = artifact(whole.path(), &done(whole.path()), "pair");

    let killed = folder_with(&steps(&format!("{TRAINED}{PAIR}")));
    let kept = |folder: &Path| {
        let checkpoints = std::fs::read_dir(folder.join("ckpt/checkpoints")).ok()?;
        let logs = checkpoints
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("trials.jsonl")).ok());
        logs.map(|log| log.lines().count()).max()
    };
    let mut child = trib(killed.path())
        .args(["run", "p.yaml", "--no-report"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while kept(killed.path()).unwrap_or(0) < 2 {
        assert!(start.elapsed() < Duration::from_secs(120), "no trial was kept");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = kept(killed.path()).unwrap_or(0);
    assert!(left >= 2, "{left} trials were kept");
    let again = artifact(killed.path(), &done(killed.path()), "pair");
    for file in ["tributary.json", "trials.jsonl", "figures.json"] {
        let [one, other] =
            [&expected, &again].map(|place| std::fs::read_to_string(place.join(file)).unwrap());
        assert_eq!(one, other, "{file}");
    }
}

#[test]
fn text_that_a_checkpoint_was_trained_on_is_refused() {
    let overlapping = PAIR.replace("split: held_out, held_out: 500", "split: held_out, held_out: 600");
    let folder = folder_with(&steps(&format!("{TRAINED}{overlapping}")));
    let said = run(folder.path(), &["run", "p.yaml", "--no-report"]);
    assert_eq!(said.status.code(), Some(78), "{}", stderr(&said));
    assert!(
        stderr(&said).contains("was trained on this text"),
        "{}",
        stderr(&said)
    );
}

/// However many steps ago. What chose layers and was not fitted to is no training.
#[test]
fn text_that_an_ancestor_was_trained_on_is_refused() {
    // Two trainings, on the sides [500, 1000) and [0, 300) of the split.
    let other = TRAINED[TRAINED.find("  - id: base").unwrap()..]
        .replace("id: base", "id: other")
        .replace("split: train, held_out: 500", "split: held_out, held_out: 300");
    let derived = "
  - id: even
    job: merge
    with:
      merge_method: linear
      models: [{model: '${base.step_18}'}, {model: '${base.step_24}'}]
      parameters: {weight: 1}
  - id: pruned
    job: prune
    with: {model: '${even.model}', part: attention, layers: [2]}
  - id: thinner
    job: prune
    with: {model: '${other.model}', part: attention, remove: 1, data: [{source: '${corpus.facts}'}]}
";
    let search = |first: &str, second: &str| {
        let pair = PAIR
            .replace("${base.step_18}", first)
            .replace("${base.step_24}", second)
            .replace("compare: ['${base.model}']", "compare: []")
            .replace("split: held_out, held_out: 500", "split: train, held_out: 500");
        let folder = folder_with(&steps(&format!("{TRAINED}{other}{derived}{pair}")));
        let said = run(folder.path(), &["run", "p.yaml", "--no-report"]);
        (said.status.code(), stderr(&said))
    };
    let (code, said) = search("${other.model}", "${pruned.model}");
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("pruned or a model it was made of was trained on this text"),
        "{said}"
    );
    let (code, said) = search("${other.model}", "${thinner.model}");
    assert_eq!(code, Some(0), "{said}");
}

/// What shows from the file is told before anything is trained.
#[test]
fn mistakes_in_a_searched_method_are_told_at_once() {
    let method = |merge: &str| {
        let pair = PAIR.replace("      tolerance: 0\n", &format!("      merge: {merge}\n"));
        let folder = folder_with(&steps(&format!("{TRAINED}{pair}")));
        let said = run(folder.path(), &["plan", "p.yaml"]);
        (said.status.code(), stderr(&said))
    };
    let range = "{low: 0.2, high: 0.8}";
    for (merge, words) in [
        (
            format!("{{merge_method: tees, search: {{density: {range}}}}}"),
            "\"tees\"",
        ),
        (
            format!("{{merge_method: linear, search: {{densty: {range}}}}}"),
            "densty",
        ),
        (
            format!("{{merge_method: ties, parameters: {{weight: 1}}, search: {{density: {range}}}}}"),
            "base_model",
        ),
        (
            format!("{{merge_method: ties, base_model: '${{base.step_6}}', search: {{density: {range}}}}}"),
            "weight",
        ),
    ] {
        let (code, said) = method(&merge);
        assert_eq!(code, Some(78), "{merge}: {said}");
        assert!(said.contains(words), "{merge}: {said}");
    }
    let right = format!(
        "{{merge_method: ties, base_model: '${{base.step_6}}', parameters: {{weight: 1}}, search: {{density: {range}}}}}"
    );
    let (code, said) = method(&right);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn without_a_gain_nothing_is_published_if_one_is_required() {
    // So early in a training, what is older is worse by far.
    let early = PAIR
        .replace("step_18}', '${base.step_24}", "step_6}', '${base.step_12}")
        .replace("tolerance: 0", "require_gain: true");
    let folder = folder_with(&steps(&format!("{TRAINED}{early}")));
    let said = run(folder.path(), &["run", "p.yaml", "--no-report"]);
    assert_eq!(said.status.code(), Some(65), "{}", stderr(&said));
    assert!(stderr(&said).contains("is not published"), "{}", stderr(&said));
}

#[test]
fn settings_that_make_no_sense_are_told() {
    let folder = folder_with(&steps(&format!("{TRAINED}{PAIR}{FOUR}")));
    let text = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    for (from, to, message) in [
        (
            "['${base.step_18}', '${base.step_24}']",
            "['${base.step_18}']",
            "there is nothing to mix",
        ),
        (
            "evaluations: 16",
            "evaluations: 16\n      least: 0.5",
            "there are more",
        ),
        ("evaluations: 6", "evaluations: 2", "must be 3 to 500"),
        ("groups: 2", "groups: 0", "must be at least 1"),
        ("tolerance: 0", "report_share: 1.5", "must lie between 0 and 1"),
    ] {
        std::fs::write(folder.path().join("p.yaml"), text.replace(from, to)).unwrap();
        let said = run(folder.path(), &["plan", "p.yaml"]);
        assert_eq!(said.status.code(), Some(78), "{}", stderr(&said));
        assert!(stderr(&said).contains(message), "{message}: {}", stderr(&said));
    }
}

const METHOD: &str = "
  - id: ties
    job: merge.search
    with:
      checkpoints: ['${base.step_18}', '${base.step_24}']
      data: [{source: '${corpus.facts}', split: held_out, held_out: 500}]
      merge:
        merge_method: ties
        base_model: '${base.step_6}'
        parameters: {weight: 0.5}
        search: {density: {low: 0.2, high: 1}, lambda: {low: 0.5, high: 1.5, start: 1}}
      evaluations: 6
      baselines: [uniform, random]
      context: 32
  - id: scores
    job: evaluate
    with:
      models: ['${ties.model}']
      data: [{source: '${corpus.facts}', split: held_out, held_out: 500}]
      context: 32
";

#[test]
fn mixtures_are_evaluated_together() {
    let together = FOUR.replace("groups: 2", "at_once: 3");
    let folder = folder_with(&steps(&format!("{TRAINED}{together}")));
    let first = done(folder.path());
    let four = artifact(folder.path(), &first, "four");
    let facts = read(&four, "tributary.json")["facts"].clone();
    let trials = lines(&four, "trials.jsonl");
    let searched = trials.iter().filter(|trial| trial["half"] == "search");
    let of_mixtures: Vec<f64> = searched.filter_map(|trial| trial["nll"].as_f64()).collect();
    assert!(of_mixtures.contains(&facts["nll_searched"].as_f64().unwrap()));
    assert!(
        (8..=16).contains(&facts["evaluations"].as_u64().unwrap()),
        "{facts:#}"
    );
    // It is as good as the best of the same number by chance, or a grid, and the same again.
    assert!(
        facts["nll_searched"].as_f64().unwrap()
            <= of_mixtures.iter().copied().fold(f64::INFINITY, f64::min) + 2e-3
    );
    let again = folder_with(&steps(&format!("{TRAINED}{together}")));
    let second = done(again.path());
    let again = artifact(again.path(), &second, "four");
    assert_eq!(lines(&again, "trials.jsonl"), trials);
}

#[test]
fn clearly_worse_mixtures_stop_early_and_the_search_finds_the_same() {
    let halving = PAIR.replace("id: pair", "id: halved").replace(
        "tolerance: 0",
        "tolerance: 0\n      least: 0\n      halving: true",
    );
    let plain = PAIR.replace("tolerance: 0", "tolerance: 0\n      least: 0");
    // Some hundred documents to search on.
    let text = steps(&format!("{TRAINED}{plain}{halving}")).replace("facts: 40", "facts: 400");
    let folder = folder_with(&text);
    let done = done(folder.path());
    let best = |step: &str| {
        let place = artifact(folder.path(), &done, step);
        read(&place, "tributary.json")["facts"]["nll_searched"]
            .as_f64()
            .unwrap()
    };
    assert!(
        (best("pair") - best("halved")).abs() < 2e-3,
        "{} {}",
        best("pair"),
        best("halved")
    );
    let trials = lines(&artifact(folder.path(), &done, "halved"), "trials.jsonl");
    let of_search = || trials.iter().filter(|trial| trial["half"] == "search");
    let whole = of_search()
        .filter_map(|trial| Some(trial["documents"].as_array()?.len()))
        .max();
    let stopped: Vec<u64> = of_search()
        .filter_map(|trial| trial["stopped_after"].as_u64())
        .collect();
    assert!(!stopped.is_empty(), "{trials:#?}");
    assert!(
        stopped.iter().all(|documents| *documents < whole.unwrap() as u64),
        "{stopped:?}"
    );
    // What is published has read everything.
    let facts = read(&artifact(folder.path(), &done, "halved"), "tributary.json")["facts"].clone();
    let published = of_search()
        .find(|trial| trial["nll"] == facts["nll_searched"])
        .unwrap();
    assert!(published.get("stopped_after").is_none(), "{published:#}");
}

#[test]
fn parameters_of_a_method_are_searched_by_merging_in_memory() {
    let folder = folder_with(&steps(&format!("{TRAINED}{METHOD}")));
    let done = done(folder.path());
    let place = artifact(folder.path(), &done, "ties");
    let facts = read(&place, "tributary.json")["facts"].clone();
    let number = |name: &str| facts["parameters"][name].as_f64().unwrap();
    assert!(
        (0.2..=1.0).contains(&number("density")) && (0.5..=1.5).contains(&number("lambda")),
        "{facts:#}"
    );
    // What is published is a mixture that was evaluated.
    let trials = lines(&place, "trials.jsonl");
    let is_found = |trial: &&Value| {
        let values = &trial["subject"]["method"];
        trial["half"] == "search" && values[0] == number("density") && values[1] == number("lambda")
    };
    let found = trials.iter().find(is_found).unwrap();
    assert_eq!(facts["nll_searched"], found["nll"]);
    let text = std::fs::read_to_string(place.join("figures.json")).unwrap();
    assert!(text.contains("density") && text.contains("random"));

    // The base is the one that was named, though all checkpoints of a training lie in one artifact.
    let card = std::fs::read_to_string(place.join("README.md")).unwrap();
    assert!(card.contains("base_model: base.step_6"), "{card}");

    // What the method does not take is told before anything runs: a parameter's name, and either end of its range.
    let text = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    for (wrong, said) in [
        ("{denzity: {low: 0.2, high: 1}", "denzity"),
        ("{density: {low: 0.2, high: 2}", "not in 0..=1"),
    ] {
        let text = text.replace("{density: {low: 0.2, high: 1}", wrong);
        std::fs::write(folder.path().join("p.yaml"), text).unwrap();
        let said_here = run(folder.path(), &["plan", "p.yaml"]);
        assert_eq!(said_here.status.code(), Some(78), "{}", stderr(&said_here));
        assert!(
            stderr(&said_here).contains(said),
            "{said}: {}",
            stderr(&said_here)
        );
    }
}
