//! Profiles: what a place or a machine changes about any pipeline, laid over its document.
//!
//! A profile is YAML in the document's own words: `store`, `seed`, `defaults`, `variables`, and under `steps` a mapping
//! from a step's id to what is different about it. Applied after the document is read and before `--set`. Invariants:
//! a mapping is laid over a mapping key by key, anything else replaces what was there; no profile invents a step or a
//! variable; every node that comes from it points into its text.

use crate::finding::{Finding, Rule, suggestion};
use crate::node::{Entry, Node, NodeValue, Origin};
use crate::yaml;

/// Keys of a profile.
const PROFILE_KEYS: [&str; 5] = ["store", "seed", "defaults", "variables", "steps"];

/// Lays a profile over the document's tree; what does not fit is left out and noted.
pub(crate) fn apply(root: &mut Node, text: &str, index: usize, findings: &mut Vec<Finding>) {
    let profile = match yaml::parse(text, Origin::Profile(index)) {
        Ok(profile) => profile,
        Err(finding) => return findings.push(*finding),
    };
    let found = profile.describe();
    let NodeValue::Mapping(entries) = profile.value else {
        let message = format!("a profile is a mapping, found {found}");
        return findings.push(Finding::new(Rule::WrongType, profile.span, message));
    };
    for entry in entries {
        match entry.key.as_str() {
            "steps" => lay_over_steps(root, entry, findings),
            "variables" => lay_over_variables(root, entry, findings),
            key if PROFILE_KEYS.contains(&key) => lay_over_key(root, entry),
            key => {
                let message = format!("unknown key `{key}`");
                let help = suggestion(key, "a profile has", PROFILE_KEYS);
                findings.push(Finding::new(Rule::UnknownKey, entry.key_span, message).maybe_help(help));
            }
        }
    }
}

/// The entry in a mapping's place for it, which is made if it is not there.
fn lay_over_key(target: &mut Node, entry: Entry) {
    if let NodeValue::Mapping(entries) = &mut target.value {
        match entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => lay_over(&mut known.value, entry.value),
            None => entries.push(entry),
        }
    }
}

/// Mappings key by key; anything else is replaced.
fn lay_over(target: &mut Node, value: Node) {
    match (&target.value, value) {
        (
            NodeValue::Mapping(_),
            Node {
                value: NodeValue::Mapping(entries),
                ..
            },
        ) => entries.into_iter().for_each(|entry| lay_over_key(target, entry)),
        (_, value) => *target = value,
    }
}

fn lay_over_variables(root: &mut Node, variables: Entry, findings: &mut Vec<Finding>) {
    let known: Vec<String> = match root.get("variables").map(|node| &node.value) {
        Some(NodeValue::Mapping(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
        _ => Vec::new(),
    };
    for entry in entries_of(variables, findings) {
        if known.contains(&entry.key) {
            if let Some(target) = root.get_mut("variables") {
                lay_over_key(target, entry);
            }
            continue;
        }
        let message = format!("the pipeline has no variable `{}`", entry.key);
        let help = suggestion(&entry.key, "variables", known.iter().map(String::as_str));
        findings.push(Finding::new(Rule::BadOverride, entry.key_span, message).maybe_help(help));
    }
}

fn lay_over_steps(root: &mut Node, steps: Entry, findings: &mut Vec<Finding>) {
    let mut nothing = Vec::new();
    let items = match root.get_mut("steps").map(|node| &mut node.value) {
        Some(NodeValue::Sequence(items)) => items,
        _ => &mut nothing,
    };
    for entry in entries_of(steps, findings) {
        if let Some(id) = entry.value.entry("id") {
            let message = "a profile cannot rename a step".to_owned();
            findings.push(Finding::new(Rule::BadOverride, id.key_span, message).help("leave `id` out"));
            continue;
        }
        let id_of = |item: &Node| item.get("id").and_then(Node::as_text).map(str::to_owned);
        if let Some(position) = items
            .iter()
            .position(|item| id_of(item).as_ref() == Some(&entry.key))
        {
            lay_over(&mut items[position], entry.value);
            continue;
        }
        let ids: Vec<String> = items.iter().filter_map(id_of).collect();
        let message = format!("the pipeline has no step `{}`", entry.key);
        let help = suggestion(&entry.key, "steps", ids.iter().map(String::as_str));
        findings.push(Finding::new(Rule::BadOverride, entry.key_span, message).maybe_help(help));
    }
}

/// The entries of a profile's `steps` or `variables`.
fn entries_of(entry: Entry, findings: &mut Vec<Finding>) -> Vec<Entry> {
    let found = entry.value.describe();
    match entry.value.value {
        NodeValue::Mapping(entries) => entries,
        _ => {
            let of = if entry.key == "steps" { "ids" } else { "names" };
            let message = format!(
                "`{}` of a profile is a mapping from {of}, found {found}",
                entry.key
            );
            findings.push(Finding::new(Rule::WrongType, entry.value.span, message));
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "store: here\nvariables: {n: 1, m: 2}\nsteps:\n  - {id: base, with: {a: [1, 2], b: {c: 1, d: 2}}}\n  - {id: tune}\n";

    fn laid(text: &str) -> (Node, Vec<Finding>) {
        let mut root = yaml::parse(DOCUMENT, Origin::Document).unwrap();
        let mut findings = Vec::new();
        apply(&mut root, text, 0, &mut findings);
        (root, findings)
    }

    #[test]
    fn mappings_are_laid_over_and_the_rest_is_replaced() {
        let profile = "store: s3://bucket/x\ndefaults: {retries: 3}\nvariables: {m: 5}\nsteps:\n  base: {with: {a: [9], b: {c: 3}}, resources: {cpus: 8}}\n";
        let (root, findings) = laid(profile);
        assert!(findings.is_empty(), "{findings:?}");
        let integer = |path: &str| root.nearest(path).value.clone();
        assert_eq!(root.nearest("store").as_text(), Some("s3://bucket/x"));
        assert_eq!(root.nearest("store").span.origin, Origin::Profile(0));
        for (path, value) in [
            ("defaults.retries", 3),
            ("variables.n", 1),
            ("variables.m", 5),
            ("steps.0.with.a.0", 9),
            ("steps.0.with.b.c", 3),
            ("steps.0.with.b.d", 2),
            ("steps.0.resources.cpus", 8),
        ] {
            assert_eq!(integer(path), NodeValue::Integer(value), "{path}");
        }
        assert_eq!(root.nearest("steps.0.with.b.d").span.origin, Origin::Document);
    }

    #[test]
    fn nothing_is_invented() {
        for (profile, message, help) in [
            (
                "name: x",
                "unknown key `name`",
                Some("a profile has: `store`, `seed`, `defaults`, `variables`, `steps`"),
            ),
            ("stor: x", "unknown key `stor`", Some("did you mean `store`?")),
            (
                "variables: {k: 1}",
                "the pipeline has no variable `k`",
                Some("did you mean `n`?"),
            ),
            (
                "steps: {bse: {}}",
                "the pipeline has no step `bse`",
                Some("did you mean `base`?"),
            ),
            (
                "steps: [{id: base}]",
                "`steps` of a profile is a mapping from ids, found a list",
                None,
            ),
            (
                "steps: {base: {id: other}}",
                "a profile cannot rename a step",
                Some("leave `id` out"),
            ),
            ("- 1", "a profile is a mapping, found a list", None),
        ] {
            let (root, findings) = laid(profile);
            let [finding] = &findings[..] else {
                panic!("{profile}: {findings:?}")
            };
            assert_eq!(
                (finding.message.as_str(), finding.help.as_deref()),
                (message, help),
                "{profile}"
            );
            assert_eq!(
                root,
                yaml::parse(DOCUMENT, Origin::Document).unwrap(),
                "{profile}"
            );
        }
    }
}
