//! From an error to the parts of the document it is about, so that whoever has the document can point there.
//!
//! Stands between [`crate::error`] (what happened) and a front end: the job names fields of its settings, the command
//! line lines of a file.

use std::collections::BTreeMap;

use crate::compatibility::Incompatibility;
use crate::config::{MergeConfig, MergeSpec, Problem, Problems};
use crate::error::MergeError;
use crate::plan::{Listed, listed_models};
use crate::source::split_adapter;

/// Differences shown of one model; the rest is counted.
const SHOWN: usize = 8;

impl MergeError {
    /// This error as problems of the document `spec`; empty if it is about something else, such as the place of the
    /// result.
    pub fn problems(&self, spec: &MergeSpec) -> Vec<Problem> {
        let listed = listed_models(spec);
        let of_model = |model: &str, message: String| {
            let path = path_of(spec, &listed, model);
            vec![Problem::value(path, message)]
        };
        match self {
            MergeError::Config(problems) => problems.problems.clone(),
            MergeError::Incompatible(differences) => by_model(spec, &listed, &differences.0),
            MergeError::Model { model, reason } => {
                of_model(model, format!("{model} cannot be merged: {reason}"))
            }
            MergeError::Unavailable { model, .. } => {
                let problem = of_model(model, self.to_string());
                problem
                    .into_iter()
                    .map(|problem| problem.help("try again"))
                    .collect()
            }
            MergeError::Parameter { .. } => vec![Problem::value("merge_method", self.to_string())],
            MergeError::Adapter { adapter, .. } => {
                let has_it = |listed: &&Listed<'_>| {
                    split_adapter(listed.reference)
                        .1
                        .map(tributary_store::mask)
                        .as_ref()
                        == Some(adapter)
                };
                let path = listed.iter().find(has_it).map(|listed| listed.path.clone());
                vec![Problem::value(path.unwrap_or_default(), self.to_string())]
            }
            MergeError::NotFinite { model, .. } | MergeError::Read { model, .. } => {
                of_model(model, self.to_string())
            }
            _ => Vec::new(),
        }
    }
}

impl MergeConfig {
    /// Errors met after the document was read, at its places; `None` if one of them is not about the document.
    pub fn locate(&self, errors: &[MergeError]) -> Option<Problems> {
        let problems: Vec<Vec<Problem>> = errors.iter().map(|error| error.problems(&self.spec)).collect();
        let is_about_it = !problems.is_empty() && problems.iter().all(|of_one| !of_one.is_empty());
        is_about_it.then(|| self.place_all(problems.into_iter().flatten().collect()))
    }
}

/// Path of the model that an error calls `model`: by its name in reports, else by its reference.
fn path_of(spec: &MergeSpec, listed: &[Listed<'_>], model: &str) -> String {
    let named = listed.iter().find(|listed| listed.name == model);
    let referred = || {
        listed
            .iter()
            .find(|listed| tributary_store::mask(listed.reference) == model)
    };
    if let Some(found) = named.or_else(referred) {
        return found.path.clone();
    }
    let references = spec.references();
    let lender = references
        .iter()
        .find(|(_, reference)| tributary_store::mask(reference) == model);
    lender.map(|(path, _)| path.clone()).unwrap_or_default()
}

/// One problem a model: what differs in it from the first one.
fn by_model(spec: &MergeSpec, listed: &[Listed<'_>], differences: &[Incompatibility]) -> Vec<Problem> {
    let mut blamed: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
    for difference in differences {
        // What the first model has is what was expected; if all have the same, it is no better than the others.
        let at_fault = if difference.found.len() > 1 {
            &difference.found[1..]
        } else {
            &difference.found[..]
        };
        for model in at_fault.iter().flat_map(|(_, models)| models) {
            let position = listed
                .iter()
                .position(|listed| listed.name == *model)
                .unwrap_or(listed.len());
            blamed
                .entry((position, model.clone()))
                .or_default()
                .push(difference.to_string());
        }
    }
    let problem = |((_, model), differences): ((usize, String), Vec<String>)| {
        let path = path_of(spec, listed, &model);
        if let [only] = differences.as_slice() {
            return Problem::value(path, format!("{model} does not fit: {only}"));
        }
        let mut message = format!("{model} does not fit ({} differences)", differences.len());
        for difference in differences.iter().take(SHOWN) {
            message.push_str("\n  ");
            message.push_str(difference);
        }
        if differences.len() > SHOWN {
            message.push_str(&format!("\n  ... and {} more", differences.len() - SHOWN));
        }
        Problem::value(path, message)
    };
    blamed.into_iter().map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compatibility::Incompatibilities;

    fn spec() -> MergeSpec {
        let document = serde_json::json!({
            "merge_method": "metagpt", "base_model": "/a/base",
            "models": [{"model": "/a/x"}, {"model": "/a/base"}, {"model": "/a/y", "name": "second"}],
        });
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn errors_point_at_the_model_they_are_about() {
        let error = MergeError::Model {
            model: "/a/x".into(),
            reason: "broken".into(),
        };
        assert_eq!(error.problems(&spec())[0].path, "models[0].model");
        let error = MergeError::Model {
            model: "second".into(),
            reason: "broken".into(),
        };
        assert_eq!(error.problems(&spec())[0].path, "models[2].model");
        let error = MergeError::Unavailable {
            model: "/a/base".into(),
            reason: "503".into(),
        };
        assert_eq!(error.problems(&spec())[0].path, "base_model");
        assert!(MergeError::Cancelled.problems(&spec()).is_empty());
    }

    #[test]
    fn a_difference_is_the_fault_of_those_unlike_the_first() {
        let values =
            |values: [(&str, &str); 3]| values.map(|(model, value)| (model.to_string(), value.to_string()));
        let differences = vec![
            Incompatibility::new(
                "tensor a",
                "shapes differ",
                values([("base", "[1]"), ("x", "[1]"), ("second", "[2]")]),
            ),
            Incompatibility::new(
                "tensor b",
                "shapes differ",
                values([("base", "[1]"), ("x", "[3]"), ("second", "[2]")]),
            ),
        ];
        let problems = MergeError::Incompatible(Incompatibilities(differences)).problems(&spec());
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "models[0].model: x does not fit: tensor b: shapes differ: [1] in base; [3] in x; [2] in second",
                "models[2].model: second does not fit (2 differences)\n  tensor a: shapes differ: [1] in base, x; [2] in \
                 second\n  tensor b: shapes differ: [1] in base; [3] in x; [2] in second",
            ]
        );
    }
}
