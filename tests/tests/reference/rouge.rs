//! ROUGE beside both Python packages, on what models wrote for GSM8K.

use serde_json::{Value, json};
use tributary_evaluate::{Measure, Rouge, Variant, rouge};

use crate::python::Python;
use crate::shared;

const VARIANTS: [(&str, Variant); 3] = [
    ("google", Variant::Google),
    ("google_stemmed", Variant::GoogleStemmed),
    ("pypi", Variant::Pypi),
];
const MEASURES: [(&str, Measure); 4] = [
    ("rouge1", Measure::One),
    ("rouge2", Measure::Two),
    ("rougeL", Measure::L),
    ("rougeLsum", Measure::Lsum),
];
/// Problems whose solutions are compared.
const PROBLEMS: usize = 200;

#[test]
fn rouge_is_that_of_the_packages() {
    let (Some(python), Some(solutions)) =
        (Python::find(), shared("data/gsm8k/example_model_solutions.jsonl"))
    else {
        return;
    };
    let solutions = std::fs::read_to_string(solutions).unwrap();
    let rows = solutions.lines().take(PROBLEMS);
    let mut pairs: Vec<(String, String)> = rows
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&row["175b_verification"]["solution"]),
                text(&row["ground_truth"]),
            )
        })
        .collect();
    let edges = [
        "",
        " ",
        "...",
        "a a a b",
        "a b b",
        "Nine cats.\nRunning dogs",
        "é ü 3.5",
        "dogs ran\nnine cats",
    ];
    let every = edges
        .iter()
        .flat_map(|a| edges.map(|b| ((*a).to_owned(), b.to_owned())));
    pairs.extend(every);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pairs.jsonl");
    let lines = pairs.iter().map(|(prediction, reference)| {
        json!({"prediction": prediction, "reference": reference}).to_string() + "\n"
    });
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let theirs = python.ask("overlap.py", &[file.as_ref()]);
    let (mut compared, mut largest) = (0, 0.0f64);
    for ((prediction, reference), theirs) in pairs.iter().zip(theirs.as_array().unwrap()) {
        for (variant, ours) in VARIANTS {
            for (measure, asked) in MEASURES {
                // Refused by the package, or not among its measures.
                let Some(theirs) = theirs[variant][measure].as_array() else {
                    continue;
                };
                let Rouge {
                    precision,
                    recall,
                    f1,
                } = rouge(ours, asked, prediction, reference);
                for (a, b) in [precision, recall, f1].iter().zip(theirs) {
                    largest = largest.max((a - b.as_f64().unwrap()).abs());
                }
                compared += 1;
            }
        }
    }
    eprintln!(
        "ROUGE: {compared} scores of {} pairs within {largest:.1e}",
        pairs.len()
    );
    assert!(compared > 2000 && largest < 1e-12, "{compared} {largest}");
}
