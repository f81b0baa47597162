//! The example pipelines of evaluating, searching and pruning, made small, run to their end.

use crate::program::outcome;
use crate::{package, shared};

/// Runs an example with these settings replaced.
fn run(name: &str, replaced: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = package().join("../pipelines").join(name);
    let store = folder.path().join("store");
    let mut arguments = vec![
        "run",
        pipeline.to_str().unwrap(),
        "--store",
        store.to_str().unwrap(),
    ];
    for setting in replaced {
        arguments.extend(["--set", setting]);
    }
    let said = outcome(&arguments);
    assert_eq!(said["exit_code"], 0, "{said:#}");
}

/// The same with stories260K in the place of SmolLM2; not at all where it is missing.
fn run_on_stories(name: &str, replaced: &[&str]) {
    let Some(model) = shared("models/stories260K") else {
        return;
    };
    let file = |name: &str| model.join(name).display().to_string();
    let mut all = vec![
        format!("variables.gguf={}", file("stories260K.bin")),
        format!("steps.base.with.tokenizer={}", file("tok512.bin")),
    ];
    all.extend(replaced.iter().map(|setting| (*setting).to_owned()));
    run(name, &all);
}

#[test]
fn the_evaluation_example_runs() {
    let replaced = [
        "variables.steps=4",
        "variables.rows=6",
        "steps.corpora.with.stories=300",
        "steps.corpora.with.facts=300",
    ];
    run_on_stories("evaluate.yaml", &replaced);
}

#[test]
fn the_search_example_runs() {
    let replaced = [
        "variables.length=64",
        "variables.steps=24",
        "variables.every=3",
        "steps.corpora.with.stories=400",
        "steps.corpora.with.facts=100",
        "steps.corpora.with.instructions=200",
        "steps.tokenizer.with.vocab_size=400",
        "steps.constant.with.start.new.hidden_size=32",
        "steps.decayed.with.start.new.hidden_size=32",
        "steps.pair.with.checkpoints=['${constant.step_21}', '${constant.step_24}']",
        "steps.four.with.checkpoints=['${constant.step_15}', '${constant.step_18}', '${constant.step_21}', '${constant.step_24}']",
        "steps.four.with.evaluations=8",
    ];
    run("search.yaml", &replaced.map(str::to_owned));
}

#[test]
fn the_pruning_example_runs() {
    let replaced = [
        "variables.up_to=2",
        "steps.corpora.with.stories=300",
        "steps.corpora.with.facts=40",
        "steps.pruned.with.remove=2",
        "steps.unhealed.with.remove=2",
        "steps.in_a_row.with.remove=2",
    ];
    run_on_stories("prune.yaml", &replaced);
}
