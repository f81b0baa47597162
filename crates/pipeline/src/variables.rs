//! `${var.name}` and `${env:NAME}` filled in.
//!
//! Works on the tree, after overrides and before anything is typed. A value that is nothing but one variable takes
//! the variable's type; inside a longer text the variable's text is put in. References to outputs
//! (`${step.output}`) are left for [`crate::graph`]. Invariants: variables do not refer to each other; a document
//! does not grow beyond its limits; environment variables that look like secrets are refused.

use std::collections::BTreeMap;

use crate::finding::{Finding, Rule, suggestion};
use crate::node::{Node, NodeValue, Origin};
use crate::yaml::{self, MAX_DOCUMENT_BYTES, MAX_NODES};

/// Fills in every variable below `root`, except in `variables:` itself where only the environment is read.
pub(crate) fn fill_in(root: &mut Node, environment: &BTreeMap<String, String>, findings: &mut Vec<Finding>) {
    let mut filling = Filling {
        variables: BTreeMap::new(),
        environment,
        findings,
        nodes: MAX_NODES,
        bytes: 4 * MAX_DOCUMENT_BYTES,
        is_exhausted: false,
    };
    let NodeValue::Mapping(entries) = &mut root.value else {
        return;
    };
    let mut variables = BTreeMap::new();
    for entry in entries.iter_mut().filter(|entry| entry.key == "variables") {
        filling.node(&mut entry.value);
        if let NodeValue::Mapping(own) = &entry.value.value {
            variables.extend(
                own.iter()
                    .map(|variable| (variable.key.clone(), variable.value.clone())),
            );
        }
    }
    filling.variables = variables;
    for entry in entries.iter_mut().filter(|entry| entry.key != "variables") {
        filling.node(&mut entry.value);
    }
}

struct Filling<'a> {
    variables: BTreeMap<String, Node>,
    environment: &'a BTreeMap<String, String>,
    findings: &'a mut Vec<Finding>,
    /// Nodes and bytes that may still be added.
    nodes: usize,
    bytes: usize,
    /// Were they used up? Nothing is filled in any more then, so that a hostile document costs no time either.
    is_exhausted: bool,
}

impl Filling<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            NodeValue::Sequence(items) => items.iter_mut().for_each(|item| self.node(item)),
            NodeValue::Mapping(entries) => entries.iter_mut().for_each(|entry| self.node(&mut entry.value)),
            NodeValue::Text(text) if text.contains("${") && !self.is_exhausted => {
                let text = std::mem::take(text);
                self.text(node, text);
            }
            _ => {}
        }
    }

    fn text(&mut self, node: &mut Node, text: String) {
        if let Some(name) = whole(&text) {
            if let Some(value) = self.value(node, name) {
                let (nodes, bytes) = size(&value);
                if !self.afford(nodes, bytes, node) {
                    return;
                }
                node.value = value.value;
                node.via = Some(name.to_owned());
                return;
            }
            node.value = NodeValue::Text(text);
            return;
        }
        let mut filled = String::new();
        let mut rest = text.as_str();
        let mut via = None;
        while let Some(start) = rest.find("${") {
            let Some(len) = rest[start..].find('}') else { break };
            let name = &rest[start + 2..start + len];
            filled.push_str(&rest[..start]);
            match self.value(node, name).map(|value| (plain(&value), value)) {
                Some((Some(plain), _)) => {
                    if !self.afford(0, plain.len(), node) {
                        return;
                    }
                    filled.push_str(&plain);
                    via = Some(name.to_owned());
                }
                Some((None, value)) => {
                    let message = format!(
                        "`${{{name}}}` is {}, which cannot be part of a text",
                        value.describe()
                    );
                    self.findings
                        .push(Finding::new(Rule::WrongType, node.span, message));
                }
                None => filled.push_str(&rest[start..=start + len]),
            }
            rest = &rest[start + len + 1..];
        }
        filled.push_str(rest);
        node.value = NodeValue::Text(filled);
        node.via = via.or(node.via.take());
    }

    /// The value of `var.name` or `env:NAME`; `None` for anything else and after a finding.
    fn value(&mut self, node: &Node, name: &str) -> Option<Node> {
        if let Some(variable) = name.strip_prefix("var.") {
            let found = self.variables.get(variable).cloned();
            if found.is_none() {
                let message = format!("there is no variable `{variable}`");
                let names = self.variables.keys().map(String::as_str);
                let help = suggestion(variable, "variables", names)
                    .unwrap_or_else(|| format!("define it: `variables: {{{variable}: …}}`"));
                self.findings
                    .push(Finding::new(Rule::UnknownVariable, node.span, message).help(help));
            }
            return found;
        }
        let variable = name.strip_prefix("env:")?;
        let message = if is_secret(variable) {
            format!("`{variable}` looks like a secret, and settings are written to records")
        } else if let Some(value) = self.environment.get(variable) {
            return Some(Node {
                value: scalar(value),
                span: node.span,
                via: None,
            });
        } else {
            format!("the environment variable `{variable}` is not set")
        };
        let help = match is_secret(variable) {
            true => "stores find their credentials in the environment by themselves; no setting needs one"
                .to_owned(),
            false => "set it, or make it a variable that --set variables.name=value can replace".to_owned(),
        };
        self.findings
            .push(Finding::new(Rule::Environment, node.span, message).help(help));
        None
    }

    /// Takes what a filling adds from the budget; says so, once, when it is used up.
    fn afford(&mut self, nodes: usize, bytes: usize, node: &Node) -> bool {
        let enough = nodes <= self.nodes && bytes <= self.bytes;
        if !enough {
            let message = "the document grows too large when its variables are filled in";
            self.findings.push(Finding::new(Rule::Syntax, node.span, message));
            self.is_exhausted = true;
        }
        self.nodes = self.nodes.saturating_sub(nodes);
        self.bytes = self.bytes.saturating_sub(bytes);
        enough
    }
}

/// `name` of a text that is just `${name}`.
fn whole(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${")?.strip_suffix('}')?;
    (!inner.contains("${") && !inner.contains('}')).then_some(inner)
}

/// A scalar as text.
fn plain(node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::Text(text) => Some(text.clone()),
        NodeValue::Bool(value) => Some(value.to_string()),
        NodeValue::Integer(value) => Some(value.to_string()),
        NodeValue::Float(value) => Some(value.to_string()),
        NodeValue::Null => Some(String::new()),
        NodeValue::Sequence(_) | NodeValue::Mapping(_) => None,
    }
}

/// An environment variable's value, typed as YAML would type it.
fn scalar(text: &str) -> NodeValue {
    match yaml::parse(text, Origin::Document).map(|node| node.value) {
        Ok(value @ (NodeValue::Bool(_) | NodeValue::Integer(_) | NodeValue::Float(_))) => value,
        _ => NodeValue::Text(text.to_owned()),
    }
}

/// Nodes and bytes of text below and in a node.
fn size(node: &Node) -> (usize, usize) {
    let sum = |(nodes, bytes), part: &Node| {
        let (more_nodes, more_bytes) = size(part);
        (nodes + more_nodes, bytes + more_bytes)
    };
    match &node.value {
        NodeValue::Sequence(items) => items.iter().fold((1, 0), sum),
        NodeValue::Mapping(entries) => entries.iter().fold((1, 0), |all, entry| {
            sum((all.0, all.1 + entry.key.len()), &entry.value)
        }),
        NodeValue::Text(text) => (1, text.len()),
        _ => (1, 0),
    }
}

/// Would a reader of the name expect a credential in it?
fn is_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let telling = [
        "SECRET",
        "TOKEN",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "CREDENTIAL",
        "PRIVATE",
    ];
    telling.iter().any(|word| upper.contains(word)) || upper.ends_with("KEY") || upper.contains("_KEY_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> (Node, Vec<Finding>) {
        let mut root = yaml::parse(text, Origin::Document).unwrap();
        let environment = BTreeMap::from([
            ("STEPS".into(), "12".into()),
            ("API_KEY".into(), "hunter2".into()),
        ]);
        let mut findings = Vec::new();
        fill_in(&mut root, &environment, &mut findings);
        (root, findings)
    }

    #[test]
    fn a_whole_value_keeps_its_type_and_a_part_becomes_text() {
        let text = "variables: {n: 3, l: [1], d: data}\na: ${var.n}\nb: ${var.d}/x-${var.n}.txt\nc: ${var.l}\ne: ${env:STEPS}\nf: ${a.b}\n";
        let (root, findings) = fill(text);
        assert_eq!(findings, []);
        assert_eq!(root.nearest("a").value, NodeValue::Integer(3));
        assert_eq!(root.nearest("b").as_text(), Some("data/x-3.txt"));
        assert!(matches!(&root.nearest("c").value, NodeValue::Sequence(items) if items.len() == 1));
        assert_eq!(root.nearest("e").value, NodeValue::Integer(12));
        assert_eq!(root.nearest("f").as_text(), Some("${a.b}"));
    }

    #[test]
    fn unknown_ones_secrets_and_self_references_are_found() {
        let (root, findings) =
            fill("variables: {n: 1, m: '${var.n}'}\na: ${var.nn}\nb: ${env:API_KEY}\nc: ${env:NO}\n");
        let rules: Vec<Rule> = findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(
            rules,
            [
                Rule::UnknownVariable,
                Rule::UnknownVariable,
                Rule::Environment,
                Rule::Environment
            ]
        );
        assert!(!format!("{root:?}{findings:?}").contains("hunter2"));
    }

    #[test]
    fn growth_is_bounded() {
        let uses = "- ${var.x}\n".repeat(2000);
        let (_, findings) = fill(&format!("variables: {{x: [{}]}}\na:\n{uses}", "1,".repeat(100)));
        assert_eq!(
            findings
                .iter()
                .filter(|finding| finding.rule == Rule::Syntax)
                .count(),
            1
        );
        let uses = "- a ${var.x}\n".repeat(2000);
        let (_, findings) = fill(&format!("variables: {{x: {}}}\na:\n{uses}", "x".repeat(100_000)));
        assert_eq!(
            findings
                .iter()
                .filter(|finding| finding.rule == Rule::Syntax)
                .count(),
            1
        );
    }
}
