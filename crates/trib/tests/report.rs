//! `trib report` through the real binary: which run, where to, and what it says when there is none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tributary_pipeline::{Machine, NoObserver, RunOptions, Source, plan_in, run};
use tributary_store::Store;

fn trib(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trib"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

/// What a call that works says on stdout.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = trib(folder, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a call that fails says on stderr, with its exit code.
fn refused(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = trib(folder, arguments);
    assert!(output.stdout.is_empty(), "{arguments:?}");
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Runs a small pipeline into the folder's store; its run id.
fn ran(folder: &Path, name: &str, stories: u32) -> String {
    let text = format!(
        "name: {name}\nstore: ./made\nsteps:\n  - {{id: world, job: synth, with: {{stories: {stories}}}}}\n"
    );
    std::fs::write(folder.join(format!("{name}.yaml")), &text).unwrap();
    let machine = Machine {
        cpus: 1,
        memory: 1 << 30,
        gpus: 0,
        device: "cpu".into(),
        system: "test".into(),
    };
    let store = Store::open(folder.join("made").to_str().unwrap()).unwrap();
    let planned = plan_in(
        Source::from_text(name, text),
        &tributary_jobs::registry(),
        &machine,
        store,
    )
    .unwrap();
    let id = run(&planned, RunOptions::new(&NoObserver)).unwrap().run.unwrap();
    // Ids sort by time, to the second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    id
}

#[test]
fn the_page_of_the_right_run_goes_to_the_right_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, second) = (ran(folder, "first", 3), ran(folder, "second", 4));

    let at = said(folder, &["report", "made"]);
    assert!(
        at.trim_end()
            .ends_with(&format!("made/runs/{second}/report.html")),
        "{at}"
    );
    let page = std::fs::read_to_string(at.trim_end()).unwrap();
    assert!(page.contains(&second) && page.contains("<!doctype html>"));

    // A document means its own latest run, not the store's.
    let outcome: Value = serde_json::from_str(&said(folder, &["report", "first.yaml", "--json"])).unwrap();
    assert_eq!(
        (&outcome["run"], &outcome["status"]),
        (&Value::from(first.as_str()), &Value::from("done"))
    );
    let at = outcome["report"].as_str().unwrap();
    assert!(std::fs::read_to_string(at).unwrap().contains(&first));

    assert_eq!(
        said(folder, &["report", "made", "--run", &first, "--out", "page.html"]),
        "page.html\n"
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("page.html")).unwrap(),
        std::fs::read_to_string(at).unwrap()
    );

    let list = said(folder, &["report", "made", "--list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with(&second) && lines[1].starts_with(&first),
        "{list}"
    );
    let list: Value =
        serde_json::from_str(&said(folder, &["report", "first.yaml", "--list", "--json"])).unwrap();
    assert_eq!(list["runs"].as_array().unwrap().len(), 1);
    assert_eq!(list["runs"][0]["run"], first.as_str());
}

#[test]
fn what_is_not_there_is_answered_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (code, message) = refused(folder, &["report", "nowhere"]);
    assert_eq!(code, 65, "{message}");
    assert!(
        message.contains("no pipeline has run in") && message.contains("nowhere"),
        "{message}"
    );
    assert!(!folder.join("nowhere").exists(), "looking makes nothing");

    std::fs::write(
        folder.join("other.yaml"),
        "name: other\nstore: ./made\nsteps:\n  - {id: a, job: synth}\n",
    )
    .unwrap();
    ran(folder, "first", 3);
    let (code, message) = refused(folder, &["report", "other.yaml"]);
    assert_eq!(code, 65, "{message}");
    assert!(message.contains("no run of pipeline other"), "{message}");
    let (code, message) = refused(folder, &["report", "made", "--run", "20200101T000000Z-000000"]);
    assert_eq!(code, 65, "{message}");
    assert!(message.contains("trib report made --list"), "{message}");

    std::fs::write(
        folder.join("bad.yaml"),
        "name: bad\nstoer: x\nsteps:\n  - {id: a, job: synth}\n",
    )
    .unwrap();
    let (code, message) = refused(folder, &["report", "bad.yaml"]);
    assert_eq!(code, 78, "{message}");
    assert!(message.contains("unknown key `stoer`"), "{message}");
    assert_eq!(refused(folder, &["report", "missing.yaml"]).0, 74);
    assert_eq!(
        refused(folder, &["report", "made", "--out", "no/such/folder/x.html"]).0,
        74
    );
}
