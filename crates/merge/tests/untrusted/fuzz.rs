//! Fuzzing, for a few seconds in every run of the tests; `cargo xtask fuzz` runs it for longer.

use std::path::Path;

use tributary_testkit::fuzz::Target;

use super::document_target::Document;
use super::place::Place;
use super::targets::{Configuration, Index, Manifest, Safetensors, Tokenizer};

fn run(mut target: impl Target) {
    let kept = include_str!("kept.txt");
    tributary_testkit::fuzz::run(&mut target, kept, Path::new(env!("CARGO_TARGET_TMPDIR")));
}

#[test]
fn safetensors() {
    run(Safetensors(Place::new()));
}

#[test]
fn index() {
    run(Index::new());
}

#[test]
fn config() {
    run(Configuration(Place::new()));
}

#[test]
fn tokenizer() {
    run(Tokenizer::new());
}

#[test]
fn manifest() {
    run(Manifest::new());
}

#[test]
fn document() {
    run(Document::new());
}
