//! Text as a step's settings name it: which files, which side of the held-out split, which keys.
//!
//! Used by every job that reads text. The source may be a data set that another step made, or any file or folder.

use std::ops::Range;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tributary_data::{
    Columns, DEFAULT_SEPARATOR, Document, Format, Source, Split, TokenizeOptions, Tokenizer, tokenize,
};
use tributary_pipeline::{
    DIRECTORY_KIND, FILE_KIND, InputDeclaration, InputRef, JobContext, JobError, PlanContext, Problem,
    ResolvedInput,
};

use crate::blame::Blame;

/// Kind of an output that holds text to read.
pub const DATA_SET_KIND: &str = "dataset";
/// What a data set may be.
pub(crate) const ACCEPTED: &[&str] = &[DATA_SET_KIND, FILE_KIND, DIRECTORY_KIND];

/// Text to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSet {
    /// A data set of another step, a file (.txt, .jsonl, .parquet) or a folder of such files.
    pub source: InputRef,
    /// What tables call it; the step's or file's name unless given.
    #[serde(default)]
    pub name: Option<String>,
    /// Which records: all, train (not held out) or held_out.
    #[serde(default)]
    pub split: Split,
    /// How many of 1000 records are held out, chosen by their content.
    #[serde(default = "default_held_out")]
    #[schemars(range(max = 1000))]
    pub held_out: u16,
    /// Only the first so many records of that side.
    #[serde(default)]
    pub limit: Option<u64>,
    /// The format, where the file's ending does not tell.
    #[serde(default)]
    pub format: Option<Format>,
    /// The keys or columns, where they are not called text, prompt and completion, or messages.
    #[serde(default)]
    pub columns: Columns,
    /// For plain text: the line that ends a document (`<|endoftext|>` unless given, "" for blank lines).
    #[serde(default)]
    pub separator: Option<String>,
}

fn default_held_out() -> u16 {
    50
}

impl DataSet {
    /// Which records it takes, whatever the limit.
    pub(crate) fn records(&self, input: &ResolvedInput) -> Records {
        let buckets = buckets(self.split, self.held_out);
        Records {
            digest: input.digest.clone(),
            // Outside artifacts the digest is that of the very file or folder, whatever it is called.
            path: input
                .artifact
                .as_ref()
                .map_or(String::new(), |_| input.path.clone()),
            cut: cut(&input.path, self.format, &self.columns, self.separator.as_deref()),
            buckets: [buckets.start, buckets.end],
        }
    }

    /// The records, in order.
    pub(crate) fn open(&self, input: &ResolvedInput) -> Result<Source, JobError> {
        let mut source =
            Source::new(input.root.clone(), input.path.clone()).with_columns(self.columns.clone());
        source.format = self.format;
        source.separator = self.separator.clone();
        Ok(source)
    }

    /// The name in tables.
    pub(crate) fn label<'a>(&'a self, input: &'a ResolvedInput) -> &'a str {
        self.name.as_deref().unwrap_or(&input.label)
    }
}

/// Declares the inputs of a list of data sets under `field`.
pub(crate) fn declare(field: &str, sets: &[DataSet]) -> Vec<InputDeclaration> {
    let declare = |(index, set): (usize, &DataSet)| {
        InputDeclaration::new(format!("{field}.{index}.source"), ACCEPTED, &set.source)
    };
    sets.iter().enumerate().map(declare).collect()
}

/// What is wrong with data sets that exist already: the first record of each is read.
pub(crate) fn check(field: &str, sets: &[DataSet], plan: &PlanContext<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        if set.held_out > 1000 {
            let message = format!("{} of 1000 records cannot be held out", set.held_out);
            problems.push(Problem::new(format!("{field}.{index}.held_out"), message));
        }
        if set.split == Split::HeldOut && set.held_out == 0 {
            problems.push(
                Problem::new(format!("{field}.{index}.held_out"), "nothing is held out")
                    .help("hold out some, for instance 50 of 1000"),
            );
        }
        if set.limit == Some(0) {
            let problem = Problem::new(format!("{field}.{index}.limit"), "no record is taken");
            problems.push(problem.help("leave it out to take all"));
        }
        let Some(input) = plan.input(&format!("{field}.{index}.source")) else {
            continue;
        };
        let place = format!("{field}.{index}.source");
        let first = set.open(input).and_then(|source| {
            let first = source
                .records()
                .blame("it cannot be read")?
                .next()
                .transpose()
                .blame("its first record is malformed")?;
            first.ok_or_else(|| JobError::bad_input("it holds no record"))
        });
        if let Err(error) = first {
            problems.push(Problem::new(place, error.describe()));
        }
    }
    if sets.is_empty() {
        problems.push(Problem::new(field, "no data").help("add at least one `- {source: …}`"));
    }
    problems
}

/// Tokenises one data set.
pub(crate) fn documents(
    set: &DataSet,
    input: &ResolvedInput,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<Vec<Document>, JobError> {
    let doing = || format!("reading {}", input.reference);
    let records = set.open(input)?.records().blame(doing())?;
    let limit = set
        .limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let records = set.split.filter(records, set.held_out).take(limit);
    let documents = tokenize(records, tokenizer, options).blame(doing())?;
    if documents.is_empty() {
        let message = format!(
            "{}: no document on the side `{}` of the split",
            doing(),
            side(set.split)
        );
        return Err(JobError::bad_input(message));
    }
    Ok(documents)
}

/// Tokenises all data sets under `field`, one after the other.
pub(crate) fn all_documents(
    field: &str,
    sets: &[DataSet],
    context: &JobContext,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<Vec<Document>, JobError> {
    let mut all = Vec::new();
    for (index, set) in sets.iter().enumerate() {
        context.cancellation.check()?;
        all.append(&mut documents(
            set,
            context.input(&format!("{field}.{index}.source"))?,
            tokenizer,
            options,
        )?);
    }
    Ok(all)
}

/// Records of a text: of which file, how cut, which of them by their content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Records {
    digest: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    cut: String,
    /// From the first of 1000 buckets to before the second.
    buckets: [u64; 2],
}

impl Records {
    /// The data set that a manifest's settings tell of.
    pub(crate) fn of_settings(set: &Value) -> Option<Self> {
        let text = |key: &str| set.get("source")?.get(key)?.as_str();
        fn part<T: DeserializeOwned + Default>(set: &Value, key: &str) -> T {
            let value = set.get(key).cloned().unwrap_or(Value::Null);
            serde_json::from_value(value).unwrap_or_default()
        }
        let side = buckets(part(set, "split"), part(set, "held_out"));
        let path = text("path").unwrap_or_default();
        let separator: Option<String> = part(set, "separator");
        Some(Self {
            digest: text("digest")?.to_owned(),
            // Of a file outside artifacts it says the ending.
            path: match path.starts_with('*') {
                true => String::new(),
                false => path.to_owned(),
            },
            cut: cut(
                path,
                part(set, "format"),
                &part(set, "columns"),
                separator.as_deref(),
            ),
            buckets: [side.start, side.end],
        })
    }

    /// Have the two anything in common? Of a text that is cut otherwise, anything may be anywhere.
    pub(crate) fn overlap(&self, other: &Records) -> bool {
        let [(a, b), (c, d)] = [self.buckets, other.buckets].map(|[start, end]| (start, end));
        (&self.digest, &self.path) == (&other.digest, &other.path)
            && (self.cut != other.cut || a.max(c) < b.min(d))
    }
}

/// How a file is cut into records, where that is not as its ending says.
fn cut(path: &str, format: Option<Format>, columns: &Columns, separator: Option<&str>) -> String {
    let usual = Format::from_name(path);
    let format = format.or(usual);
    let separator =
        separator.filter(|separator| *separator != DEFAULT_SEPARATOR && format == Some(Format::Text));
    match (format == usual, columns == &Columns::default(), separator) {
        (true, true, None) => String::new(),
        _ => json!([format, columns, separator]).to_string(),
    }
}

/// The buckets of a side of the split: the first `held_out` of 1000 are held out.
fn buckets(split: Split, held_out: u16) -> Range<u64> {
    let held_out = u64::from(held_out);
    match split {
        Split::All => 0..1000,
        Split::Train => held_out..1000,
        Split::HeldOut => 0..held_out,
    }
}

/// One problem for every data set of `first` that has documents of `second`, which judges. Both by field and data sets.
pub(crate) fn shared(
    (field, first): (&str, &[DataSet]),
    (judging, second): (&str, &[DataSet]),
    plan: &PlanContext<'_>,
) -> Vec<Problem> {
    let (first, second) = (known(field, first, plan), known(judging, second, plan));
    let is_shared = |(_, records): &&(usize, Records)| second.iter().any(|(_, other)| records.overlap(other));
    let problem = |(at, _): &(usize, Records)| {
        let message = format!("this text is among `{judging}`, which judges the result");
        let help = "take `split: train` here and `split: held_out` there, or other text";
        Problem::new(format!("{field}.{at}.source"), message).help(help)
    };
    first.iter().filter(is_shared).map(problem).collect()
}

/// One problem for every data set whose documents an earlier one has too: counted twice, they would make errors too small.
pub(crate) fn repeated(field: &str, sets: &[DataSet], plan: &PlanContext<'_>) -> Vec<Problem> {
    let known = known(field, sets, plan);
    let mut problems = Vec::new();
    for (number, (at, records)) in known.iter().enumerate() {
        if let Some((earlier, _)) = known[..number].iter().find(|(_, other)| other.overlap(records)) {
            let message = format!("documents of it are in `{field}.{earlier}` too, and would count twice");
            problems.push(Problem::new(format!("{field}.{at}.source"), message).help("list each text once"));
        }
    }
    problems
}

/// The records of the data sets that are there.
fn known(field: &str, sets: &[DataSet], plan: &PlanContext<'_>) -> Vec<(usize, Records)> {
    let records = |(at, set): (usize, &DataSet)| {
        let input = plan.input(&format!("{field}.{at}.source"))?;
        Some((at, set.records(input)))
    };
    sets.iter().enumerate().filter_map(records).collect()
}

fn side(split: Split) -> &'static str {
    match split {
        Split::All => "all",
        Split::Train => "train",
        Split::HeldOut => "held_out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(split: Split, separator: Option<&str>) -> Records {
        let side = buckets(split, 50);
        Records {
            digest: "5bd8".to_owned(),
            path: String::new(),
            cut: cut("a.txt", None, &Columns::default(), separator),
            buckets: [side.start, side.end],
        }
    }

    #[test]
    fn sides_are_apart_unless_they_are_cut_otherwise() {
        let [all, train, held_out] = [Split::All, Split::Train, Split::HeldOut].map(|split| set(split, None));
        assert!(all.overlap(&train) && all.overlap(&held_out) && !train.overlap(&held_out));
        // A story may hold paragraphs of both sides.
        assert!(train.overlap(&set(Split::HeldOut, Some(""))));
        let other = Records {
            digest: "5bd9".to_owned(),
            ..all.clone()
        };
        assert!(!all.overlap(&other));
    }

    #[test]
    fn settings_in_a_manifest_tell_the_same() {
        let source = json!({"digest": "5bd8", "path": "*.txt"});
        let mut settings = json!({
            "source": source, "split": "train", "held_out": 50, "columns": {}, "format": null, "separator": null,
        });
        assert_eq!(Records::of_settings(&settings), Some(set(Split::Train, None)));
        settings["separator"] = json!(DEFAULT_SEPARATOR);
        settings["format"] = json!("text");
        assert_eq!(Records::of_settings(&settings), Some(set(Split::Train, None)));
        settings["separator"] = json!("");
        assert_eq!(Records::of_settings(&settings), Some(set(Split::Train, Some(""))));
        settings["source"] = json!("no map");
        assert_eq!(Records::of_settings(&settings), None);
    }
}
