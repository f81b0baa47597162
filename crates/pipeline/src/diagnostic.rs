//! Findings with their texts: what the reader of an error sees.
//!
//! Stands between [`Finding`]s and miette, which draws them. [`Diagnostics`] is everything found in one document;
//! each of its [`Diagnostic`]s quotes the document, or the `--set` override that brought the value.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, SourceSpan};
use serde_json::{Value, json};
use tributary_store::{blank, mask};

use crate::finding::Finding;
use crate::source::Source;

/// Everything found wrong with a document, in document order.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    source: Arc<Source>,
    findings: Vec<Finding>,
}

impl Diagnostics {
    /// Joins findings with the texts they point into. Order: by text and place, then as found; equal ones once.
    pub(crate) fn new(source: Arc<Source>, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.span);
        findings.dedup();
        // Messages may quote values, and values may be addresses with credentials.
        for finding in &mut findings {
            finding.message = mask(&finding.message);
            finding.label = mask(&finding.label);
            finding.help = finding.help.take().map(|help| mask(&help));
        }
        Diagnostics { source, findings }
    }

    /// The findings themselves.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// One diagnostic for each finding, for any miette handler.
    pub fn reports(&self) -> impl Iterator<Item = Diagnostic> + '_ {
        self.findings.iter().map(|finding| {
            let (name, text) = self.source.text_of(finding.span.origin);
            // Quoted as it stands, but for credentials.
            let mut text = blank(text);
            // miette cannot point past the end, nor at a tab-only rest; a final newline gives it a place.
            if !text.ends_with('\n') {
                text.push('\n');
            }
            Diagnostic {
                finding: finding.clone(),
                text: NamedSource::new(name, text),
            }
        })
    }

    /// All diagnostics drawn for a terminal of `width` columns, a blank line between them.
    pub fn render(&self, width: usize, colour: bool) -> String {
        let theme = if colour {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width)
            .with_links(false);
        let mut drawn = String::new();
        for report in self.reports() {
            if !drawn.is_empty() {
                drawn.push('\n');
            }
            if handler.render_report(&mut drawn, &report).is_err() {
                drawn.push_str(&format!("{report}\n"));
            }
        }
        drawn
    }

    /// The same for machines: an array of `{code, message, file, line, column, text, help}`.
    pub fn to_json(&self) -> Value {
        let one = |finding: &Finding| {
            let (line, column) = self.source.position(finding.span);
            json!({
                "code": finding.rule.code(),
                "message": finding.message,
                "file": self.source.text_of(finding.span.origin).0,
                "line": line,
                "column": column,
                "text": mask(self.source.excerpt(finding.span)),
                "label": finding.label,
                "help": finding.help,
            })
        };
        self.findings.iter().map(one).collect()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.findings.as_slice() {
            [one] => write!(f, "{}: {}", self.source.name, one.message),
            many => write!(f, "{}: {} things are wrong", self.source.name, many.len()),
        }
    }
}

impl Error for Diagnostics {}

/// One finding with the text it points into.
#[derive(Debug)]
pub struct Diagnostic {
    finding: Finding,
    text: NamedSource<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.rule.code()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding
            .help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let finding = &self.finding;
        let own = std::iter::once((finding.span, &finding.label));
        let same_text = finding
            .related
            .iter()
            .filter(|(span, _)| span.origin == finding.span.origin);
        let all = own.chain(same_text.map(|(span, words)| (*span, words)));
        Some(Box::new(all.enumerate().map(|(index, (span, words))| {
            let place = SourceSpan::new(span.start.into(), span.len);
            let words = (!words.is_empty()).then(|| words.clone());
            match index {
                0 => LabeledSpan::new_primary_with_span(words, place),
                _ => LabeledSpan::new_with_span(words, place),
            }
        })))
    }
}
