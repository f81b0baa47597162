//! What a job declares before it runs: its inputs, outputs, expected effort, and what it finds wrong.
//!
//! Everything here follows from a step's settings alone, so that the whole graph is known and checked before any
//! work starts. Fields of settings are named by dotted paths with list positions: `models.0.model`.

use serde::{Deserialize, Serialize};

use crate::figure::Figure;
use crate::input::InputRef;

/// Kind of an external file that is no artifact.
pub const FILE_KIND: &str = "file";
/// Kind of an external directory that is neither an artifact nor a model.
pub const DIRECTORY_KIND: &str = "directory";
/// Kind of a Hugging Face model directory, external (it has a `config.json`) or made by a step.
pub const MODEL_KIND: &str = "model";

/// One place in the settings that reads something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputDeclaration {
    /// Path of the setting, for instance `models.0.model`.
    pub field: String,
    /// Kinds that fit. External inputs have the kind of their manifest, or [`MODEL_KIND`] for a directory with
    /// a `config.json`, [`DIRECTORY_KIND`] for another one, [`FILE_KIND`] for a file.
    pub accepts: &'static [&'static str],
    /// What the setting says.
    pub reference: InputRef,
    /// Does the result show the input's name? See [`Self::named`].
    pub is_named: bool,
}

impl InputDeclaration {
    /// Declares that `field` reads `reference`, which must be of one of the kinds.
    pub fn new(field: impl Into<String>, accepts: &'static [&'static str], reference: &InputRef) -> Self {
        InputDeclaration {
            field: field.into(),
            accepts,
            reference: reference.clone(),
            is_named: false,
        }
    }

    /// The result shows the input's name (the step's id, or the file's name), which therefore becomes a part of
    /// the cache key; the name comes as [`ResolvedInput::label`](crate::ResolvedInput::label).
    #[must_use]
    pub fn named(mut self) -> Self {
        self.is_named = true;
        self
    }
}

/// One thing a step makes, a part of its artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputDeclaration {
    /// Name in references: `${step.name}`.
    pub name: String,
    /// `model`, `dataset`, `metrics`, …; must be among the kinds its readers accept.
    pub kind: String,
    /// File or folder inside the artifact; empty for the artifact's root. The runner refuses to commit an
    /// artifact without it.
    pub path: String,
}

impl OutputDeclaration {
    /// Declares that the step makes `name` of `kind` at `path`.
    pub fn new(name: impl Into<String>, kind: impl Into<String>, path: impl Into<String>) -> Self {
        OutputDeclaration {
            name: name.into(),
            kind: kind.into(),
            path: path.into(),
        }
    }
}

/// Something a job finds wrong with its settings or inputs at plan time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the offending setting; empty for the settings as a whole.
    pub field: String,
    /// A lower-case fragment: what is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// A problem with one setting.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Problem {
            field: field.into(),
            message: message.into(),
            help: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What a step is expected to take, for `trib plan`. Every part is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Bytes read from stores.
    pub bytes_read: Option<u64>,
    /// Bytes written to the store.
    pub bytes_written: Option<u64>,
    /// Peak bytes of memory.
    pub memory: Option<u64>,
    /// One line in the job's own words, for instance `300 steps of 4,096 tokens, 2.1 M parameters`.
    pub note: Option<String>,
}

/// What a job hands back when its files are written; the runner adds outputs and lineage and commits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Facts for the manifest, for instance the number of parameters. Deterministic: no clocks, no paths of
    /// this machine.
    pub facts: serde_json::Map<String, serde_json::Value>,
    /// What the report shall show; stored as [`crate::FIGURES`].
    pub figures: Vec<Figure>,
}

impl Outcome {
    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.facts.insert(name.into(), value.into());
        self
    }

    /// Adds a figure.
    #[must_use]
    pub fn figure(mut self, figure: Figure) -> Self {
        self.figures.push(figure);
        self
    }
}
