//! Tasks answered in writing and likelihoods of texts as lm-evaluation-harness gives them: row by row on the same model and files.

use std::ffi::OsStr;

use serde_json::{Value, json};
use tributary_evaluate::BuiltIn;

use crate::program::trib;
use crate::python::Python;
use crate::shared;
use crate::smollm2::{gguf, import};

/// Rows answered: the harness is slow on two cores.
const ROWS: usize = 6;
/// Of perplexities, relative: sums of float32 on both sides.
const TOLERANCE: f64 = 1e-4;

#[test]
fn answers_in_writing_are_those_of_the_harness() {
    let Some(python) = Python::find() else { return };
    let (Some(gguf), Some(rows), Some(examples)) = (
        gguf(),
        shared("data/gsm8k/test.jsonl"),
        shared("data/gsm8k/train.jsonl"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = import(&gguf, folder.path());
    let task = folder.path().join("gsm8k.yaml");
    // Fewer examples and shorter answers than the built-in task has, for time.
    let text = BuiltIn::Gsm8k.text().replace("num_fewshot: 5", "num_fewshot: 2");
    let text = text.replace(
        "generation_kwargs:",
        "generation_kwargs:\n  max_gen_toks: 96\n  do_sample: false",
    );
    std::fs::write(&task, text).unwrap();
    let limit = ROWS.to_string();
    let [task_place, rows_place, examples_place] =
        [&task, &rows, &examples].map(|place| place.to_str().unwrap());
    let said = trib(&[
        "evaluate",
        &model,
        "--task",
        task_place,
        "--data",
        rows_place,
        "--examples",
        examples_place,
        "--limit",
        &limit,
    ]);
    let ours = said["results"][0]["answers"].as_array().unwrap();
    let arguments: [&OsStr; 5] = [
        model.as_ref(),
        task.as_ref(),
        rows.as_ref(),
        limit.as_ref(),
        examples.as_ref(),
    ];
    let theirs = python.ask("harness.py", &arguments);
    // A line for each filter.
    let theirs = theirs["rows"].as_array().unwrap();
    assert_eq!((ours.len(), theirs.len()), (ROWS, 2 * ROWS));
    let mut right = 0;
    for theirs in theirs {
        let ours = &ours[theirs["row"].as_u64().unwrap() as usize];
        let filter = theirs["filter"].as_str().unwrap();
        assert_eq!(ours["text"], theirs["responses"][0][0]);
        assert_eq!(
            ours["filtered"][filter], theirs["filtered"][0],
            "{filter}: {}",
            ours["text"]
        );
        let score = &ours["scores"][format!("exact_match,{filter}")]["value"];
        assert_eq!(score, &theirs["scores"]["exact_match"], "{filter}");
        right += usize::from(*score == json!(1.0));
    }
    eprintln!(
        "gsm8k: {ROWS} answers are the same to the letter, {right} of {} scores are 1",
        2 * ROWS
    );
}

#[test]
fn likelihoods_of_texts_are_those_of_the_harness() {
    let Some(python) = Python::find() else { return };
    let (Some(gguf), Some(facts)) = (gguf(), shared("data/tofu/tofu_world_facts_qa.jsonl")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = import(&gguf, folder.path());
    let task = folder.path().join("texts.yaml");
    let text = "task: texts\noutput_type: loglikelihood_rolling\ndoc_to_text: \"\"\n\
                doc_to_target: \"{{question}} {{answer}}\"\n\
                metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]\n";
    std::fs::write(&task, text).unwrap();
    let limit = "40";
    let said = trib(&[
        "evaluate",
        &model,
        "--task",
        task.to_str().unwrap(),
        "--data",
        facts.to_str().unwrap(),
        "--limit",
        limit,
    ]);
    let ours = said["results"][0]["scores"].as_array().unwrap();
    let arguments: [&OsStr; 4] = [model.as_ref(), task.as_ref(), facts.as_ref(), limit.as_ref()];
    let theirs = python.ask("harness.py", &arguments);
    assert_eq!(ours.len(), 3);
    for score in ours {
        let name = score["name"].as_str().unwrap();
        let number = |value: &Value| value.as_f64().unwrap();
        let (a, b) = (
            number(&score["value"]),
            number(&theirs["scores"][format!("{name},none")]),
        );
        eprintln!("{name}: {a} beside {b}");
        assert!((a / b - 1.0).abs() < TOLERANCE, "{name}: {a} {b}");
    }
}
