//! What reports call a model, and where in the document it stands.

use crate::config::MergeSpec;

/// A model of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    /// `base_model` or `models[1].model`.
    pub(crate) path: String,
    /// The text that stands there.
    pub(crate) reference: &'a str,
    /// What reports call it.
    pub(crate) name: String,
    /// Number in `models`; `None` for the base.
    pub(crate) index: Option<usize>,
}

/// The base, if there is one, and the merged models: those listed, without the base where the method `uses_base`.
pub(crate) fn listed_models(spec: &MergeSpec, uses_base: bool) -> Vec<Listed<'_>> {
    let base = spec.base_model.as_deref();
    let is_merged = |model: &str| !uses_base || base != Some(model);
    let merged = (spec.models.iter().enumerate()).filter(|(_, model)| is_merged(&model.model));
    let entries: Vec<_> = base
        .map(|base| (None, base, None))
        .into_iter()
        .chain(merged.map(|(index, model)| (Some(index), model.model.as_str(), model.name.as_deref())))
        .collect();
    let names = display_names(entries.iter().map(|(_, reference, name)| (*reference, *name)));
    let listed = entries.into_iter().zip(names);
    listed
        .map(|((index, reference, _), name)| Listed {
            path: index.map_or_else(
                || "base_model".to_string(),
                |index| format!("models[{index}].model"),
            ),
            reference,
            name,
            index,
        })
        .collect()
}

/// A short, unique name for each reference: the given name, else the last part of the path, else all of it.
/// Credentials in addresses are masked.
pub(crate) fn display_names<'a>(models: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Vec<String> {
    let models: Vec<(&str, Option<&str>)> = models.into_iter().collect();
    let short = |reference: &str| {
        let last = reference
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        tributary_store::mask(if last.is_empty() { reference } else { last })
    };
    let shorts: Vec<String> = models
        .iter()
        .map(|(reference, name)| name.map_or_else(|| short(reference), str::to_string))
        .collect();
    let mut names = shorts.clone();
    for (index, (reference, name)) in models.iter().enumerate() {
        let clashes = |other: usize| shorts[other] == shorts[index] && models[other].0 != *reference;
        if name.is_none() && (0..models.len()).any(clashes) {
            names[index] = tributary_store::mask(reference);
        }
    }
    // The same model listed twice stays countable.
    for index in 1..names.len() {
        let before = names[..index]
            .iter()
            .filter(|name| **name == names[index])
            .count();
        if before > 0 {
            names[index] = format!("{} ({})", names[index], before + 1);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::display_names;

    #[test]
    fn names_are_short_and_unique() {
        let names = display_names([
            ("/a/base", None),
            ("s3://u:p@b/x/", None),
            ("/b/x", None),
            ("/c/y", Some("code")),
            ("/d/z", None),
            ("/d/z", None),
        ]);
        assert_eq!(names, ["base", "s3://****@b/x/", "/b/x", "code", "z", "z (2)"]);
    }
}
