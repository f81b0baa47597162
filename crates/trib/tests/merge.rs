//! `trib merge` as a user meets it: outcome, errors with their places, exit codes, interruption.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tributary_store::{Artifact, Store};
use tributary_testkit::faults::FaultPlan;
use tributary_testkit::s3::{BUCKET, S3Server};
use tributary_testkit::tiny_model::TinyModel;

/// A folder that commands run in, with models `base`, `one` and `two`.
struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    fn new() -> Self {
        let workplace = Workplace {
            folder: tempfile::tempdir().unwrap(),
        };
        for (seed, name) in [(1, "base"), (2, "one"), (3, "two")] {
            TinyModel::default().write(&workplace.path(name), seed).unwrap();
        }
        workplace
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trib"));
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    fn trib(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a failing command says, and its exit code.
    fn failure(&self, arguments: &[&str]) -> String {
        let output = self.trib(arguments);
        assert!(output.stdout.is_empty(), "a failure has no data");
        let said = String::from_utf8(output.stderr)
            .unwrap()
            .replace(self.folder.path().to_str().unwrap(), "[folder]");
        format!("{said}exit code {}", output.status.code().unwrap())
    }
}

const METAGPT: &str =
    "merge_method: metagpt\nbase_model: base\nmodels:\n  - model: one\n  - {model: two, name: second}\n";

fn json(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_merge_is_shown_and_an_equal_one_is_success() {
    let workplace = Workplace::new();
    workplace.file("merge.yml", METAGPT);
    let plan = json(&workplace.trib(&["merge", "merge.yml", "out", "--plan", "--json"]))["plan"].clone();
    assert_eq!(
        (&plan["passes"], &plan["models"][1]),
        (&2.into(), &"second".into())
    );
    assert!(!workplace.path("out").exists());
    let made = json(&workplace.trib(&[
        "merge",
        "merge.yml",
        "out",
        "--json",
        "--threads",
        "1",
        "--memory",
        "4MiB",
    ]));
    let artifact = Artifact::open(&Store::open(workplace.path("out").to_str().unwrap()).unwrap()).unwrap();
    assert_eq!(made["digest"], artifact.digest());
    assert!(made["execution"]["peak_buffer_bytes"].as_u64().unwrap() <= 4 << 20);
    assert_eq!(made["execution"]["bytes_read"], plan["bytes_to_read"]);
    let lambda = |index: usize| made["record"]["models"][index]["coefficient"].as_f64().unwrap();
    assert!((lambda(0) + lambda(1) - 1.0).abs() < 1e-12);

    let again = workplace.trib(&["merge", "merge.yml", "out"]);
    let shown = String::from_utf8(again.stdout).unwrap();
    for part in [
        &artifact.digest(),
        "metagpt: θ = θ₀",
        "base (base)",
        "second",
        &format!("{:.6}", lambda(0)),
        "cosines of the task vectors",
        "n_eff 2.00 of 2 models",
    ] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    // Models that are artifacts are known by content: nothing is read a second time.
    for name in ["base", "one", "two"] {
        json(&workplace.trib(&["import", name, &format!("known/{name}"), "--json"]));
    }
    workplace.file("known.yml", &METAGPT.replace("model: ", "model: known/"));
    let known = ["merge", "known.yml", "out-2", "--json"];
    assert_eq!(json(&workplace.trib(&known))["cached"], false);
    let again = json(&workplace.trib(&known));
    assert_eq!(
        (&again["cached"], &again["record"]["models"]),
        (&true.into(), &json(&workplace.trib(&known))["record"]["models"])
    );
    assert_eq!(
        again["record"]["models"][0]["coefficient"],
        made["record"]["models"][0]["coefficient"]
    );
}

#[test]
fn errors_say_where_and_what_to_do() {
    let workplace = Workplace::new();
    workplace.file("merge.yml", METAGPT);
    json(&workplace.trib(&["merge", "merge.yml", "out", "--json"]));
    TinyModel {
        vocab: 300,
        ..TinyModel::default()
    }
    .write(&workplace.path("wide"), 4)
    .unwrap();
    TinyModel::default().write(&workplace.path("cut"), 5).unwrap();
    let file = File::options()
        .write(true)
        .open(workplace.path("cut/model.safetensors"))
        .unwrap();
    file.set_len(10_000).unwrap();
    workplace.file(
        "words.yml",
        "merge_method: metagtp\nbase_model: base\nmodels:\n  - modle: one\n",
    );
    workplace.file(
        "fit.yml",
        "merge_method: linear\nmodels:\n  - model: one\n  - model: wide\n",
    );
    workplace.file(
        "gone.yml",
        "merge_method: task_arithmetic\nbase_model: bse\nmodels:\n  - {model: one, parameters: {weight: 1}}\n  - {model: cut, \
         parameters: {weight: 1}}\n  - {model: 's3s://x/y', parameters: {weight: 1}}\n",
    );
    workplace.file("other.yml", "merge_method: linear\nmodels: [{model: one}]\n");
    let told: Vec<String> = [
        vec!["merge", "absent.yml", "new"],
        vec!["merge", "words.yml", "new"],
        vec!["merge", "fit.yml", "new"],
        vec!["merge", "gone.yml", "new"],
        vec!["merge", "other.yml", "out"],
        vec!["merge", "other.yml", "base"],
        vec!["merge", "other.yml", "new", "--memory", "1KiB"],
        vec!["merge", "other.yml", "new", "--memory", "much"],
        vec!["merge", "fit.yml", "new", "--json"],
    ]
    .iter()
    .map(|arguments| format!("$ trib {}\n{}", arguments.join(" "), workplace.failure(arguments)))
    .collect();
    insta::assert_snapshot!("errors", told.join("\n\n"));
    assert!(!workplace.path("new").exists());
}

/// A model of zeros that takes no disk: one tensor of `len` bytes of f32.
fn hollow(path: &Path, len: u64) {
    std::fs::create_dir_all(path).unwrap();
    let header = format!(
        r#"{{"x":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{len}]}}}}"#,
        len / 4
    );
    let mut file = File::create(path.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + len).unwrap();
    std::fs::write(path.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
}

/// An interrupt in the middle of writing: exit code 75, nothing visible, and the next attempt succeeds.
#[test]
fn an_interrupted_merge_leaves_nothing() {
    let workplace = Workplace::new();
    for name in ["base", "one", "two"] {
        hollow(&workplace.path(name), 1 << 30);
    }
    workplace.file(
        "merge.yml",
        "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: one}, {model: two}]\nparameters: {weight: 0.5}\n",
    );
    let mut child = workplace
        .command(&["merge", "merge.yml", "out", "--threads", "1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_writing =
        || std::fs::read_dir(workplace.path("out")).is_ok_and(|mut files| files.next().is_some());
    while !is_writing() {
        assert!(Instant::now() < deadline, "the merge did not begin to write");
        assert!(
            child.try_wait().unwrap().is_none(),
            "the merge ended before it was interrupted"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("cancelled"), "{said}");
    assert!(!is_writing(), "something was left");
    for name in ["base", "one", "two"] {
        hollow(&workplace.path(name), 1 << 20);
    }
    json(&workplace.trib(&["merge", "merge.yml", "out", "--json"]));
}

/// Several documents in one file: named results are models of others, made first and gone at the end.
#[test]
fn named_documents_are_models_of_others() {
    let workplace = Workplace::new();
    workplace.file(
        "merge.yml",
        "merge_method: linear\nmodels: [{model: middle}, {model: base}]\nparameters: {weight: 1}\n---\nname: middle\nmerge_method: \
         slerp\nbase_model: one\nmodels: [{model: one}, {model: two}]\nparameters: {t: 0.5}\n",
    );
    let plan = json(&workplace.trib(&["merge", "merge.yml", "out", "--plan", "--json"]))["plan"].clone();
    assert_eq!(plan["models"][0], "middle");
    assert!(!workplace.path("out.intermediate").exists());
    let made = json(&workplace.trib(&["merge", "merge.yml", "out", "--json", "--shard-size", "100KB"]));
    assert_eq!(made["record"]["models"][0]["name"], "middle");
    assert!(
        !workplace.path("out.intermediate").exists(),
        "what was between is gone"
    );
    json(&workplace.trib(&[
        "merge",
        "merge.yml",
        "kept",
        "--json",
        "--intermediate-dir",
        "between",
    ]));
    assert!(workplace.path("between/middle/tributary.json").exists());
    // By hand, the same.
    workplace.file(
        "last.yml",
        "merge_method: linear\nmodels: [{model: between/middle}, {model: base}]\nparameters: {weight: 1}\n",
    );
    json(&workplace.trib(&["merge", "last.yml", "by-hand", "--json"]));
    let file = |name: &str| std::fs::read(workplace.path(name).join("model.safetensors")).unwrap();
    assert!(file("kept") == file("by-hand"));
}

/// What a process of several says, whoever comes last, and when all is done.
#[test]
fn processes_share_a_merge() {
    let workplace = Workplace::new();
    workplace.file("merge.yml", METAGPT);
    let shard = |which: &str| {
        json(&workplace.trib(&[
            "merge",
            "merge.yml",
            "out",
            "--json",
            "--shard-size",
            "100KB",
            "--wait",
            "0",
            "--shard",
            which,
        ]))
    };
    let first = shard("2/2");
    assert!(
        first["finished"].as_u64().unwrap() < first["files"].as_u64().unwrap(),
        "{first}"
    );
    let last = shard("1/2");
    assert!(last["digest"].is_string(), "{last}");
    assert_eq!(shard("2/2")["digest"], last["digest"], "who comes late finds it");
    let whole = json(&workplace.trib(&["merge", "merge.yml", "whole", "--json", "--shard-size", "100KB"]));
    assert_eq!(whole["digest"], last["digest"]);
}

/// Four processes that merge at the same time make what one makes, bit for bit.
#[test]
fn four_processes_at_once_are_one() {
    let workplace = Workplace::new();
    workplace.file("merge.yml", METAGPT);
    let small = ["--json", "--shard-size", "20KB"];
    let children = ["1/4", "2/4", "3/4", "4/4"].map(|which| {
        let shard = ["--shard", which];
        let arguments = [&["merge", "merge.yml", "out"], &small[..], &shard].concat();
        let mut command = workplace.command(&arguments);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let said = children.map(|child| json(&child.wait_with_output().unwrap()));
    let whole = json(&workplace.trib(&[&["merge", "merge.yml", "whole"], &small[..]].concat()));
    let finished: Vec<&Value> = said.iter().filter(|said| said["digest"].is_string()).collect();
    assert!(!finished.is_empty(), "who comes last publishes: {said:?}");
    assert!(
        finished.iter().all(|said| said["digest"] == whole["digest"]),
        "{said:?}"
    );
    let tensors = |name: &str| {
        let entries = std::fs::read_dir(workplace.path(name)).unwrap();
        let mut files: Vec<(String, Vec<u8>)> = entries
            .map(|entry| entry.unwrap())
            .filter(|entry| {
                entry
                    .path()
                    .extension()
                    .is_some_and(|ending| ending == "safetensors")
            })
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    };
    assert!(tensors("out").len() > 3);
    assert!(tensors("out") == tensors("whole"));
}

/// A merge from a server that is continued after an object of a model was replaced takes nothing of what was made before.
#[test]
fn what_was_made_of_a_replaced_object_is_made_anew() {
    let (workplace, server) = (Workplace::new(), S3Server::start());
    let trib = |arguments: &[&str]| {
        let mut command = workplace.command(arguments);
        json(&command.envs(server.environment()).arg("--json").output().unwrap())
    };
    let models = ["base", "one", "two"].map(|name| format!("s3://{BUCKET}/{name}"));
    for (name, address) in ["base", "one", "two"].iter().zip(&models) {
        trib(&["import", name, address]);
    }
    let [base, one, two] = &models;
    workplace.file(
        "merge.yml",
        &format!("merge_method: task_arithmetic\nbase_model: {base}\nmodels: [{{model: {one}}}, {{model: {two}}}]\nparameters: {{weight: 0.5}}\n"),
    );
    let shard = |which: &str| {
        let small = ["--shard-size", "20KB", "--wait", "0", "--shard", which];
        trib(&[&["merge", "merge.yml", "out"], &small[..]].concat())
    };
    let first = shard("1/2");
    assert!(first["finished"].as_u64().unwrap() > 0, "{first}");

    // Of the same shapes, so that headers do not tell.
    TinyModel::default().write(&workplace.path("other"), 9).unwrap();
    trib(&["import", "other", &format!("s3://{BUCKET}/other")]);
    let environment = server.environment().into_iter();
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    let store = Store::open_with(&format!("s3://{BUCKET}"), environment).unwrap();
    let other = store.get("other/model.safetensors").unwrap();
    let replaced = "one/model.safetensors";
    assert_eq!(store.head(replaced).unwrap().unwrap().size, other.len() as u64);
    store.put(replaced, other.to_vec()).unwrap();

    let second = shard("2/2");
    assert!(
        second["digest"].is_null(),
        "the other half is no longer there: {second}"
    );
    let continued = shard("1/2");
    let whole = trib(&["merge", "merge.yml", "whole", "--shard-size", "20KB"]);
    assert_eq!(continued["digest"], whole["digest"]);
}

/// A process that does not outlive a test that fails.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// The server goes away in the middle of a merge and comes back: the merge goes on.
#[test]
fn an_outage_is_waited_out() {
    let workplace = Workplace::new();
    let start =
        |port: u16| S3Server::start_in(&workplace.path("server"), port, FaultPlan::all(0, 0)).unwrap();
    let server = start(0);
    let large = TinyModel {
        width: 512,
        layers: 8,
        vocab: 8192,
        ..TinyModel::default()
    };
    for (seed, name) in [(1, "base"), (2, "one"), (3, "two")] {
        let folder = workplace.path("server").join(BUCKET).join(name);
        large.write(&folder, seed).unwrap();
    }
    let document = |place: &str| {
        format!(
            "merge_method: task_arithmetic\nbase_model: {place}base\nmodels: [{{model: {place}one}}, {{model: {place}two}}]\n\
             parameters: {{weight: 0.5}}\n"
        )
    };
    workplace.file("merge.yml", &document(&format!("s3://{BUCKET}/")));
    workplace.file("local.yml", &document(&format!("server/{BUCKET}/")));

    let child = workplace
        .command(&[
            "merge",
            "merge.yml",
            "out",
            "--shard-size",
            "2MB",
            "--threads",
            "1",
        ])
        .envs(server.environment())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let has_finished_a_file = || {
        let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries(&workplace.path("out/.tributary-unfinished"))
            .any(|keyed| entries(&keyed.path().join("records")).next().is_some())
    };
    while !has_finished_a_file() {
        let ended = child.0.try_wait().unwrap();
        assert!(ended.is_none(), "the merge ended before the server did");
        std::thread::sleep(Duration::from_millis(1));
    }
    let port: u16 = server.endpoint.rsplit(':').next().unwrap().parse().unwrap();
    drop(server);
    let mut said = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let is_waiting = said
        .by_ref()
        .any(|line| line.unwrap().contains("trying again in 10 s"));
    assert!(is_waiting, "the merge ended without its server");
    let _server = start(port);
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert!(child.0.wait().unwrap().success(), "{rest:?}");

    let local = json(&workplace.trib(&["merge", "local.yml", "local", "--shard-size", "2MB", "--json"]));
    let manifest = std::fs::read(workplace.path("out/tributary.json")).unwrap();
    let there: Value = serde_json::from_slice(&manifest).unwrap();
    let here: Value =
        serde_json::from_slice(&std::fs::read(workplace.path("local/tributary.json")).unwrap()).unwrap();
    let tensors = |manifest: &Value| {
        let files = manifest["objects"].as_array().unwrap().clone();
        let is_tensors = |file: &Value| file["path"].as_str().unwrap().ends_with(".safetensors");
        files.into_iter().filter(is_tensors).collect::<Vec<_>>()
    };
    assert!(local["digest"].is_string() && tensors(&there).len() > 10);
    assert_eq!(tensors(&there), tensors(&here));
}
