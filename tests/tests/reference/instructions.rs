//! IFEval's instructions beside the checkers of lm-evaluation-harness, on real responses.

use serde_json::{Map, Value};
use tributary_evaluate::{Instruction, loose, strict};

use crate::python::Python;
use crate::shared;

/// Verdicts that may differ: of texts that are English or not by one detector of languages and not by the other.
const MAY_DIFFER: usize = 14;

#[test]
fn instructions_are_followed_where_the_harness_says_so() {
    let (Some(python), Some(rows), Some(responses)) = (
        Python::find(),
        shared("data/ifeval/input_data.jsonl"),
        shared("data/ifeval/example_en_responses.jsonl"),
    ) else {
        return;
    };
    let lines = |file: &std::path::Path| -> Vec<Value> {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let theirs = python.ask("instructions.py", &[rows.as_ref(), responses.as_ref()]);
    let theirs = theirs["prompts"].as_array().unwrap();
    let (mut same, mut differing) = (0, Vec::new());
    for ((row, response), theirs) in lines(&rows).iter().zip(lines(&responses)).zip(theirs) {
        let ids = row["instruction_id_list"].as_array().unwrap();
        let arguments = row["kwargs"].as_array().unwrap();
        let instruction = |(id, arguments): (&Value, &Value)| {
            let arguments: &Map<String, Value> = arguments.as_object().unwrap();
            Instruction::parse(id.as_str().unwrap(), arguments).unwrap()
        };
        let instructions: Vec<Instruction> = ids.iter().zip(arguments).map(instruction).collect();
        let text = response["response"].as_str().unwrap();
        for (ours, theirs) in [
            (strict(&instructions, text), &theirs["strict"]),
            (loose(&instructions, text), &theirs["loose"]),
        ] {
            for ((ours, theirs), id) in ours.iter().zip(theirs.as_array().unwrap()).zip(ids) {
                match theirs.as_bool() {
                    Some(theirs) if theirs == *ours => same += 1,
                    Some(_) => differing.push(format!("{} {}", row["key"], id.as_str().unwrap())),
                    // The checker draws a letter at random.
                    None => {}
                }
            }
        }
    }
    eprintln!(
        "IFEval: {same} verdicts are the same, {} differ: {differing:?}",
        differing.len()
    );
    assert!(same > 1600 && differing.len() <= MAY_DIFFER);
    assert!(
        differing
            .iter()
            .all(|found| found.contains("change_case:english")),
        "{differing:?}"
    );
}
