//! Text to a tree of [`Node`]s, within a tight budget.
//!
//! Stands between serde-saphyr and [`crate::document`]. What is read as what: `true`/`false` are the only booleans
//! (`on`, `yes`, `no` are text), `0x10` and `0o17` are integers, `1e-5` and `.5` are numbers, `0755`, dates and
//! times are text, NaN and infinity are refused, `<<` merge keys and `!tags` with meaning are refused or ignored;
//! aliases are expanded. Invariant: any text at all gives a tree or one finding, in bounded time and memory.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::MergeKeyPolicy;
use serde_saphyr::{Location, Options, Spanned};

use crate::finding::{Finding, Rule};
use crate::node::{Entry, Node, NodeValue, Origin, Span};

/// Longest document, in bytes.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// Deepest nesting of mappings and lists.
pub(crate) const MAX_DEPTH: usize = 32;
/// Most scalars, mappings and lists, aliases expanded.
pub(crate) const MAX_NODES: usize = 10_000;
/// Most anchors, and most aliases.
pub(crate) const MAX_ANCHORS: usize = 100;

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 1,
            max_anchors: MAX_ANCHORS,
            max_aliases: MAX_ANCHORS,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_total_scalar_bytes: 4 * MAX_DOCUMENT_BYTES,
            max_recorded_anchor_events: 4 * MAX_NODES,
        },
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        merge_keys: MergeKeyPolicy::Error,
    }
}

/// Reads one YAML document.
///
/// # Errors
/// One finding: the parser cannot go on after a fault of syntax.
pub(crate) fn parse(text: &str, origin: Origin) -> Result<Node, Box<Finding>> {
    if text.len() > MAX_DOCUMENT_BYTES {
        let message = format!(
            "the document has {} bytes; at most {MAX_DOCUMENT_BYTES} are read",
            text.len()
        );
        return Err(Box::new(Finding::new(
            Rule::Syntax,
            Span {
                origin,
                start: 0,
                len: 0,
            },
            message,
        )));
    }
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options()) {
        Ok(raw) => Ok(place(raw, origin)),
        Err(error) => Err(Box::new(fault(text, origin, &error))),
    }
}

/// The tree as the parser gives it.
enum Raw {
    Scalar(NodeValue),
    Sequence(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn span_of(location: Location, origin: Origin) -> Span {
    let span = location.span();
    let start = span.byte_offset().unwrap_or(0) as usize;
    Span {
        origin,
        start,
        len: span.byte_len().unwrap_or(0) as usize,
    }
}

fn place(raw: Spanned<Raw>, origin: Origin) -> Node {
    let mut span = span_of(raw.referenced, origin);
    let value = match raw.value {
        Raw::Scalar(value) => value,
        Raw::Sequence(items) => {
            span.len = span.len.max(1);
            NodeValue::Sequence(items.into_iter().map(|item| place(item, origin)).collect())
        }
        Raw::Mapping(entries) => {
            let entry = |(key, value): (Spanned<String>, Spanned<Raw>)| Entry {
                key_span: span_of(key.referenced, origin),
                key: key.value,
                value: place(value, origin),
            };
            let entries: Vec<Entry> = entries.into_iter().map(entry).collect();
            // A block mapping begins where its first key does, and has no bracket of its own to point at.
            if span.len == 0 {
                span.len = entries.first().map_or(0, |first| first.key_span.len);
            }
            NodeValue::Mapping(entries)
        }
    };
    Node {
        value,
        span,
        via: None,
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(NodeValue::Null))
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(NodeValue::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(NodeValue::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(NodeValue::Integer(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(NodeValue::Integer(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(NodeValue::Integer(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(NodeValue::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(NodeValue::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}

/// The parser's error in our words, at its place.
fn fault(text: &str, origin: Origin, error: &serde_saphyr::Error) -> Finding {
    let error = error.without_snippet();
    let location = error.location();
    let span = location.map_or(
        Span {
            origin,
            start: 0,
            len: 0,
        },
        |location| {
            let mut span = span_of(location, origin);
            if location.span().byte_offset().is_none() {
                span.start = byte_offset(text, location.line() as usize, location.column() as usize);
            }
            if span.len == 0 {
                span.len = text[span.start..]
                    .chars()
                    .next()
                    .filter(|c| *c != '\n')
                    .map_or(0, char::len_utf8);
            }
            span
        },
    );
    let said = error.to_string();
    // The place is shown anyway; keep what comes before it.
    let said = said.split(" at line ").next().unwrap_or(&said).to_owned();
    let before = &text[..span.start];
    if let Some(rest) = said.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set ").next().unwrap_or(rest);
        return Finding::new(
            Rule::DuplicateKey,
            span,
            format!("the key `{key}` stands twice in one mapping"),
        )
        .label("again here")
        .help("remove one of the two");
    }
    if before.ends_with('$') && text[span.start..].starts_with('{') {
        let inner = text[span.start..].split('}').next().unwrap_or("{…");
        return Finding::new(
            Rule::Syntax,
            span,
            "a reference inside `{ }` or `[ ]` must be quoted",
        )
        .help(format!(
            "YAML ends a plain word at `{{`; write \"${inner}}}\" with the quotes"
        ));
    }
    let limits = format!(
        "a document holds at most {MAX_NODES} values, {MAX_DEPTH} levels, {MAX_ANCHORS} anchors and one YAML document"
    );
    if said.starts_with("budget breached")
        || said.starts_with("recursion limit")
        || said.contains("alias replay")
    {
        let what = match &said {
            said if said.contains("Documents") => "more than one YAML document in the file",
            said if said.contains("Nodes") => "too many values (aliases are counted where they expand)",
            said if said.contains("recursion") || said.contains("Depth") => "nested too deeply",
            said if said.contains("Anchors") || said.contains("Alias") => "too many anchors or aliases",
            _ => "the document is too large",
        };
        return Finding::new(Rule::Syntax, span, what).help(limits);
    }
    let help = match &said {
        said if said.contains("merge keys") => {
            Some("write the keys out, or use `defaults:` and `variables:`")
        }
        said if said.contains("non-finite") => Some("write a finite number"),
        said if said.contains("found a tab") || before.ends_with('\t') => {
            Some("indent with spaces; YAML forbids tabs")
        }
        said if said.contains("cannot deserialize null into string")
            || said.contains("expected string scalar") =>
        {
            Some("keys are plain words")
        }
        said if said.contains("not allowed in this context") => Some("quote a value that holds `: `"),
        _ => None,
    };
    let message = match &said {
        said if said.contains("cannot deserialize null into string") => "a key cannot be empty".to_owned(),
        said if said.contains("expected string scalar") => "a key must be a plain word".to_owned(),
        said if said.contains("merge keys") => "merge keys (`<<`) are not read".to_owned(),
        said if said.contains("non-finite") => "NaN and infinity are not read".to_owned(),
        _ => format!("not YAML: {said}"),
    };
    Finding::new(Rule::Syntax, span, message).maybe_help(help.map(str::to_owned))
}

/// Byte offset of a 1-based line and column, both counted in characters; the end of the text if beyond.
fn byte_offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let rest = &text[start..];
    let within = rest
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(rest.len(), |(offset, _)| offset);
    start + within
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Node {
        parse(text, Origin::Document).unwrap_or_else(|finding| panic!("{finding:?}"))
    }

    #[test]
    fn scalars_are_typed_as_documented() {
        let text = "[on, no, true, 1e-5, .5, 0x10, 0o17, 0755, 2026-01-02, 1:30, ~, '5', 1_000, -3]";
        let NodeValue::Sequence(items) = read(text).value else {
            panic!("a list")
        };
        let kinds: Vec<String> = items.iter().map(Node::describe).collect();
        assert_eq!(
            kinds,
            [
                "the text `on`",
                "the text `no`",
                "the boolean true",
                "the number 0.00001",
                "the number 0.5",
                "the integer 16",
                "the integer 15",
                "the text `0755`",
                "the text `2026-01-02`",
                "the text `1:30`",
                "nothing",
                "the text `5`",
                "the integer 1000",
                "the integer -3",
            ]
        );
    }

    #[test]
    fn spans_are_bytes_of_the_text() {
        let text = "é: 1\nsteps:\n  - id: \"ü\"\n";
        let node = read(text);
        let id = node.nearest("steps.0.id");
        assert_eq!(&text[id.span.start..id.span.start + id.span.len], "\"ü\"");
        let step = node.nearest("steps.0");
        assert_eq!(&text[step.span.start..step.span.start + step.span.len], "id");
        // A setting that is not there is reported at the deepest one that is.
        assert_eq!(node.nearest("steps.0.with.x"), step);
    }
}
