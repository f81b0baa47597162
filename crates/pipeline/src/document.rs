//! The document: name, store, seed and steps, each with its place.
//!
//! Stands between the tree ([`crate::yaml`], with overrides and variables applied) and [`crate::graph`]. Reads as
//! much as it can and notes everything wrong; what a job kind makes of `with:` is not its business.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostics;
use crate::error::PipelineError;
use crate::finding::{Finding, Rule, suggestion};
use crate::input::is_identifier;
use crate::node::{Entry, Node, NodeValue, Origin, Span};
use crate::resources::Resources;
use crate::source::Source;
use crate::typed::from_node;
use crate::{overrides, profile, variables, yaml};

/// Where artifacts go when a document does not say.
pub(crate) const DEFAULT_STORE: &str = "./ckpt";
/// Most retries a step may ask for.
pub(crate) const MAX_RETRIES: u32 = 100;
/// Top-level keys.
pub(crate) const DOCUMENT_KEYS: [&str; 6] = ["name", "store", "seed", "defaults", "variables", "steps"];
/// Keys of a step.
pub(crate) const STEP_KEYS: [&str; 6] = ["id", "job", "with", "resources", "retries", "after"];

/// What steps take where they do not say themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Defaults {
    /// How often a step is tried again after a failure that may pass.
    #[schemars(range(max = 100))]
    pub retries: u32,
    /// What a step reserves.
    pub resources: Resources,
}

/// A document, read.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// `name:`.
    pub name: String,
    /// `store:`, an address or a path relative to the working directory.
    pub store: String,
    /// Where the store is named, for errors about it.
    pub store_span: Span,
    /// `seed:`.
    pub seed: u64,
    /// The steps that could be read, in document order.
    pub steps: Vec<StepDocument>,
}

/// One step of a document.
#[derive(Debug, Clone)]
pub(crate) struct StepDocument {
    /// `id:`.
    pub id: String,
    /// Where the id is written.
    pub id_span: Span,
    /// `job:`.
    pub job: String,
    /// Where the job kind is written.
    pub job_span: Span,
    /// `with:`; an empty mapping at the job's place if left out.
    pub with: Node,
    /// Is `with:` a mapping (or left out)? If not, that has been said, and its settings are nobody's business.
    pub has_settings: bool,
    /// `resources:`.
    pub resources: Resources,
    /// `resources:` as written, or the step.
    pub resources_node: Node,
    /// `retries:`.
    pub retries: u32,
    /// `after:`, with places.
    pub after: Vec<(String, Span)>,
}

/// What a document says of itself: whose runs to look for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentHead {
    /// Its `name`.
    pub pipeline: String,
    /// Its `store`: an address or a path relative to the working directory.
    pub store: String,
}

impl DocumentHead {
    /// Reads a document, overrides and variables applied, without planning its steps.
    ///
    /// # Errors
    /// [`PipelineError::Document`] with everything wrong that can be seen without knowing the job kinds.
    pub fn read(source: Source) -> Result<Self, PipelineError> {
        let mut findings = Vec::new();
        match Document::read(&source, &mut findings) {
            Some(document) if findings.is_empty() => Ok(DocumentHead {
                pipeline: document.name,
                store: document.store,
            }),
            _ => Err(PipelineError::Document(Box::new(Diagnostics::new(
                Arc::new(source),
                findings,
            )))),
        }
    }
}

impl Document {
    /// Reads a document. Findings are added; what could be read is returned (`None` if nothing could).
    pub(crate) fn read(source: &Source, findings: &mut Vec<Finding>) -> Option<Self> {
        let mut root = match yaml::parse(&source.text, Origin::Document) {
            Ok(root) => root,
            Err(finding) => {
                findings.push(*finding);
                return None;
            }
        };
        if !matches!(root.value, NodeValue::Mapping(_)) {
            let message = format!("a pipeline is a mapping, found {}", root.describe());
            let help = format!("start with {}", crate::finding::list(&DOCUMENT_KEYS));
            findings.push(Finding::new(Rule::WrongType, root.span, message).help(help));
            return None;
        }
        for (index, profile) in source.profiles.iter().enumerate() {
            profile::apply(&mut root, &profile.text, index, findings);
        }
        for (index, text) in source.overrides.iter().enumerate() {
            if let Err(finding) = overrides::apply(&mut root, text, index, &DOCUMENT_KEYS) {
                findings.push(*finding);
            }
        }
        variables::fill_in(&mut root, &source.environment, findings);
        Some(Self::from_root(&root, findings))
    }

    fn from_root(root: &Node, findings: &mut Vec<Finding>) -> Self {
        unknown_keys(root, &DOCUMENT_KEYS, "a pipeline has", findings);
        let defaults: Defaults = optional(root, "defaults", findings).unwrap_or_default();
        check_variables(root, findings);
        let mut document = Document {
            name: required(root, "name", Span::START, findings).unwrap_or_default(),
            store: optional(root, "store", findings).unwrap_or_else(|| DEFAULT_STORE.to_owned()),
            store_span: root.get("store").map_or(root.span, |node| node.span),
            seed: optional(root, "seed", findings).unwrap_or_default(),
            steps: Vec::new(),
        };
        if document.name.is_empty()
            && let Some(node) = root.get("name").filter(|node| node.as_text() == Some(""))
        {
            findings.push(Finding::at(Rule::BadName, node, "the name is empty"));
        }
        match root.get("steps").map(|node| (node, &node.value)) {
            Some((_, NodeValue::Sequence(items))) if !items.is_empty() => {
                for item in items {
                    document
                        .steps
                        .extend(StepDocument::read(item, &defaults, findings));
                }
            }
            Some((_, NodeValue::Sequence(_) | NodeValue::Null)) | None => {
                let place = root.entry("steps").map_or(Span::START, |entry| entry.key_span);
                let finding = Finding::new(Rule::MissingKey, place, "a pipeline without steps");
                findings.push(finding.help("add `steps:` with a list of `- {id: …, job: …, with: …}`"));
            }
            Some((node, _)) => {
                let message = format!("`steps` expects a list, found {}", node.describe());
                findings
                    .push(Finding::at(Rule::WrongType, node, message).help("write `- id: …` for each step"));
            }
        }
        let mut seen: Vec<(&str, Span)> = Vec::new();
        for step in &document.steps {
            match seen.iter().find(|(id, _)| *id == step.id) {
                Some((id, first)) => findings.push(
                    Finding::new(
                        Rule::DuplicateStep,
                        step.id_span,
                        format!("two steps are called `{id}`"),
                    )
                    .label("again here")
                    .related(*first, "first here")
                    .help("give one of them another id"),
                ),
                None => seen.push((&step.id, step.id_span)),
            }
        }
        document
    }
}

impl StepDocument {
    fn read(node: &Node, defaults: &Defaults, findings: &mut Vec<Finding>) -> Option<Self> {
        if !matches!(node.value, NodeValue::Mapping(_)) {
            let message = format!("a step is a mapping, found {}", node.describe());
            findings
                .push(Finding::at(Rule::WrongType, node, message).help("write `- id: …` and `job: …` below"));
            return None;
        }
        unknown_keys(node, &STEP_KEYS, "a step has", findings);
        let id: Option<String> = required(node, "id", node.span, findings);
        if let (Some(id), Some(place)) = (&id, node.get("id"))
            && !is_identifier(id)
        {
            let message = format!("`{id}` cannot be the id of a step");
            let help = "start with a letter; then letters, digits, `_` and `-`; at most 64";
            findings.push(Finding::at(Rule::BadName, place, message).help(help));
        }
        let job: Option<String> = required(node, "job", node.span, findings);
        let job_span = node.get("job").map_or(node.span, |job| job.span);
        let mut has_settings = true;
        let with = match node.get("with") {
            None => Node::empty_mapping(job_span),
            Some(Node {
                value: NodeValue::Null,
                span,
                ..
            }) => Node::empty_mapping(node.entry("with").map_or(*span, |entry| entry.key_span)),
            Some(with) if matches!(with.value, NodeValue::Mapping(_)) => with.clone(),
            Some(with) => {
                let message = format!("`with` expects a mapping, found {}", with.describe());
                findings.push(Finding::at(Rule::WrongType, with, message));
                has_settings = false;
                Node::empty_mapping(with.span)
            }
        };
        let retries = optional(node, "retries", findings).unwrap_or(defaults.retries);
        if retries > MAX_RETRIES {
            let place = node.get("retries").unwrap_or(node);
            let message = format!("{retries} retries are too many; at most {MAX_RETRIES}");
            findings.push(Finding::at(Rule::BadValue, place, message));
        }
        let after: Vec<String> = optional(node, "after", findings).unwrap_or_default();
        let place = |index: usize| node.nearest(&format!("after.{index}")).span;
        Some(StepDocument {
            id_span: node.get("id").map_or(node.span, |id| id.span),
            id: id?,
            job: job?,
            job_span,
            with,
            has_settings,
            resources: optional(node, "resources", findings).unwrap_or_else(|| defaults.resources.clone()),
            resources_node: node.get("resources").unwrap_or(node).clone(),
            retries,
            after: after
                .into_iter()
                .enumerate()
                .map(|(index, id)| (id, place(index)))
                .collect(),
        })
    }
}

/// `variables:` is a mapping with sound names.
fn check_variables(root: &Node, findings: &mut Vec<Finding>) {
    match root.get("variables").map(|node| (node, &node.value)) {
        None | Some((_, NodeValue::Null)) => {}
        Some((_, NodeValue::Mapping(entries))) => {
            for Entry { key, key_span, .. } in entries.iter().filter(|entry| !is_identifier(&entry.key)) {
                findings.push(
                    Finding::new(
                        Rule::BadName,
                        *key_span,
                        format!("`{key}` cannot be the name of a variable"),
                    )
                    .help("start with a letter; then letters, digits, `_` and `-`; at most 64"),
                );
            }
        }
        Some((node, _)) => {
            let message = format!("`variables` expects a mapping, found {}", node.describe());
            findings.push(
                Finding::at(Rule::WrongType, node, message).help("write `name: value` for each variable"),
            );
        }
    }
}

fn unknown_keys(node: &Node, known: &[&str], what: &str, findings: &mut Vec<Finding>) {
    let NodeValue::Mapping(entries) = &node.value else {
        return;
    };
    let written: BTreeSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    for entry in entries
        .iter()
        .filter(|entry| !known.contains(&entry.key.as_str()))
    {
        // A key that is there already is not what was meant.
        let free = known.iter().copied().filter(|name| !written.contains(name));
        findings.push(
            Finding::new(
                Rule::UnknownKey,
                entry.key_span,
                format!("unknown key `{}`", entry.key),
            )
            .label("nobody reads this")
            .maybe_help(suggestion(&entry.key, what, free)),
        );
    }
}

fn optional<T: serde::de::DeserializeOwned>(
    node: &Node,
    key: &str,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    let value = node.get(key).filter(|value| value.value != NodeValue::Null)?;
    match from_node(value) {
        Ok(value) => Some(value),
        Err(errors) => {
            findings.extend(errors.into_iter().map(|error| named(error, key)));
            None
        }
    }
}

fn required<T: serde::de::DeserializeOwned>(
    node: &Node,
    key: &str,
    place: Span,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    let missing = node.get(key).is_none_or(|value| value.value == NodeValue::Null);
    if missing {
        let span = node.entry(key).map_or(place, |entry| entry.key_span);
        let finding = Finding::new(Rule::MissingKey, span, format!("the key `{key}` is missing"));
        findings.push(finding.help(format!("add `{key}: …`")));
    }
    optional(node, key, findings)
}

/// A value read on its own does not know what it is called.
fn named(mut error: Finding, key: &str) -> Finding {
    if error.message.starts_with("expects ") {
        error.message.insert_str(0, &format!("`{key}` "));
    }
    error
}
