//! `evaluate` through the real binary: tasks, and that a kill changes nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{folder_with, run, stderr, stdout, steps, trib};

const STEPS: &str = "
  - id: tokenizer
    job: train.tokenizer
    with: {vocab_size: 300, data: [{source: '${corpus.facts}'}]}
  - id: base
    job: train.lm
    with:
      start: {new: {tokenizer: '${tokenizer.tokenizer}', hidden_size: 32, layers: 2, heads: 2, context: 64}}
      data: [{source: '${corpus.facts}'}]
      steps: 8
      learning_rate: 1.0e-2
      batch: {sequences: 2, length: 32}
      checkpoints: {keep_every: 4}
  - id: scores
    job: evaluate
    with:
      models: ['${base.step_4}', '${base.model}']
      data: [{source: '${corpus.facts}'}]
      tasks: [{task: task.yaml, rows: rows.jsonl, limit: 5}]
      metrics: [nll, accuracy, full_ece]
      per_token: true
";
const TASK: &str = "
task: colours
dataset_path: json
output_type: multiple_choice
doc_to_text: \"{{question}}\\nAnswer:\"
doc_to_choice: [red, green, blue]
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
metadata: {version: 1.0}
";

/// A folder with the pipeline, a task and its rows.
fn folder() -> tempfile::TempDir {
    let folder = folder_with(&steps(STEPS));
    std::fs::write(folder.path().join("task.yaml"), TASK).unwrap();
    let rows = ["red", "green", "blue"].iter().cycle().take(7).enumerate();
    let rows =
        rows.map(|(at, answer)| format!("{{\"question\": \"Colour {at}?\", \"answer\": \"{answer}\"}}\n"));
    std::fs::write(folder.path().join("rows.jsonl"), rows.collect::<String>()).unwrap();
    folder
}

fn scores(folder: &Path) -> PathBuf {
    let said = run(folder, &["run", "p.yaml", "--json", "--no-report"]);
    assert_eq!((said.status.code(), stderr(&said).as_str()), (Some(0), ""));
    let done: Value = serde_json::from_str(stdout(&said).lines().last().unwrap()).unwrap();
    let steps = done["steps"].as_array().unwrap();
    let found = steps.iter().find(|found| found["step"] == "scores").unwrap();
    folder.join("ckpt").join(found["artifact"].as_str().unwrap())
}

#[test]
fn tasks_are_answered_beside_texts() {
    let folder = folder();
    let place = scores(folder.path());
    let found: Value = serde_json::from_slice(&std::fs::read(place.join("scores.json")).unwrap()).unwrap();
    let tasks = found["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 2, "a model each");
    for task in tasks {
        assert_eq!(
            (&task["task"], &task["version"]),
            (&"colours".into(), &"1.0".into())
        );
        let scores = task["scores"].as_array().unwrap();
        let names: Vec<&str> = scores
            .iter()
            .map(|score| score["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["acc", "acc_norm"]);
        assert_eq!(scores[0]["rows"], 5);
        assert!((0.0..=1.0).contains(&scores[0]["value"].as_f64().unwrap()));
    }
    let records = std::fs::read_to_string(place.join("documents.jsonl")).unwrap();
    let answered = records
        .lines()
        .filter(|line| line.contains("log_likelihoods"))
        .count();
    assert_eq!(answered, 10);
    for name in ["answers.parquet", "documents.parquet"] {
        assert_eq!(std::fs::read(place.join(name)).unwrap()[..4], *b"PAR1", "{name}");
    }
    let figures = std::fs::read_to_string(place.join("figures.json")).unwrap();
    assert!(figures.contains("acc_norm") && figures.contains("colours"));
}

#[test]
fn a_task_that_is_not_understood_is_told_before_anything_runs() {
    let folder = folder();
    for (task, said) in [
        (
            TASK.replace("multiple_choice", "loglikelihood"),
            "output_type: loglikelihood",
        ),
        (
            TASK.replace("doc_to_target: answer", "doc_to_target: anwser"),
            "row 1",
        ),
    ] {
        std::fs::write(folder.path().join("task.yaml"), task).unwrap();
        let plan = run(folder.path(), &["plan", "p.yaml"]);
        assert_eq!(plan.status.code(), Some(78), "{}", stderr(&plan));
        assert!(stderr(&plan).contains(said), "{said}: {}", stderr(&plan));
    }
}

#[test]
fn an_evaluation_that_is_killed_ends_with_the_same_bytes() {
    let whole = folder();
    let expected = scores(whole.path());
    let killed = folder();
    let kept = |folder: &Path| {
        let checkpoints = std::fs::read_dir(folder.join("ckpt/checkpoints")).ok()?;
        let cells = checkpoints.filter_map(|entry| {
            let cells = entry.ok()?.path().join("cells");
            Some(std::fs::read_dir(cells).ok()?.count())
        });
        cells.max()
    };
    let mut child = trib(killed.path())
        .args(["run", "p.yaml", "--no-report"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while kept(killed.path()).unwrap_or(0) == 0 && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(120), "nothing was kept");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let again = scores(killed.path());
    for file in ["tributary.json", "scores.json", "documents.jsonl", "figures.json"] {
        let [one, other] =
            [&expected, &again].map(|place| std::fs::read_to_string(place.join(file)).unwrap());
        assert_eq!(one, other, "{file}");
    }
}

#[test]
fn evaluations_are_compared_only_if_they_asked_the_same() {
    let folder = folder();
    let first = scores(folder.path());
    let text = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    let again = |from: &str, to: &str| {
        std::fs::write(folder.path().join("p.yaml"), text.replace(from, to)).unwrap();
        let second = scores(folder.path());
        let places = [&first, &second].map(|place| place.to_str().unwrap().to_owned());
        run(folder.path(), &["compare", &places[0], &places[1], "--json"])
    };
    let same = again("['${base.step_4}', '${base.model}']", "['${base.step_8}']");
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    let found: Value = serde_json::from_str(&stdout(&same)).unwrap();
    let rows = found["rows"].as_array().unwrap();
    // Two models and one, by likelihood and two accuracies on a text and by two metrics of a task.
    assert_eq!(rows.len(), 10, "{found:#}");
    let metrics: BTreeSet<&str> = rows.iter().filter_map(|row| row["metric"].as_str()).collect();
    let expected = ["acc", "acc_norm", "accuracy", "nats a token", "top-5 accuracy"];
    assert_eq!(metrics, BTreeSet::from(expected));
    let last = rows
        .iter()
        .find(|row| row["first"] == "base" && row["metric"] == "nats a token");
    // The last step kept is the model.
    assert_eq!(last.unwrap()["difference"]["value"], 0.0, "{found:#}");
    let better = rows
        .iter()
        .find(|row| row["first"] == "base.step_4" && row["metric"] == "nats a token");
    assert!(
        better.unwrap()["difference"]["high"].as_f64().unwrap() < 0.0,
        "{found:#}"
    );
    assert_eq!(found["asked"].as_str().unwrap().len(), 64);

    let other = again("limit: 5", "limit: 4");
    assert_eq!(other.status.code(), Some(65), "{}", stdout(&other));
    assert!(
        stderr(&other).contains("tasks.0.limit: 5 and 4"),
        "{}",
        stderr(&other)
    );
    let trained = first.parent().unwrap().parent().unwrap().join("train.lm");
    let trained = std::fs::read_dir(trained)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let wrong = run(
        folder.path(),
        &["compare", first.to_str().unwrap(), trained.to_str().unwrap()],
    );
    assert_eq!(wrong.status.code(), Some(65), "{}", stderr(&wrong));
    assert!(
        stderr(&wrong).contains("not by an evaluation"),
        "{}",
        stderr(&wrong)
    );
}

const WRITTEN: &str = "
task: sums
output_type: generate_until
doc_to_text: \"{{question}}\\nAnswer:\"
doc_to_target: answer
fewshot_split: train
num_fewshot: 1
fewshot_config: {sampler: first_n}
generation_kwargs: {until: [\"\\n\"], max_gen_toks: 6}
metric_list: [{metric: exact_match, ignore_case: true}, {metric: rougeL}]
filter_list:
  - {name: word, filter: [{function: regex, regex_pattern: '(\\w+)'}, {function: take_first}]}
  - {name: whole, filter: [{function: remove_whitespace}]}
";
const READ: &str = "
task: texts
output_type: loglikelihood_rolling
doc_to_target: \"{{question}} {{answer}}\"
";

#[test]
fn tasks_are_answered_in_writing_and_by_reading() {
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("written.yaml", WRITTEN);
    write("read.yaml", READ);
    // More than one portion.
    let rows: String = (0..20)
        .map(|at| format!("{{\"question\": \"What is {at}?\", \"answer\": \"{at}\"}}\n"))
        .collect();
    write("questions.jsonl", &rows);
    let text = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
    let more = ", {task: written.yaml, rows: questions.jsonl, examples: rows.jsonl}, {task: read.yaml, rows: questions.jsonl, limit: 7}";
    let first = "{task: task.yaml, rows: rows.jsonl, limit: 5}";
    assert!(text.contains(first), "{text}");
    write("p.yaml", &text.replace(first, &format!("{first}{more}")));
    let place = scores(folder.path());
    let found: Value = serde_json::from_slice(&std::fs::read(place.join("scores.json")).unwrap()).unwrap();
    let names = |task: &str| -> Vec<String> {
        let tasks = found["tasks"].as_array().unwrap().iter();
        let task = tasks.clone().find(|found| found["task"] == task).unwrap();
        let scores = task["scores"].as_array().unwrap().iter();
        scores
            .map(|score| score["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let expected = [
        "exact_match,whole",
        "exact_match,word",
        "rougeL,whole",
        "rougeL,word",
    ];
    assert_eq!(names("sums"), expected);
    assert_eq!(
        names("texts"),
        ["bits_per_byte", "byte_perplexity", "word_perplexity"]
    );
    let records = std::fs::read_to_string(place.join("documents.jsonl")).unwrap();
    let of = |task: &str| {
        records
            .lines()
            .filter(|line| line.contains(&format!("\"task\":\"{task}\"")))
            .count()
    };
    assert_eq!((of("sums"), of("texts")), (40, 14));

    // What cannot be asked is told before anything runs.
    for (from, to, said) in [
        (", examples: rows.jsonl", "", "shows examples from other rows"),
        (
            "limit: 5}",
            "limit: 5, chat: true}",
            "only tasks that are answered in writing",
        ),
        ("written.yaml", "long.yaml", "leave no room for a prompt"),
        (
            "task: read.yaml",
            "task: read.yaml, built_in: ifeval",
            "either a file or built in",
        ),
    ] {
        write(
            "long.yaml",
            &WRITTEN.replace("max_gen_toks: 6", "max_gen_toks: 4096"),
        );
        let text = std::fs::read_to_string(folder.path().join("p.yaml")).unwrap();
        write("q.yaml", &text.replace(from, to));
        let plan = run(folder.path(), &["plan", "q.yaml"]);
        assert_eq!(plan.status.code(), Some(78), "{}", stderr(&plan));
        assert!(stderr(&plan).contains(said), "{said}: {}", stderr(&plan));
    }
}
