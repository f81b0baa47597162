//! Screens of the real binary: help, and what needs no pipeline.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;

use serde_json::Value;
use tributary_testkit::s3::{BUCKET, S3Server};

fn trib(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trib"));
    command
        .args(arguments)
        .env_clear()
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100");
    command.current_dir(std::env::temp_dir());
    command
}

fn shown(arguments: &[&str]) -> String {
    let said = trib(arguments).output().unwrap();
    assert_eq!(
        said.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let text = String::from_utf8(said.stdout).unwrap();
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

#[test]
fn help() {
    insta::assert_snapshot!("help", shown(&["--help"]));
    for verb in [
        "run", "plan", "jobs", "schema", "evaluate", "generate", "doctor", "import", "inspect", "verify",
        "merge", "diff", "report", "compare",
    ] {
        let text = shown(&[verb, "--help"]);
        assert!(text.contains("Example"), "{verb}: {text}");
        insta::assert_snapshot!(format!("help_{verb}"), text);
    }
    insta::assert_snapshot!("help_lora", shown(&["lora", "--help"]));
    insta::assert_snapshot!("help_lora_merge", shown(&["lora", "merge", "--help"]));
    insta::assert_snapshot!("help_lora_extract", shown(&["lora", "extract", "--help"]));
}

#[test]
fn the_schema_is_json_and_knows_every_job() {
    let schema: Value = serde_json::from_str(&shown(&["schema"])).unwrap();
    let jobs: Value = serde_json::from_str(&shown(&["jobs", "--json"])).unwrap();
    let known = schema["$defs"]["step"]["properties"]["job"]["oneOf"]
        .as_array()
        .unwrap();
    let kinds: Vec<&Value> = known.iter().map(|choice| &choice["const"]).collect();
    let listed: Vec<&Value> = jobs.as_array().unwrap().iter().map(|job| &job["kind"]).collect();
    assert_eq!(kinds, listed);
    assert!(!listed.is_empty());
    for kind in listed {
        let kind = kind.as_str().unwrap();
        let page = shown(&["jobs", kind]);
        assert!(page.contains(&format!("job: {kind}")), "{page}");
        let job: Value = serde_json::from_str(&shown(&["jobs", kind, "--json"])).unwrap();
        // Every top-level setting has a row.
        for name in job["settings"]["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
        {
            assert!(
                page.lines()
                    .any(|line| line.split_whitespace().next() == Some(name)),
                "{name} in {page}"
            );
        }
    }
}

#[test]
fn the_doctor_looks_and_writes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let said = trib(&["doctor", "--json"])
        .current_dir(place.path())
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(0));
    let object: Value = serde_json::from_slice(&said.stdout).unwrap();
    let findings = object["findings"].as_array().unwrap();
    let names: Vec<&str> = findings
        .iter()
        .map(|finding| finding["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "processor",
            "instructions",
            "memory",
            "gpu",
            "python",
            "credentials",
            "disk"
        ]
    );
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn the_doctor_probes_a_server_and_leaves_nothing_there() {
    let server = S3Server::start();
    let address = format!("s3://{BUCKET}/clinic");
    let ask = |environment: Vec<(&str, String)>| {
        let said = trib(&["doctor", "--store", &address])
            .envs(environment)
            .output()
            .unwrap();
        let words = String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap();
        (said.status.code(), words)
    };
    let (code, words) = ask(server.environment());
    assert_eq!(code, Some(0), "{words}");
    assert!(
        words.contains("an object was written, read and deleted"),
        "{words}"
    );
    assert!(words.contains("probing s3://"), "{words}");
    for (name, value) in server.environment() {
        let is_secret = name.contains("KEY");
        assert!(!(is_secret && words.contains(&value)), "{words}");
    }
    let variables = server
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let store = tributary_store::Store::open_with(&address, variables).unwrap();
    assert!(store.list("").unwrap().is_empty());
    let wrong = server.environment().into_iter().map(|(name, value)| match name {
        "AWS_SECRET_ACCESS_KEY" => (name, "canary-secret".to_owned()),
        _ => (name, value),
    });
    let (code, words) = ask(wrong.collect());
    assert_eq!(code, Some(69), "{words}");
    assert!(
        words.contains("fail  store") && !words.contains("canary"),
        "{words}"
    );
}

#[test]
fn the_doctor_probes_a_folder() {
    let place = tempfile::tempdir().unwrap();
    let at = |path: &std::path::Path| {
        trib(&["doctor", "-q", "--store", path.to_str().unwrap()])
            .output()
            .unwrap()
    };
    let said = at(&place.path().join("store"));
    assert_eq!((said.status.code(), said.stderr.len()), (Some(0), 0));
    let file = place.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let said = at(&file.join("store"));
    assert_eq!(
        said.status.code(),
        Some(69),
        "{}",
        String::from_utf8_lossy(&said.stdout)
    );
}
