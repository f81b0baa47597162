//! Which files to read, and how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_store::Store;

use crate::error::{Error, Result};
use crate::record::Record;
use crate::source::jsonl::JsonRecords;
use crate::source::parquet::ParquetRecords;
use crate::source::text::TextRecords;
use crate::source::{Columns, Input};

/// A stream of records; an item that is an error tells about one record, or ends the stream.
pub type Records = Box<dyn Iterator<Item = Result<Record>> + Send>;

/// How records are laid out in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Plain text; see [`Source::separator`].
    Text,
    /// One JSON object a line.
    Jsonl,
    /// A parquet table.
    Parquet,
}

impl Format {
    /// The format that a file's ending tells: `.txt`, `.text`, `.md`; `.jsonl`, `.ndjson`, `.json`; `.parquet`.
    pub fn from_name(name: &str) -> Option<Self> {
        let ending = name.rsplit_once('.')?.1.to_ascii_lowercase();
        match ending.as_str() {
            "txt" | "text" | "md" => Some(Self::Text),
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// A file, or a directory of files, to read records from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The store the file lies in.
    pub store: Store,
    /// The file's path in the store; empty or a directory to read every file below it that has a known ending, by name.
    pub path: String,
    /// The format, where the file's ending does not tell.
    pub format: Option<Format>,
    /// The keys or columns to read.
    pub columns: Columns,
    /// For plain text: a document ends at a line equal to this (`<|endoftext|>` unless given; `""` for blank lines). A file
    /// without such a line is one document.
    pub separator: Option<String>,
}

impl Source {
    /// The file or directory `path` of `store`.
    pub fn new(store: Store, path: impl Into<String>) -> Self {
        Self {
            store,
            path: path.into(),
            format: None,
            columns: Columns::default(),
            separator: None,
        }
    }

    /// A file or directory by its address: a path, or a URL such as `s3://bucket/data/train.jsonl`. What has a known ending
    /// is a file.
    pub fn open(address: &str) -> Result<Self> {
        let (parent, name) = match address.rsplit_once('/') {
            Some((parent, name)) => (if parent.is_empty() { "/" } else { parent }, name),
            None => (".", address),
        };
        match Format::from_name(name) {
            Some(_) => Ok(Self::new(Store::open(parent)?, name)),
            None if !address.contains("://") && is_other_file(address) => Err(Error::Format {
                path: address.to_owned(),
                problem: "its ending tells no format: rename it to .txt, .jsonl or .parquet".to_owned(),
            }),
            None => Ok(Self::new(Store::open(address)?, "")),
        }
    }

    /// The same source in a stated format.
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// The same source with other keys.
    pub fn with_columns(mut self, columns: Columns) -> Self {
        self.columns = columns;
        self
    }

    /// The same source with documents separated otherwise.
    pub fn with_separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = Some(separator.into());
        self
    }

    /// The paths in the store that will be read, in order.
    pub fn files(&self) -> Result<Vec<String>> {
        if !self.path.is_empty() && self.store.head(&self.path)?.is_some() {
            return Ok(vec![self.path.clone()]);
        }
        let mut files: Vec<String> = self
            .store
            .list(&self.path)?
            .into_iter()
            .map(|meta| meta.key)
            .collect();
        files.retain(|file| Format::from_name(file).is_some() && !is_ours(file));
        if files.is_empty() {
            let hint = "; nor is it a directory with .txt, .jsonl or .parquet files".to_owned();
            return Err(Error::Missing {
                path: self.store.describe(&self.path),
                hint,
            });
        }
        Ok(files)
    }

    /// The records of all files, one file after the other.
    ///
    /// # Errors
    /// If there is no such file, or the first file cannot be opened. What is wrong further on is told by the stream's items.
    pub fn records(&self) -> Result<Records> {
        self.columns.check()?;
        let mut files = self.files()?.into_iter();
        let first = files.next().map(|file| self.file(&file)).transpose()?;
        let source = self.clone();
        let rest = files.flat_map(move |file| match source.file(&file) {
            Ok(records) => records,
            Err(err) => Box::new(std::iter::once(Err(err))),
        });
        Ok(Box::new(first.into_iter().flatten().chain(rest)))
    }

    fn file(&self, path: &str) -> Result<Records> {
        let Some(format) = self.format.or_else(|| Format::from_name(path)) else {
            let problem =
                "its ending tells no format; name it with `format: text`, `jsonl` or `parquet`".to_owned();
            return Err(Error::Format {
                path: self.store.describe(path),
                problem,
            });
        };
        read(
            Input::from_store(&self.store, path)?,
            format,
            &self.columns,
            self.separator.as_deref(),
        )
    }
}

/// Is there something that is no folder?
fn is_other_file(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_dir())
}

/// Files of ours that lie beside data in an artifact and hold none.
fn is_ours(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.starts_with('.')
        || matches!(
            name,
            "tributary.json" | "figures.json" | "metrics.jsonl" | "README.md"
        )
}

/// The records of one file.
pub fn read(input: Input, format: Format, columns: &Columns, separator: Option<&str>) -> Result<Records> {
    Ok(match format {
        Format::Text => Box::new(TextRecords::new(input, separator)),
        Format::Jsonl => Box::new(JsonRecords::new(input, columns)),
        Format::Parquet => Box::new(ParquetRecords::open(input, columns)?),
    })
}
