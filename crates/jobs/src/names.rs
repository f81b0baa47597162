//! Names for models and data sets, each used once.

use tributary_pipeline::{InputRef, ResolvedInput};

/// A name for each model: that of its step or folder, with its output where that is not `model`; of equal ones the later have their
/// position too.
pub(crate) fn labels(inputs: &[&ResolvedInput]) -> Vec<String> {
    let mut names = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        names.push(distinct(label(input), index, &names));
    }
    names
}

/// The name of a model's step or folder, with its output where that is not `model`.
pub(crate) fn label(input: &ResolvedInput) -> String {
    match &input.reference {
        InputRef::Step { output, .. } if output != "model" => format!("{}.{output}", input.label),
        _ => input.label.clone(),
    }
}

/// A name, with its position if another has it already.
pub(crate) fn distinct(name: String, index: usize, others: &[String]) -> String {
    if others.contains(&name) {
        format!("{name} ({})", index + 1)
    } else {
        name
    }
}
