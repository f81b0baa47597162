//! The program under test: the built `trib`.
//!
//! `TRIBUTARY_TRIB` names it, or it stands in the target directory that this test was built into. There it may be
//! missing or older than its sources (cargo builds no binary of another package for a test); then it is built first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::Value;

/// Runs `trib ARGUMENTS --json` and gives what it prints. Panics with its words if it fails.
#[track_caller]
pub(crate) fn trib(arguments: &[&str]) -> Value {
    let said = said(arguments);
    serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("trib {arguments:?} printed no JSON ({error}): {said}"))
}

/// The outcome of `trib run`, which prints an event a line before it.
#[track_caller]
pub(crate) fn outcome(arguments: &[&str]) -> Value {
    let said = said(arguments);
    serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap()
}

#[track_caller]
fn said(arguments: &[&str]) -> String {
    let output = Command::new(binary())
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "trib {arguments:?}: {}\n{errors}",
        output.status
    );
    said.into_owned()
}

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("TRIBUTARY_TRIB") {
        Some(named) => named.into(),
        None => built(),
    })
}

/// `<target>/<profile>/trib`, built if it has to be.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let [folder, target] = [2, 3].map(|up| test.ancestors().nth(up).unwrap());
    let binary = folder.join(format!("trib{}", std::env::consts::EXE_SUFFIX));
    if !is_fresh(&binary) {
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            profile => profile,
        };
        // Everything, tests too: a smaller selection would have other features and would build much anew.
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "build",
                "--quiet",
                "--workspace",
                "--bins",
                "--tests",
                "--profile",
                profile,
                "--target-dir",
            ])
            .arg(target)
            .current_dir(crate::package().join(".."))
            .status();
        assert!(status.unwrap().success(), "building {} failed", binary.display());
    }
    binary
}

/// Is the binary there, and no source of it newer? Cargo leaves a list of the sources beside it.
fn is_fresh(binary: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let (Some(made), Ok(list)) = (time(binary), std::fs::read_to_string(binary.with_extension("d"))) else {
        return false;
    };
    let is_older =
        |source: String| time(Path::new(&source)).is_some_and(|changed: SystemTime| changed <= made);
    let Some((_, sources)) = list.lines().next().and_then(|line| line.split_once(": ")) else {
        return false;
    };
    // Spaces inside a path are escaped.
    let marked = sources.replace("\\ ", "\0");
    marked
        .split(' ')
        .filter(|source| !source.is_empty())
        .all(|source| is_older(source.replace('\0', " ")))
}
