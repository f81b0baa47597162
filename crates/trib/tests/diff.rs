//! `trib diff` as a user meets it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;
use tributary_testkit::tiny_model::TinyModel;

fn trib(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trib"));
    command.current_dir(folder).args(arguments).output().unwrap()
}

#[test]
fn differences_are_shown_and_equality_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    TinyModel::default().write(&at.join("a"), 1).unwrap();
    TinyModel::default().write(&at.join("b"), 2).unwrap();
    let config = std::fs::read_to_string(at.join("b/config.json")).unwrap();
    std::fs::write(at.join("b/config.json"), config.replace("10000.0", "500000.0")).unwrap();
    let shown = |arguments: &[&str]| {
        let output = trib(at, arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!("differences", shown(&["diff", "a", "b", "--top", "4"]));
    insta::assert_snapshot!("equal", shown(&["diff", "a", "a"]));
    let all = shown(&["diff", "a", "b", "--all"]);
    assert!(
        all.contains("model.norm.weight") && !all.contains("--all shows them"),
        "{all}"
    );
    let value: Value =
        serde_json::from_str(&shown(&["diff", "a", "b", "--json", "--html", "page.html"])).unwrap();
    assert_eq!(
        (&value["is_equal"], value["tensors"].as_array().unwrap().len()),
        (&false.into(), 20)
    );
    let page = std::fs::read_to_string(at.join("page.html")).unwrap();
    for part in [
        "layer 1",
        "mlp.up_proj",
        "b against a",
        "rope_theta: 10000.0 → 500000.0",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
}

#[test]
fn exit_codes_tell_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    TinyModel::default().write(&at.join("a"), 1).unwrap();
    TinyModel::default().write(&at.join("b"), 2).unwrap();
    let code = |arguments: &[&str]| {
        let output = trib(at, arguments);
        (output.status.code(), output.stderr.len())
    };
    assert_eq!(code(&["diff", "a", "b"]), (Some(0), 0));
    assert_eq!(code(&["diff", "a", "b", "--exit-code"]), (Some(1), 0));
    assert_eq!(code(&["diff", "a", "b", "--exit-code", "--json"]), (Some(1), 0));
    assert_eq!(code(&["diff", "a", "a", "--exit-code"]), (Some(0), 0));
    assert_eq!(code(&["diff", "a", "nothing"]).0, Some(65));
}
