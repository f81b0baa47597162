//! Run records read back from a store, for the report and for `trib`.
//!
//! The counterpart of [`crate::journal`]. Works while the run still goes on: a step without a record is queued, a
//! run without `finished.json` is running or was killed.

use serde::de::DeserializeOwned;
use tributary_store::{Artifact, Store, StoreError};

use crate::error::PipelineError;
use crate::figure::{FIGURES, Figure};
use crate::record::{FinishedRecord, RECORD_FORMAT, RUNS, RunRecord, StepOutline, StepRecord, StepStatus};

/// One run's records.
#[derive(Debug, Clone, PartialEq)]
pub struct RunHistory {
    /// What was asked for.
    pub run: RunRecord,
    /// Where the steps stand, in execution order, one for each of [`RunRecord::steps`].
    pub steps: Vec<StepRecord>,
    /// How the run ended, if it did.
    pub finished: Option<FinishedRecord>,
}

impl RunHistory {
    /// Ids of all runs in a store, oldest first.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub fn list(store: &Store) -> Result<Vec<String>, PipelineError> {
        let names = store
            .children(RUNS)
            .map_err(PipelineError::store("listing runs"))?;
        let mut runs: Vec<String> = names
            .into_iter()
            .filter_map(|name| Some(name.strip_suffix('/')?.into()))
            .collect();
        runs.sort();
        Ok(runs)
    }

    /// The run that started last.
    ///
    /// # Errors
    /// [`PipelineError::NoRun`] if there was none yet; otherwise as [`Self::load`].
    pub fn latest(store: &Store) -> Result<Self, PipelineError> {
        let pointer = store
            .pointer(&format!("{RUNS}/latest"))
            .and_then(|pointer| pointer.read());
        match pointer.map_err(PipelineError::store("looking for the latest run"))? {
            Some(value) => Self::load(store, &value.target),
            None => Err(PipelineError::NoRun {
                run: "latest".to_owned(),
                store: store.url(),
            }),
        }
    }

    /// The run of a pipeline that started last; a store may hold runs of several.
    ///
    /// # Errors
    /// [`PipelineError::NoRun`] if there was none yet; otherwise as [`Self::load`].
    pub fn latest_of(store: &Store, pipeline: &str) -> Result<Self, PipelineError> {
        for run in Self::list(store)?.into_iter().rev() {
            if Self::outline(store, &run)?.is_some_and(|(record, _)| record.pipeline == pipeline) {
                return Self::load(store, &run);
            }
        }
        Err(PipelineError::NoRun {
            run: format!("of pipeline {pipeline}"),
            store: store.url(),
        })
    }

    /// What was asked for in a run and how it ended, without its steps; nothing if there is no such run.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn outline(
        store: &Store,
        run: &str,
    ) -> Result<Option<(RunRecord, Option<FinishedRecord>)>, PipelineError> {
        let place = store
            .child(&format!("{RUNS}/{run}"))
            .map_err(PipelineError::store("opening a run"))?;
        match read(&place, "run.json")? {
            Some(record) => Ok(Some((record, read(&place, "finished.json")?))),
            None => Ok(None),
        }
    }

    /// One run.
    ///
    /// # Errors
    /// [`PipelineError::NoRun`], or a record that cannot be read.
    pub fn load(store: &Store, run: &str) -> Result<Self, PipelineError> {
        let place = store
            .child(&format!("{RUNS}/{run}"))
            .map_err(PipelineError::store("opening a run"))?;
        let Some(record): Option<RunRecord> = read(&place, "run.json")? else {
            return Err(PipelineError::NoRun {
                run: run.to_owned(),
                store: store.url(),
            });
        };
        let known = place
            .children("steps")
            .map_err(PipelineError::store("listing steps"))?;
        let step = |outline: &StepOutline| {
            let name = format!("{}.json", outline.id);
            let found = if known.contains(&name) {
                read(&place, &format!("steps/{name}"))?
            } else {
                None
            };
            Ok(found.unwrap_or_else(|| queued(outline)))
        };
        let steps = record
            .steps
            .iter()
            .map(step)
            .collect::<Result<_, PipelineError>>()?;
        Ok(RunHistory {
            finished: read(&place, "finished.json")?,
            run: record,
            steps,
        })
    }

    /// The artifact of a step, if it has been made.
    ///
    /// # Errors
    /// The store fails, or the manifest is broken.
    pub fn artifact(&self, store: &Store, step: &str) -> Result<Option<Artifact>, PipelineError> {
        let record = self.steps.iter().find(|record| record.step == step);
        let made = record
            .filter(|record| record.digest.is_some())
            .and_then(|record| record.artifact.as_ref());
        let Some(path) = made else { return Ok(None) };
        let open = store.child(path).and_then(|place| Artifact::try_open(&place));
        open.map_err(PipelineError::store(format!(
            "opening the artifact of step `{step}`"
        )))
    }

    /// What a step wants shown; nothing if it has not been made or shows nothing.
    ///
    /// # Errors
    /// The store fails, or the figures are broken.
    pub fn figures(&self, store: &Store, step: &str) -> Result<Vec<Figure>, PipelineError> {
        let Some(artifact) = self.artifact(store, step)? else {
            return Ok(Vec::new());
        };
        if artifact.manifest().object(FIGURES).is_none() {
            return Ok(Vec::new());
        }
        let place = artifact.store();
        let bytes = place
            .get(FIGURES)
            .map_err(PipelineError::store("reading figures"))?;
        Figure::from_json(&bytes).map_err(|error| PipelineError::Record {
            at: place.describe(FIGURES),
            reason: error.to_string(),
        })
    }
}

fn queued(outline: &StepOutline) -> StepRecord {
    StepRecord {
        format: RECORD_FORMAT,
        step: outline.id.clone(),
        job: outline.job.clone(),
        status: StepStatus::Queued,
        key: None,
        artifact: None,
        digest: None,
        attempts: 0,
        started: None,
        finished: None,
        seconds: None,
        error: None,
        throughput: Vec::new(),
        metrics: Default::default(),
    }
}

fn read<T: DeserializeOwned>(place: &Store, path: &str) -> Result<Option<T>, PipelineError> {
    let bytes = match place.get(path) {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(PipelineError::store("reading a run record")(error)),
    };
    let wrong = |reason: String| PipelineError::Record {
        at: place.describe(path),
        reason,
    };
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format == u64::from(RECORD_FORMAT) => {}
        other => {
            return Err(wrong(format!(
                "format {other:?}; this version reads {RECORD_FORMAT}"
            )));
        }
    }
    serde_json::from_value(value)
        .map(Some)
        .map_err(|error| wrong(error.to_string()))
}
