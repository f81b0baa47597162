//! Multiple-choice tasks as lm-evaluation-harness answers them: question by question on the same model and files.

use std::ffi::OsStr;

use serde_json::{Value, json};

use crate::program::trib;
use crate::python::Python;
use crate::shared;
use crate::smollm2::{gguf, import};

/// Questions asked, and choices of each.
const QUESTIONS: usize = 40;
const CHOICES: usize = 4;
/// Log-likelihoods of a choice are sums over its tokens, in float32 on both sides.
const TOLERANCE: f64 = 2e-3;

const TASKS: [(&str, &str); 2] = [
    (
        "plain",
        "doc_to_text: \"Question: {{question}}\\nAnswer:\"\ndoc_to_choice: choices\ndoc_to_target: gold\n",
    ),
    (
        "shots",
        "description: \"The following are questions about the world.\\n\\n\"\ndoc_to_text: \"{{question.strip()}} \"\n\
         doc_to_choice: \"{{choices}}\"\ndoc_to_target: \"{{gold}}\"\ntarget_delimiter: \"\"\n\
         num_fewshot: 2\nfewshot_config: {sampler: first_n, samples: [\n\
         {question: 'What color is snow?', choices: ['black', 'white'], gold: 1},\n\
         {question: 'How many legs has a spider?', choices: ['eight', 'six'], gold: 0}]}\n",
    ),
];

#[test]
fn choices_are_those_of_the_harness() {
    let Some(python) = Python::find() else { return };
    let (Some(gguf), Some(facts)) = (gguf(), shared("data/tofu/tofu_world_facts_qa.jsonl")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = import(&gguf, folder.path());
    let facts: Vec<Value> = std::fs::read_to_string(facts)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // Wrong choices are the answers of the questions after it.
    let rows = (0..QUESTIONS).map(|at| {
        let gold = at % CHOICES;
        let choice = |place: usize| facts[at + (place + CHOICES - gold) % CHOICES]["answer"].clone();
        let choices: Vec<Value> = (0..CHOICES).map(choice).collect();
        json!({"question": facts[at]["question"], "choices": choices, "gold": gold}).to_string() + "\n"
    });
    let data = folder.path().join("rows.jsonl");
    std::fs::write(&data, rows.collect::<String>()).unwrap();
    for (name, keys) in TASKS {
        let task = folder.path().join(format!("{name}.yaml"));
        let head = format!("task: facts_{name}\noutput_type: multiple_choice\n");
        let metrics = "metric_list: [{metric: acc}, {metric: acc_norm}]\n";
        std::fs::write(&task, format!("{head}{keys}{metrics}")).unwrap();
        let said = trib(&[
            "evaluate",
            &model,
            "--task",
            task.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
        ]);
        let ours = said["results"][0]["answers"].as_array().unwrap();
        let limit = QUESTIONS.to_string();
        let arguments: [&OsStr; 4] = [model.as_ref(), task.as_ref(), data.as_ref(), limit.as_ref()];
        let theirs = python.ask("harness.py", &arguments);
        let theirs = theirs["rows"].as_array().unwrap();
        assert_eq!((ours.len(), theirs.len()), (QUESTIONS, QUESTIONS));
        let (mut largest, mut right) = (0.0f64, 0);
        for (ours, theirs) in ours.iter().zip(theirs) {
            let choices = ours["log_likelihoods"].as_array().unwrap().iter();
            for (a, b) in choices.zip(theirs["filtered"].as_array().unwrap()) {
                let difference = a.as_f64().unwrap() - b[0].as_f64().unwrap();
                largest = largest.max(difference.abs());
            }
            for metric in ["acc", "acc_norm"] {
                let ours = &ours["scores"][metric]["value"];
                assert_eq!(ours, &theirs["scores"][metric], "{name}: {ours} {theirs}");
            }
            right += usize::from(ours["scores"]["acc"]["value"] == json!(1.0));
        }
        eprintln!(
            "{name}: {QUESTIONS} questions, {right} right on both sides, log-likelihoods within {largest:.1e}"
        );
        assert!(largest < TOLERANCE, "{name}: {largest}");
    }
}
