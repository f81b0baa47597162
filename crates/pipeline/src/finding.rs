//! One thing found wrong, with its place, before it becomes a diagnostic.
//!
//! Everything that checks a document collects these; [`crate::diagnostic`] adds the texts and renders them.
//! Messages are lower-case fragments; the place is always there; what to do about it wherever we know.

use crate::node::{Node, Span};

/// Which rule was broken; the last part of a diagnostic's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// The text is not YAML, or exceeds what a document may hold.
    Syntax,
    /// A key stands twice in one mapping.
    DuplicateKey,
    /// A key nobody reads.
    UnknownKey,
    /// A key that must be there.
    MissingKey,
    /// A value of the wrong type.
    WrongType,
    /// A value of the right type that cannot be.
    BadValue,
    /// A job kind nobody implements.
    UnknownJob,
    /// Two steps of one id.
    DuplicateStep,
    /// An id or name with other characters than letters, digits, `_` and `-`.
    BadName,
    /// Steps that wait for each other.
    Cycle,
    /// A step that waits for itself.
    SelfReference,
    /// A reference to a step that is not there.
    UnknownStep,
    /// A reference to an output that its step does not make.
    UnknownOutput,
    /// An output of a kind that its reader cannot use.
    WrongKind,
    /// A reference where none is read.
    NotAnInput,
    /// A variable that is not defined.
    UnknownVariable,
    /// An environment variable that is not set, or that may be a secret.
    Environment,
    /// A file, directory or artifact that is not there or cannot be read.
    MissingInput,
    /// More than this machine has.
    TooManyResources,
    /// An override that does not fit the document.
    BadOverride,
    /// What a job found wrong.
    Check,
}

impl Rule {
    /// The diagnostic's code, for instance `pipeline::unknown_key`.
    pub fn code(self) -> &'static str {
        match self {
            Rule::Syntax => "pipeline::syntax",
            Rule::DuplicateKey => "pipeline::duplicate_key",
            Rule::UnknownKey => "pipeline::unknown_key",
            Rule::MissingKey => "pipeline::missing_key",
            Rule::WrongType => "pipeline::wrong_type",
            Rule::BadValue => "pipeline::bad_value",
            Rule::UnknownJob => "pipeline::unknown_job",
            Rule::DuplicateStep => "pipeline::duplicate_step",
            Rule::BadName => "pipeline::bad_name",
            Rule::Cycle => "pipeline::cycle",
            Rule::SelfReference => "pipeline::self_reference",
            Rule::UnknownStep => "pipeline::unknown_step",
            Rule::UnknownOutput => "pipeline::unknown_output",
            Rule::WrongKind => "pipeline::wrong_kind",
            Rule::NotAnInput => "pipeline::not_an_input",
            Rule::UnknownVariable => "pipeline::unknown_variable",
            Rule::Environment => "pipeline::environment",
            Rule::MissingInput => "pipeline::missing_input",
            Rule::TooManyResources => "pipeline::too_many_resources",
            Rule::BadOverride => "pipeline::bad_override",
            Rule::Check => "pipeline::check",
        }
    }
}

/// One thing found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule was broken.
    pub rule: Rule,
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// Two or three words at the place; empty to point only.
    pub label: String,
    /// Other places that matter, with a few words each.
    pub related: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    /// A finding at a place.
    pub fn new(rule: Rule, span: Span, message: impl Into<String>) -> Self {
        let (message, label) = (message.into(), String::new());
        Finding {
            rule,
            span,
            message,
            label,
            related: Vec::new(),
            help: None,
        }
    }

    /// A finding at a node; says so when the value came through a variable.
    pub fn at(rule: Rule, node: &Node, message: impl Into<String>) -> Self {
        let finding = Self::new(rule, node.span, message);
        match &node.via {
            Some(name) => finding.label(format!("`${{{name}}}` is {} here", node.describe())),
            None => finding,
        }
    }

    /// Adds words at the place, unless it has some.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        if self.label.is_empty() {
            self.label = label.into();
        }
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what to do about it, where known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn related(mut self, span: Span, words: impl Into<String>) -> Self {
        self.related.push((span, words.into()));
        self
    }
}

/// The candidate nearest to what was written, if any is near enough to have been meant.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written_lower = written.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let lower = candidate.to_lowercase();
        let distance = strsim::damerau_levenshtein(&written_lower, &lower);
        let longest = written.chars().count().max(candidate.chars().count());
        let part = written.len().min(lower.len()) >= 3
            && (lower.contains(&written_lower) || written_lower.contains(&lower));
        let near = distance <= (longest / 3).max(1) || part;
        // Of equally near ones the first in the given order, so that the answer never changes.
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// `did you mean …?`, or the list of what there is, or nothing.
pub fn suggestion<'a>(
    written: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(candidate) = nearest(written, candidates.iter().copied()) {
        return Some(format!("did you mean `{candidate}`?"));
    }
    match candidates.len() {
        0 => None,
        1..=12 => Some(format!("{what}: {}", list(&candidates))),
        _ => Some(format!("{what}: {}, …", list(&candidates[..12]))),
    }
}

/// `` `a`, `b`, `c` ``.
pub(crate) fn list(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_listed() {
        let kinds = ["evaluate", "merge", "train.lm"];
        assert_eq!(
            suggestion("evalute", "kinds", kinds).unwrap(),
            "did you mean `evaluate`?"
        );
        assert_eq!(
            suggestion("train", "kinds", kinds).unwrap(),
            "did you mean `train.lm`?"
        );
        assert_eq!(
            suggestion("zzz", "kinds", kinds).unwrap(),
            "kinds: `evaluate`, `merge`, `train.lm`"
        );
        assert_eq!(suggestion("zzz", "kinds", []), None);
    }
}
