//! The texts a pipeline is made from: the YAML file, profiles, `--set` overrides and the environment.
//!
//! Read once at the start; everything later works on these, and diagnostics quote them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::PipelineError;
use crate::node::{Origin, Span};

/// What a place or a machine changes about a pipeline: see [`crate::profile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The file as the user gave it.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// A pipeline's texts.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Name in messages: the file as the user gave it.
    pub name: String,
    /// The YAML document.
    pub text: String,
    /// Folder that relative paths of data files start from: the file's.
    pub base: PathBuf,
    /// Profiles laid over the document, in order.
    pub profiles: Vec<Profile>,
    /// `--set` overrides, as given, in order.
    pub overrides: Vec<String>,
    /// Environment variables that `${env:NAME}` may read.
    pub environment: BTreeMap<String, String>,
}

impl Source {
    /// Reads a file, with this process's environment.
    ///
    /// # Errors
    /// [`PipelineError::Unreadable`].
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, PipelineError> {
        Ok(Source {
            name: path.display().to_string(),
            text: read(path)?,
            base: path.parent().map(Path::to_owned).unwrap_or_default(),
            profiles: Vec::new(),
            overrides: overrides.to_vec(),
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        })
    }

    /// Lays a profile over the document, after those that are there.
    ///
    /// # Errors
    /// [`PipelineError::Unreadable`].
    pub fn with_profile(mut self, path: &Path) -> Result<Self, PipelineError> {
        self.profiles.push(Profile {
            file: path.display().to_string(),
            text: read(path)?,
        });
        Ok(self)
    }

    /// A document in memory, without environment; relative paths start from the working directory.
    pub fn from_text(name: impl Into<String>, text: impl Into<String>) -> Self {
        Source {
            name: name.into(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// The text a span points into, with its name.
    pub(crate) fn text_of(&self, origin: Origin) -> (&str, &str) {
        match origin {
            Origin::Document => (&self.name, &self.text),
            Origin::Profile(index) => {
                let profile = self.profiles.get(index);
                profile.map_or(("", ""), |profile| (&profile.file, &profile.text))
            }
            Origin::Override(index) => ("--set", self.overrides.get(index).map_or("", String::as_str)),
        }
    }

    /// 1-based line and column (in characters) of a span's first byte.
    pub fn position(&self, span: Span) -> (usize, usize) {
        let (_, text) = self.text_of(span.origin);
        let before = text.get(..span.start.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    /// The bytes a span covers; empty if it covers none.
    pub fn excerpt(&self, span: Span) -> &str {
        self.text_of(span.origin)
            .1
            .get(span.start..span.start + span.len)
            .unwrap_or("")
    }
}

/// The text of a file that may hold a document.
fn read(path: &Path) -> Result<String, PipelineError> {
    let unreadable = |source| PipelineError::Unreadable {
        path: path.to_owned(),
        source,
    };
    // A few bytes more than a document may have, so that a huge file is refused without being read.
    let limit = crate::yaml::MAX_DOCUMENT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut bytes).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let message = format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to());
        unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, message))
    })
}
