//! What reports call a model.

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
