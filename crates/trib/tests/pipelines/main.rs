//! Pipelines through the real binary: what is wrong with a document or a call, and the exit code that tells what to do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

mod evaluate;
mod prune;
mod search;

/// Text that no pipeline of these tests changes.
pub(crate) const HEAD: &str = "name: e2e\nseed: 1\n";

/// The binary, in a folder, without anything of the surroundings that changes what it does.
pub(crate) fn trib(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trib"));
    command
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("NO_COLOR", "1");
    command.env("TRIBUTARY_DURABILITY", "process");
    command
}

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    trib(folder).args(arguments).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with a pipeline in it.
pub(crate) fn folder_with(steps: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), format!("{HEAD}{steps}")).unwrap();
    folder
}

/// What `plan` and `run` say about a bad pipeline, in words and as JSON: the same, before anything is written.
fn refused(steps: &str, arguments: &[&str], code: i32) -> (String, Value) {
    let folder = folder_with(steps);
    let mut words = Vec::new();
    let mut json = Vec::new();
    for verb in ["plan", "run"] {
        let mut all = vec![verb, "p.yaml"];
        all.extend_from_slice(arguments);
        let said = run(folder.path(), &all);
        assert_eq!(said.status.code(), Some(code), "{verb}: {}", stderr(&said));
        assert_eq!(stdout(&said), "");
        words.push(stderr(&said));
        all.push("--json");
        let said = run(folder.path(), &all);
        assert_eq!(said.status.code(), Some(code), "{verb}");
        assert_eq!(stdout(&said), "");
        let object: Value = serde_json::from_str(&stderr(&said)).unwrap();
        assert_eq!(object["code"], code);
        json.push(object);
    }
    assert!(!folder.path().join("ckpt").exists(), "something was written");
    assert_eq!(words[0], words[1]);
    assert_eq!(json[0], json[1]);
    (words.swap_remove(0), json.swap_remove(0))
}

/// The first diagnostic, which must be at this place.
fn first<'a>(json: &'a Value, code: &str, line: u64, column: u64) -> &'a Value {
    let first = &json["diagnostics"][0];
    assert_eq!(first["code"], format!("pipeline::{code}"), "{json:#}");
    assert_eq!(
        (first["line"].as_u64(), first["column"].as_u64()),
        (Some(line), Some(column)),
        "{first:#}"
    );
    first
}

const CORPUS: &str = "  - {id: corpus, job: synth, with: {facts: 40, seed: 3}}\n";

pub(crate) fn steps(rest: &str) -> String {
    format!("steps:\n{CORPUS}{rest}")
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    let (words, json) = refused("steps:\n  - {id: a, job: synth, with: {facs: 40}}\n", &[], 78);
    let found = first(&json, "unknown_key", 4, 32);
    assert_eq!(found["text"], "facs");
    assert_eq!(found["help"], "did you mean `facts`?");
    assert!(
        words.contains("p.yaml:4:32") && words.contains("did you mean `facts`?"),
        "{words}"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused() {
    let (words, json) = refused("steps:\n  - {id: a, job: synth, with: {facts: many}}\n", &[], 78);
    assert_eq!(first(&json, "wrong_type", 4, 39)["text"], "many");
    assert!(words.contains("error: p.yaml: "), "{words}");
}

#[test]
fn a_missing_file_is_refused() {
    let rest = "  - {id: t, job: train.tokenizer, with: {data: [{source: none.jsonl}]}}\n";
    let (_, json) = refused(&steps(rest), &[], 78);
    let found = first(&json, "missing_input", 5, 58);
    assert_eq!(found["text"], "none.jsonl");
}

#[test]
fn a_cycle_is_refused() {
    let rest = "  - {id: a, job: synth, after: [b], with: {facts: 1}}\n  - {id: b, job: synth, after: [a], with: {facts: 1}}\n";
    let (words, json) = refused(&steps(rest), &[], 78);
    assert!(
        words.contains("these steps wait for each other: a → b → a"),
        "{words}"
    );
    first(&json, "cycle", 5, 33);
}

#[test]
fn a_reference_to_a_step_that_is_not_there_is_refused() {
    let rest = "  - id: t\n    job: train.tokenizer\n    with:\n      data: [{source: '${corpsu.facts}'}]\n";
    let (words, json) = refused(&steps(rest), &[], 78);
    let found = first(&json, "unknown_step", 8, 23);
    assert_eq!(found["help"], "did you mean `corpus`?");
    assert!(words.contains("${corpsu.facts}"), "{words}");
}

#[test]
fn everything_wrong_is_told_at_once() {
    let rest = "  - {id: a, job: sinth}\n  - {id: corpus, job: synth, with: {facts: 1}}\n  - {id: b, job: synth, with: {}}\n";
    let (_, json) = refused(&steps(rest), &[], 78);
    let codes: Vec<&str> = json["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "pipeline::unknown_job",
            "pipeline::duplicate_step",
            "pipeline::check"
        ],
        "{json:#}"
    );
}

#[test]
fn bad_store_addresses_are_refused() {
    let (words, _) = refused(&steps(""), &["--store", "ftp://host/place"], 78);
    assert!(words.contains("s3://bucket/prefix"), "{words}");
    let (words, json) = refused(&format!("store: ftp://host/place\n{}", steps("")), &[], 78);
    assert!(words.contains("p.yaml:3:"), "{words}");
    first(&json, "bad_value", 3, 8);
    let (words, _) = refused(&steps(""), &["--store", "s3://key:canary@bucket/place"], 78);
    assert!(
        words.contains("credentials") && !words.contains("canary"),
        "{words}"
    );
}

#[test]
fn bad_overrides_are_refused() {
    let (words, json) = refused(&steps(""), &["--set", "sead=1"], 78);
    let found = first(&json, "bad_override", 1, 1);
    assert_eq!(
        (&found["file"], &found["help"]),
        (&"--set".into(), &"did you mean `seed`?".into())
    );
    assert!(words.contains("--set:1:1"), "{words}");
    refused(&steps(""), &["--set", "seed"], 78);
    refused(&steps(""), &["--set", "steps.nobody.with.facts=1"], 78);
}

#[test]
fn bad_calls_are_refused() {
    let folder = folder_with(&steps(""));
    for (arguments, code, words) in [
        (&["run"][..], 2, "<FILE>"),
        (&["run", "p.yaml", "--fast"], 2, "--fast"),
        (&["run", "p.yaml", "--device", "gpu"], 2, "`cuda:0`"),
        (&["run", "q.yaml"], 74, "did you mean `q"),
        (&["run", "far/q.yaml"], 74, "give the path of a pipeline"),
        (&["jobs", "sinth"], 2, "did you mean `synth`?"),
        (&["evaluate", "nowhere", "--data", "p.txt"], 65, "p.txt"),
        (
            &["evaluate", "nowhere", "--data", "p.txt", "--per-token"],
            2,
            "--json",
        ),
        (
            &["evaluate", "nowhere", "--data", "p.txt", "--metrics", "bleu"],
            2,
            "nll",
        ),
        (&["generate", "nowhere", "--prompt", "a"], 65, "nowhere"),
        (
            &["generate", "nowhere", "--prompt", "a", "--top-p", "1.5"],
            2,
            "at most 1",
        ),
    ] {
        let words = words.replace("did you mean `q", "./p.yaml");
        let said = run(folder.path(), arguments);
        assert_eq!(said.status.code(), Some(code), "{arguments:?}: {}", stderr(&said));
        assert!(stderr(&said).contains(&words), "{arguments:?}: {}", stderr(&said));
        assert!(
            stderr(&said).starts_with("error: "),
            "{arguments:?}: {}",
            stderr(&said)
        );
        let said = run(folder.path(), &[arguments, &["--json"]].concat());
        // The one call that `--json` mends.
        if arguments.contains(&"--per-token") {
            continue;
        }
        let object: Value =
            serde_json::from_str(&stderr(&said)).unwrap_or_else(|_| panic!("{}", stderr(&said)));
        assert_eq!(object["code"], code, "{arguments:?}");
        assert!(
            object["error"].as_str().unwrap().contains(&words),
            "{arguments:?}: {object}"
        );
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_is_not_there_is_unavailable() {
    let (words, _) = refused(&steps(""), &["--device", "cuda:0"], 69);
    assert!(words.contains("--features cuda"), "{words}");
}

#[test]
fn a_run_and_then_nothing_to_do() {
    let folder = folder_with(&steps("  - {id: more, job: synth, with: {stories: 20}}\n"));
    let plan: Value =
        serde_json::from_str(&stdout(&run(folder.path(), &["plan", "p.yaml", "--json"]))).unwrap();
    assert_eq!(plan["steps"][1]["state"], "run");
    let first = run(folder.path(), &["run", "p.yaml"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let log = stderr(&first);
    assert!(
        log.contains("corpus: started (synth)") && log.contains("more: done in "),
        "{log}"
    );
    // A log is no terminal.
    assert!(!log.contains('\r') && !log.contains('\u{1b}'), "{log:?}");
    assert!(
        stdout(&first).contains("in ") && stdout(&first).contains("artifacts/synth/"),
        "{}",
        stdout(&first)
    );
    let again = run(folder.path(), &["run", "p.yaml", "--quiet"]);
    assert_eq!((again.status.code(), stderr(&again).as_str()), (Some(0), ""));
    assert!(
        stdout(&again).starts_with("nothing to do: e2e has 2 steps, all of them in "),
        "{}",
        stdout(&again)
    );
    let plan = stdout(&run(folder.path(), &["plan", "p.yaml"]));
    assert!(
        plan.contains("2 steps: 2 there already\nnothing to do\n"),
        "{plan}"
    );
}

#[test]
fn a_run_as_json_lines() {
    let folder = folder_with(&steps(""));
    let said = run(
        folder.path(),
        &["run", "p.yaml", "--json", "--store", "elsewhere"],
    );
    assert_eq!((said.status.code(), stderr(&said).as_str()), (Some(0), ""));
    let lines: Vec<Value> = stdout(&said)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events[..2], ["run_started", "step_started"]);
    assert_eq!(events[events.len() - 2..], ["run_finished", "outcome"]);
    let outcome = lines.last().unwrap();
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&"done".into(), &0.into())
    );
    assert_eq!(outcome["steps"][0]["status"], "done");
    assert!(folder.path().join("elsewhere/runs/latest").exists() && !folder.path().join("ckpt").exists());
    let again = run(
        folder.path(),
        &["run", "p.yaml", "--json", "--store", "elsewhere"],
    );
    let lines: Vec<Value> = stdout(&again)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["event"], &lines[0]["steps"]),
        (&"nothing_to_do".into(), &1.into())
    );
    assert_eq!(
        (&lines[1]["event"], &lines[1]["run"]),
        (&"outcome".into(), &Value::Null)
    );
}

#[test]
fn a_closed_stdout_is_no_failure() {
    let folder = folder_with(&steps(""));
    for arguments in [
        &["jobs"][..],
        &["jobs", "synth"],
        &["schema"],
        &["plan", "p.yaml"],
        &["doctor"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = trib(folder.path())
            .args(arguments)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(
            (said.status.code(), stderr(&said).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    // A run does its work although nobody reads.
    for arguments in [
        &["run", "p.yaml", "--json"][..],
        &["run", "p.yaml", "--quiet", "--store", "other"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = trib(folder.path())
            .args(arguments)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(
            (said.status.code(), stderr(&said).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    assert!(
        folder.path().join("ckpt/runs/latest").exists() && folder.path().join("other/runs/latest").exists()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let folder = folder_with(&steps(""));
    let full = std::fs::File::create("/dev/full").unwrap();
    let said = trib(folder.path()).arg("jobs").stdout(full).output().unwrap();
    assert_eq!(said.status.code(), Some(74));
    assert!(
        stderr(&said).starts_with("error: cannot write the output: "),
        "{}",
        stderr(&said)
    );
}

/// A training that nobody waits for.
const ENDLESS: &str = "
  - id: tokenizer
    job: train.tokenizer
    with: {data: [{source: '${corpus.facts}'}], vocab_size: 280}
  - id: endless
    job: train.lm
    with:
      start: {new: {tokenizer: '${tokenizer.tokenizer}', hidden_size: 16, layers: 1, heads: 2, context: 32}}
      data: [{source: '${corpus.facts}'}]
      steps: 10000000
      learning_rate: 1.0e-3
      batch: {sequences: 1, length: 16}
      checkpoints: {every: 20}
";

#[cfg(unix)]
#[test]
fn a_run_stops_when_it_is_told_to() {
    for (signal, json) in [("-INT", false), ("-TERM", true)] {
        let folder = folder_with(&steps(ENDLESS));
        let mut command = trib(folder.path());
        command.args(["run", "p.yaml", "--device", "cpu"]);
        if json {
            command.arg("--json");
        }
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // As long as there is no checkpoint, the training has not begun.
        let kept = folder.path().join("ckpt/checkpoints");
        let began = Instant::now();
        while !kept.is_dir() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the training does not begin"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let told = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
        let said = child.wait_with_output().unwrap();
        assert_eq!(said.status.code(), Some(75), "{}", stderr(&said));
        if json {
            let error: Value = serde_json::from_str(&stderr(&said)).unwrap();
            assert_eq!(
                (&error["code"], &error["error"]),
                (
                    &75.into(),
                    &"stopped with 1 step left; run it again to go on".into()
                )
            );
            let outcome: Value = serde_json::from_str(stdout(&said).lines().last().unwrap()).unwrap();
            assert_eq!(
                (&outcome["status"], &outcome["exit_code"]),
                (&"cancelled".into(), &75.into())
            );
            assert_eq!(outcome["steps"][2]["status"], "cancelled");
        } else {
            let words = stderr(&said);
            assert!(
                words.contains("stopping at the next safe point; once more to stop at once\n"),
                "{words}"
            );
            assert!(words.contains("endless: stopped at a safe point\n"), "{words}");
            assert!(
                stdout(&said).contains("endless    train.lm         stopped"),
                "{}",
                stdout(&said)
            );
        }
    }
}

#[test]
fn the_report_goes_where_it_is_wanted() {
    let folder = folder_with(&steps(""));
    let outcome = |arguments: &[&str]| -> Value {
        let said = run(folder.path(), &[&["run", "p.yaml", "--json"], arguments].concat());
        assert_eq!((said.status.code(), stderr(&said).as_str()), (Some(0), ""));
        serde_json::from_str(stdout(&said).lines().last().unwrap()).unwrap()
    };
    let is_page = |path: &str| {
        std::fs::read_to_string(folder.path().join(path))
            .unwrap()
            .contains("<html")
    };
    let none = outcome(&["--no-report"]);
    assert_eq!(none["report"], Value::Null);
    let run_id = none["run"].as_str().unwrap();
    assert!(
        !folder
            .path()
            .join(format!("ckpt/runs/{run_id}/report.html"))
            .exists()
    );
    // With nothing to do, the report of the last run is made up for, and found again after that.
    let late = outcome(&[]);
    assert!(
        late["report"]
            .as_str()
            .unwrap()
            .ends_with(&format!("ckpt/runs/{run_id}/report.html"))
    );
    assert!(is_page(&format!("ckpt/runs/{run_id}/report.html")));
    assert_eq!(outcome(&[])["report"], late["report"]);
    assert_eq!(outcome(&["--report", "here.html"])["report"], "here.html");
    assert!(is_page("here.html"));
    let nowhere = run(
        folder.path(),
        &["run", "p.yaml", "--report", "no/such/folder.html"],
    );
    assert_eq!(nowhere.status.code(), Some(74));
    assert!(
        stderr(&nowhere).contains("no/such/folder.html"),
        "{}",
        stderr(&nowhere)
    );
}
