//! Is the text something that a model was trained on? Told by content, and by the side of the held-out split.

use tributary_pipeline::{Problem, ResolvedInput};

use super::settings::MergeSearchSettings;
use crate::trained_on;

/// One problem for every data set that one of the models has seen.
pub(super) fn problems<'a>(
    settings: &MergeSearchSettings,
    models: &[&ResolvedInput],
    input: impl Fn(&str) -> Option<&'a ResolvedInput>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, set) in settings.data.iter().enumerate() {
        let field = format!("data.{at}.source");
        let Some(source) = input(&field) else { continue };
        let records = set.records(source);
        let has_seen =
            |model: &&&ResolvedInput| trained_on::of(model).iter().any(|seen| seen.overlap(&records));
        if let Some(model) = models.iter().find(has_seen) {
            let message = format!(
                "{} or a model it was made of was trained on this text",
                model.label
            );
            let help = "take the held-out side (`split: held_out`) of what was trained on with `split: train`, cut into documents alike, or other text";
            problems.push(Problem::new(field, message).help(help));
        }
    }
    problems
}
