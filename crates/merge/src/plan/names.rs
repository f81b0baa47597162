//! What a document's models are called, and where they stand.

use crate::config::{MergeSpec, groups};

/// A model of a document. One that is listed twice with each other is two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed<'a> {
    /// `base_model` or `models[1].model`.
    pub(crate) path: String,
    /// The text that stands there.
    pub(crate) reference: &'a str,
    /// How many models before this one are of the same reference.
    pub(crate) occurrence: usize,
    /// What reports call it.
    pub(crate) name: String,
}

/// The base, if there is one, and all models in the order of the document. A model that is the base as well is listed
/// once, as the base; so is a model of several slices.
pub(crate) fn listed_models(spec: &MergeSpec) -> Vec<Listed<'_>> {
    let mut listed: Vec<Listed<'_>> = Vec::new();
    let mut given: Vec<Option<&str>> = Vec::new();
    let mut add = |path: String, reference, occurrence: usize, name| {
        let is_known = |known: &Listed<'_>| known.reference == reference && known.occurrence == occurrence;
        if listed.iter().any(is_known) {
            return;
        }
        given.push(name);
        listed.push(Listed {
            path,
            reference,
            occurrence,
            name: String::new(),
        });
    };
    if let Some(base) = spec.base_model.as_deref() {
        add("base_model".to_string(), base, 0, None);
    }
    for group in groups(spec) {
        for (index, member) in group.members.iter().enumerate() {
            let before = &group.members[..index];
            let occurrence = before.iter().filter(|other| other.model == member.model).count();
            add(
                format!("{}.model", member.path),
                member.model,
                occurrence,
                member.name,
            );
        }
        if let Some((base, path)) = group.base {
            add(path, base, 0, None);
        }
    }
    let names = display_names(listed.iter().map(|listed| listed.reference).zip(given));
    for (listed, name) in listed.iter_mut().zip(names) {
        listed.name = name;
    }
    listed
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
