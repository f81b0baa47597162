//! Text as a step's settings name it: which files, which side of the held-out split, which keys.
//!
//! Used by every job that reads text. The source may be a data set that another step made, or any file or folder.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_data::{Columns, Document, Format, Source, Split, TokenizeOptions, Tokenizer, tokenize};
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
    /// Which of 1000 buckets of records it takes, by their content.
    pub(crate) fn buckets(&self) -> Range<u64> {
        buckets(self.split, u64::from(self.held_out))
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

/// The buckets of a side of the split: the first `held_out` of 1000 are held out.
pub(crate) fn buckets(split: Split, held_out: u64) -> Range<u64> {
    match split {
        Split::All => 0..1000,
        Split::Train => held_out..1000,
        Split::HeldOut => 0..held_out,
    }
}

/// Have the two anything in common?
pub(crate) fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

/// One problem for every data set of `first` that has documents of `second`, which judges. Both by field and data sets.
pub(crate) fn shared(
    (field, first): (&str, &[DataSet]),
    (judging, second): (&str, &[DataSet]),
    plan: &PlanContext<'_>,
) -> Vec<Problem> {
    let input = |field: &str, at: usize| plan.input(&format!("{field}.{at}.source"));
    let mut problems = Vec::new();
    for (at, set) in first.iter().enumerate() {
        let is_same = |(number, other): (usize, &DataSet)| {
            let (Some(a), Some(b)) = (input(field, at), input(judging, number)) else {
                return false;
            };
            (&a.digest, &a.path) == (&b.digest, &b.path) && overlap(&set.buckets(), &other.buckets())
        };
        if second.iter().enumerate().any(is_same) {
            let message = format!("this text is among `{judging}`, which judges the result");
            let help = "take `split: train` here and `split: held_out` there, or other text";
            problems.push(Problem::new(format!("{field}.{at}.source"), message).help(help));
        }
    }
    problems
}

fn side(split: Split) -> &'static str {
    match split {
        Split::All => "all",
        Split::Train => "train",
        Split::HeldOut => "held_out",
    }
}
