//! Names for models and data sets, each used once.

use tributary_pipeline::{InputRef, JobError, ResolvedInput};

/// A name for each model: its label, and the whole reference where two have the same.
pub(super) fn labels<'a>(
    models: &[InputRef],
    input: impl Fn(usize) -> Result<&'a ResolvedInput, JobError>,
) -> Result<Vec<String>, JobError> {
    let mut names = Vec::new();
    for (index, reference) in models.iter().enumerate() {
        let label = input(index)?.label.clone();
        let name = match reference {
            InputRef::Step { output, .. } if output != "model" => format!("{label}.{output}"),
            _ => label,
        };
        names.push(distinct(name, index, &names));
    }
    Ok(names)
}

/// A name, with its position if another has it already.
pub(super) fn distinct(name: String, index: usize, others: &[String]) -> String {
    if others.contains(&name) {
        format!("{name} ({})", index + 1)
    } else {
        name
    }
}
