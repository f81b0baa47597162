//! SmolLM2-135M, imported from its GGUF: the same likelihoods and the same greedy text as transformers.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::program::trib;
use crate::python::Python;
use crate::shared;

/// Tokens a prediction may look back on: all the model was trained for.
const CONTEXT: usize = 2048;
/// Of every single prediction, in nats.
const TOLERANCE: f64 = 1e-3;
/// Long enough for one whole window and some of a second.
const CHARACTERS: usize = 12_000;

const PROMPTS: [&str; 8] = [
    "The capital of France is",
    "Once upon a time",
    "def fibonacci(n):\n",
    "In 1969, the first human",
    "Water boils at",
    "The mitochondria is the",
    "1, 2, 3, 4,",
    "Dear Sir or Madam,",
];
const TURNS: [&str; 2] = ["What is the capital of Italy?", "Name the days of the week."];

pub(crate) fn gguf() -> Option<PathBuf> {
    let found = std::env::var_os("TRIBUTARY_SMOLLM2").map(PathBuf::from);
    if found.is_none() {
        eprintln!("skipped: TRIBUTARY_SMOLLM2 names no GGUF file");
    }
    found
}

/// Imports the model into `folder`.
pub(crate) fn import(gguf: &Path, folder: &Path) -> String {
    let artifact = folder.join("smollm2").to_str().unwrap().to_owned();
    trib(&["import", gguf.to_str().unwrap(), &artifact]);
    artifact
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[test]
fn every_token_of_smollm2_is_as_likely_as_transformers_says() {
    let (Some(python), Some(gguf), Some(corpus)) =
        (Python::find(), gguf(), shared("data/wikitext2/valid.txt"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let artifact = import(&gguf, folder.path());
    let text: String = std::fs::read_to_string(corpus)
        .unwrap()
        .chars()
        .take(CHARACTERS)
        .collect();
    let [data, ids] = ["text.txt", "ids.json"].map(|name| folder.path().join(name));
    std::fs::write(&data, text).unwrap();

    let context = CONTEXT.to_string();
    let how = ["--metrics", "nll", "--per-token", "--context", &context];
    let ours = trib(
        &[
            &["evaluate", &artifact, "--data", data.to_str().unwrap()],
            &how[..],
        ]
        .concat(),
    );
    let document = &ours["results"][0]["documents"][0];
    let scores = document["nll"].as_array().unwrap();
    assert!(scores[0].is_null(), "the first token has nothing before it");
    let scores = numbers(&json!(scores[1..]));
    assert!(
        scores.len() > CONTEXT,
        "{} predictions do not fill a window",
        scores.len()
    );
    std::fs::write(&ids, document["tokens"].to_string()).unwrap();

    for model in [Path::new(&artifact), &gguf] {
        let theirs = numbers(&python.ask("nll.py", &[model.as_os_str(), ids.as_os_str(), context.as_ref()]));
        assert_eq!(scores.len(), theirs.len());
        let apart = scores
            .iter()
            .zip(&theirs)
            .map(|(ours, theirs)| (ours - theirs).abs());
        let (worst, at) = apart.zip(1..).fold(
            (0.0, 0),
            |worst, next| if next.0 > worst.0 { next } else { worst },
        );
        let name = model.file_name().unwrap().display();
        eprintln!(
            "{} predictions, transformers on {name}: at most {worst:.1e} nats apart, at token {at}",
            theirs.len()
        );
        assert!(
            worst <= TOLERANCE,
            "token {at}: {} but {}",
            scores[at - 1],
            theirs[at - 1]
        );
    }
}

#[test]
fn smollm2_continues_ten_prompts_as_transformers_does() {
    let (Some(python), Some(gguf)) = (Python::find(), gguf()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let artifact = import(&gguf, folder.path());
    let request = |prompt: &str, chat: bool| json!({"prompt": prompt, "chat": chat, "tokens": 32});
    let plain = PROMPTS.map(|prompt| request(prompt, false));
    let turns = TURNS.map(|prompt| request(prompt, true));
    let requests = [&plain[..], &turns[..]].concat();
    let file = folder.path().join("requests.json");
    std::fs::write(&file, json!(requests).to_string()).unwrap();
    let theirs = python.ask("generate.py", &[artifact.as_ref(), file.as_os_str()]);

    let mut narrowest = f64::INFINITY;
    for (request, theirs) in requests.iter().zip(theirs.as_array().unwrap()) {
        let prompt = request["prompt"].as_str().unwrap();
        let mut arguments = vec![
            "generate",
            &artifact,
            "--prompt",
            prompt,
            "--max-new-tokens",
            "32",
            "--temperature",
            "0",
        ];
        arguments.extend((request["chat"] == true).then_some("--chat"));
        let ours = trib(&arguments);
        assert_eq!(ours["prompt_tokens"], theirs["prompt"], "{prompt:?}");
        assert_eq!(
            ours["text"], theirs["text"],
            "{prompt:?}, narrowest lead {}",
            theirs["lead"]
        );
        assert_eq!(ours["tokens"], theirs["tokens"], "{prompt:?}");
        let lead = theirs["lead"].as_f64().unwrap();
        eprintln!("{prompt:?}: equal, narrowest lead of a chosen token {lead:.3} in logits");
        narrowest = narrowest.min(lead);
    }
    eprintln!(
        "{} prompts, 32 tokens each: equal; narrowest lead of a chosen token {narrowest:.3} in logits",
        requests.len()
    );
}
