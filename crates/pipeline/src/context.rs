//! What a job sees: its inputs, at plan time and at run time, and the place it works in.
//!
//! Stands between the planner and runner, which fill these, and the jobs, which read them. Invariants: a resolved
//! input is immutable for the run (its digest is part of the step's cache key); a job writes only through
//! [`JobContext::publication`] and [`JobContext::checkpoints`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tributary_store::{Artifact, MANIFEST, Publication, Store, StoreDirectory};

use crate::graph::GraphStep;
use crate::input::InputRef;
use crate::job_error::JobError;
use crate::progress::{CancellationToken, ProgressSink};
use crate::record::Machine;
use crate::resources::Resources;

/// An input that exists: an output of a finished step, or something from outside.
#[derive(Debug, Clone)]
pub struct ResolvedInput {
    /// What the setting says.
    pub reference: InputRef,
    /// Name for tables and figures: the step's id or the file's name if declared with
    /// [`InputDeclaration::named`](crate::InputDeclaration::named), else the field.
    pub label: String,
    /// `model`, `dataset`, `file`, …
    pub kind: String,
    /// Identity of the content, 64 hex digits: of the artifact's manifest, or of the bytes outside artifacts.
    pub digest: String,
    /// The artifact it is a part of, if it is one.
    pub artifact: Option<Artifact>,
    /// The artifact's root, or the folder outside artifacts.
    pub root: Store,
    /// File or folder below `root`; empty for `root` itself.
    pub path: String,
    /// Is it a file (else a folder)?
    pub is_file: bool,
    /// Outside artifacts: sizes and times of the files when the digest was taken, which tell whether it still holds.
    pub(crate) mark: Option<String>,
}

impl ResolvedInput {
    /// The folder: this input itself, or for a file the folder it lies in.
    ///
    /// # Errors
    /// The path is unsafe (a broken manifest).
    pub fn folder(&self) -> Result<Store, JobError> {
        let folder = match (self.is_file, self.path.rsplit_once('/')) {
            (false, _) => self.path.as_str(),
            (true, Some((folder, _))) => folder,
            (true, None) => "",
        };
        if folder.is_empty() {
            Ok(self.root.clone())
        } else {
            Ok(self.root.child(folder)?)
        }
    }

    /// The folder as the tensor readers want it.
    ///
    /// # Errors
    /// As [`Self::folder`].
    pub fn directory(&self) -> Result<StoreDirectory, JobError> {
        Ok(self.folder()?.directory())
    }

    /// The file's name inside [`Self::folder`]; `None` if this is a folder.
    pub fn file_name(&self) -> Option<&str> {
        self.is_file
            .then(|| self.path.rsplit('/').next().unwrap_or(&self.path))
    }

    /// The path on this machine, if it is local.
    pub fn local_path(&self) -> Option<PathBuf> {
        self.root.local_path().map(|root| {
            if self.path.is_empty() {
                root
            } else {
                root.join(&self.path)
            }
        })
    }

    /// Names of the files in this folder (relative, `/`-separated, sorted; without the manifest), or the file.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn files(&self) -> Result<Vec<String>, JobError> {
        if let Some(name) = self.file_name() {
            return Ok(vec![name.to_owned()]);
        }
        let mut files: Vec<String> = match &self.artifact {
            Some(artifact) => {
                let prefix = if self.path.is_empty() {
                    String::new()
                } else {
                    format!("{}/", self.path)
                };
                let objects = artifact.manifest().objects.iter();
                objects
                    .filter_map(|object| object.path.strip_prefix(&prefix).map(str::to_owned))
                    .collect()
            }
            None => self
                .folder()?
                .list("")?
                .into_iter()
                .map(|object| object.key)
                .collect(),
        };
        files.retain(|name| name != MANIFEST);
        files.sort();
        Ok(files)
    }
}

/// What a job may look at while the pipeline is planned.
#[derive(Debug)]
pub struct PlanContext<'a> {
    /// The step's id.
    pub step: &'a str,
    /// Folder that relative paths in settings start from: the document's.
    pub base: &'a Path,
    /// The machine the plan is for.
    pub machine: &'a Machine,
    /// What the step reserves of it.
    pub resources: &'a Resources,
    pub(crate) inputs: &'a BTreeMap<String, ResolvedInput>,
}

impl<'a> PlanContext<'a> {
    pub(crate) fn new(
        step: &'a GraphStep,
        base: &'a Path,
        machine: &'a Machine,
        inputs: &'a BTreeMap<String, ResolvedInput>,
    ) -> Self {
        PlanContext {
            step: &step.id,
            base,
            machine,
            resources: &step.resources,
            inputs,
        }
    }

    /// The input of a declared field (`models.0.model`), if it exists already: from outside, or made by an
    /// earlier run. `None` means a step of this run will make it; the check runs again when it has.
    pub fn input(&self, field: &str) -> Option<&'a ResolvedInput> {
        self.inputs.get(field)
    }

    /// The declared inputs that exist already, by field.
    pub fn inputs(&self) -> impl Iterator<Item = (&'a str, &'a ResolvedInput)> {
        self.inputs.iter().map(|(field, input)| (field.as_str(), input))
    }
}

/// Where a job runs.
pub struct JobContext {
    /// The step's id.
    pub step: String,
    /// Seed of this step: from the pipeline's seed and the step's id, see [`crate::step_seed`]. 0 if the job is
    /// not seeded.
    pub seed: u64,
    /// `cpu`, `cuda:0` or `auto`.
    pub device: String,
    /// How many threads the step may keep busy.
    pub threads: usize,
    /// 0 for the first attempt.
    pub attempt: u32,
    /// Where the step's files go; the runner commits it.
    pub publication: Publication,
    /// `checkpoints/<key>` in the store: what an interrupted run of the very same step left behind.
    pub checkpoints: Store,
    /// Who listens.
    pub progress: Arc<dyn ProgressSink>,
    /// Asked at every safe point.
    pub cancellation: CancellationToken,
    pub(crate) inputs: BTreeMap<String, ResolvedInput>,
}

impl JobContext {
    /// The input of a declared field, for instance `models.0.model`.
    ///
    /// # Errors
    /// [`JobErrorKind::Bug`](crate::JobErrorKind::Bug) if the job did not declare the field.
    pub fn input(&self, field: &str) -> Result<&ResolvedInput, JobError> {
        self.inputs
            .get(field)
            .ok_or_else(|| JobError::bug(format!("setting `{field}` was not declared as an input")))
    }

    /// All inputs by field.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &ResolvedInput)> {
        self.inputs.iter().map(|(field, input)| (field.as_str(), input))
    }
}
