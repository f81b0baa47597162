//! `--set path=value`: single values of the document replaced from the command line.
//!
//! Applied to the tree before variables are filled in. A path goes by keys, and into `steps` by the step's id:
//! `seed=3`, `variables.steps=10`, `steps.base.with.steps=10`. Values are YAML. Invariants: a later override
//! wins; no override invents a step, a variable or a top-level key; every node it makes points into its text.

use crate::finding::{Finding, Rule, suggestion};
use crate::node::{Entry, Node, NodeValue, Origin, Span};
use crate::yaml;

/// Applies one override to the document's tree.
///
/// # Errors
/// What is wrong with it; the tree is as before then.
pub(crate) fn apply(root: &mut Node, text: &str, index: usize, known: &[&str]) -> Result<(), Box<Finding>> {
    let origin = Origin::Override(index);
    let span = |start: usize, len: usize| Span { origin, start, len };
    let fault = |place: Span, message: String| Finding::new(Rule::BadOverride, place, message);
    let Some((path, value)) = text.split_once('=') else {
        let finding = fault(span(0, text.len()), format!("`{text}` has no `=`"));
        return Err(Box::new(
            finding.help("write --set path=value, for instance --set seed=3"),
        ));
    };
    let parts: Vec<&str> = path.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(Box::new(fault(
            span(0, path.len()),
            format!("`{path}` is no path of keys"),
        )));
    }
    let behind = path.len() + 1;
    let mut value = yaml::parse(value, origin).map_err(|mut finding| {
        finding.span.start += behind;
        finding
    })?;
    shift(&mut value, behind);

    // Tried on a copy, so that a path which fails half-way leaves nothing behind.
    let mut changed = root.clone();
    let mut node = &mut changed;
    let mut start = 0;
    for (depth, part) in parts.iter().enumerate() {
        let place = span(start, part.len());
        start += part.len() + 1;
        let found = node.describe();
        if node.value == NodeValue::Null {
            node.value = NodeValue::Mapping(Vec::new());
        }
        node = match &mut node.value {
            NodeValue::Sequence(items) => item(items, part, (depth, parts[0]) == (1, "steps"), place)?,
            NodeValue::Mapping(entries) => match (depth, parts[0]) {
                (0, _) => key(entries, part, Some(known), place)?,
                (1, "variables") => key(entries, part, Some(&[]), place)?,
                _ => key(entries, part, None, place)?,
            },
            _ => {
                return Err(Box::new(fault(
                    place,
                    format!("`{part}` goes into {found}, which has no keys"),
                )));
            }
        };
    }
    *node = value;
    *root = changed;
    Ok(())
}

/// The item of a list: a step by its id, anything else by its position from 0.
fn item<'a>(
    items: &'a mut [Node],
    part: &str,
    is_steps: bool,
    place: Span,
) -> Result<&'a mut Node, Box<Finding>> {
    let found = match is_steps {
        true => items
            .iter()
            .position(|item| item.get("id").and_then(Node::as_text) == Some(part)),
        false => part
            .parse::<usize>()
            .ok()
            .filter(|position| *position < items.len()),
    };
    if let Some(position) = found {
        return Ok(&mut items[position]);
    }
    let ids = items.iter().filter_map(|item| item.get("id")?.as_text());
    let help = if is_steps {
        suggestion(part, "steps", ids)
    } else {
        None
    };
    let what = if is_steps {
        "there is no step"
    } else {
        "the list has no item"
    };
    Err(Box::new(
        Finding::new(Rule::BadOverride, place, format!("{what} `{part}`")).maybe_help(help),
    ))
}

/// The value under a key. A key that is not there is added, unless only known keys and those that are there may be
/// set.
fn key<'a>(
    entries: &'a mut Vec<Entry>,
    part: &str,
    known: Option<&[&str]>,
    place: Span,
) -> Result<&'a mut Node, Box<Finding>> {
    if let Some(position) = entries.iter().position(|entry| entry.key == part) {
        return Ok(&mut entries[position].value);
    }
    if let Some(known) = known.filter(|known| !known.contains(&part)) {
        let names = entries
            .iter()
            .map(|entry| entry.key.as_str())
            .filter(|key| !known.contains(key));
        let help = suggestion(part, "there are", known.iter().copied().chain(names));
        let finding = Finding::new(Rule::BadOverride, place, format!("there is no `{part}` to set"));
        return Err(Box::new(finding.maybe_help(help)));
    }
    let value = Node {
        value: NodeValue::Null,
        span: place,
        via: None,
    };
    entries.push(Entry {
        key: part.to_owned(),
        key_span: place,
        value,
    });
    let last = entries.len() - 1;
    Ok(&mut entries[last].value)
}

/// Moves every span of a value that was parsed on its own behind the path it stands after.
fn shift(node: &mut Node, by: usize) {
    node.span.start += by;
    match &mut node.value {
        NodeValue::Sequence(items) => items.iter_mut().for_each(|item| shift(item, by)),
        NodeValue::Mapping(entries) => {
            for entry in entries {
                entry.key_span.start += by;
                shift(&mut entry.value, by);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["seed", "variables", "steps"];

    fn set(text: &str) -> Result<Node, Box<Finding>> {
        let document = "seed: 1\nvariables: {n: 1}\nsteps:\n  - id: base\n    with:\n  - id: tune\n";
        let mut root = yaml::parse(document, Origin::Document).unwrap();
        apply(&mut root, text, 0, &KNOWN)?;
        Ok(root)
    }

    #[test]
    fn values_are_yaml_and_steps_go_by_id() {
        assert_eq!(
            set("seed=3").unwrap().nearest("seed").value,
            NodeValue::Integer(3)
        );
        assert_eq!(
            set("variables.n=1e-3").unwrap().nearest("variables.n").value,
            NodeValue::Float(1e-3)
        );
        let root = set("steps.tune.with.model.layers=[2, x]").unwrap();
        let layers = root.nearest("steps.1.with.model.layers.1");
        assert_eq!(layers.value, NodeValue::Text("x".into()));
        assert_eq!(
            layers.span,
            Span {
                origin: Origin::Override(0),
                start: 33,
                len: 1
            }
        );
        assert_eq!(
            set("steps.base.with.a=b")
                .unwrap()
                .nearest("steps.0.with.a")
                .as_text(),
            Some("b")
        );
    }

    #[test]
    fn nothing_is_invented() {
        for (text, message, help) in [
            (
                "seed",
                "`seed` has no `=`",
                Some("write --set path=value, for instance --set seed=3"),
            ),
            ("sed=1", "there is no `sed` to set", Some("did you mean `seed`?")),
            (
                "variables.m=1",
                "there is no `m` to set",
                Some("did you mean `n`?"),
            ),
            (
                "steps.bse.with.x=1",
                "there is no step `bse`",
                Some("did you mean `base`?"),
            ),
            ("seed.x=1", "`x` goes into the integer 1, which has no keys", None),
            ("steps..x=1", "`steps..x` is no path of keys", None),
        ] {
            let finding = set(text).unwrap_err();
            assert_eq!(
                (finding.message.as_str(), finding.help.as_deref()),
                (message, help),
                "{text}"
            );
        }
        assert_eq!(set("seed=[").unwrap_err().rule, Rule::Syntax);
    }
}
