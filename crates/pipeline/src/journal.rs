//! Run records on their way into the store.
//!
//! Written by the dispatcher of [`crate::runner`] alone, as things happen. A record that cannot be written does not
//! stop the work: artifacts do not depend on records.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use tributary_store::{Store, StoreError, mask};

use crate::event::Event;
use crate::key::artifact_path;
use crate::planner::Planned;
use crate::record::{
    FinishedRecord, RECORD_FORMAT, RUNS, RunRecord, RunStatus, StepFailure, StepRecord, StepStatus,
    Throughput,
};
use crate::source::Profile;

/// The records of one run.
pub(crate) struct Journal {
    place: Store,
    began: Instant,
    records: Vec<StepRecord>,
    starts: Vec<Option<Instant>>,
}

/// Now, RFC 3339 in UTC, to the millisecond.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A new run id: time and six random hexadecimal digits.
fn new_id() -> String {
    // RandomState is seeded by the operating system and differs at every construction.
    let random = RandomState::new().hash_one(std::process::id()) & 0xff_ffff;
    format!("{}-{random:06x}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"))
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

/// A profile as it may be kept.
fn masked(profile: &Profile) -> Profile {
    Profile {
        text: mask(&profile.text),
        ..profile.clone()
    }
}

impl Journal {
    /// Starts a run: writes its `run.json` and moves `runs/latest`.
    pub(crate) fn begin(
        planned: &Planned,
        versions: BTreeMap<String, String>,
    ) -> Result<(String, Self), StoreError> {
        let plan = &planned.plan;
        let id = new_id();
        let run = RunRecord {
            format: RECORD_FORMAT,
            id: id.clone(),
            pipeline: plan.pipeline.clone(),
            file: plan.file.clone(),
            document: mask(&planned.source.text),
            profiles: planned.source.profiles.iter().map(masked).collect(),
            overrides: planned.source.overrides.iter().map(|text| mask(text)).collect(),
            store: plan.store.clone(),
            seed: plan.seed,
            versions,
            machine: plan.machine.clone(),
            started: now(),
            steps: plan.steps.iter().map(|step| step.outline()).collect(),
        };
        let place = planned.store.child(&format!("{RUNS}/{id}"))?;
        place.put("run.json", json(&run))?;
        planned.store.pointer(&format!("{RUNS}/latest"))?.set(&id)?;
        let record = |step: &crate::plan::PlanStep| StepRecord {
            format: RECORD_FORMAT,
            step: step.id.clone(),
            job: step.job.clone(),
            status: StepStatus::Queued,
            key: step.key.clone(),
            artifact: step.artifact.clone(),
            digest: None,
            attempts: 0,
            started: None,
            finished: None,
            seconds: None,
            error: None,
            throughput: Vec::new(),
            metrics: BTreeMap::new(),
        };
        let records: Vec<StepRecord> = plan.steps.iter().map(record).collect();
        let starts = vec![None; records.len()];
        Ok((
            id,
            Journal {
                place,
                began: Instant::now(),
                records,
                starts,
            },
        ))
    }

    /// Changes a step's record and writes it.
    fn update(&mut self, index: usize, change: impl FnOnce(&mut StepRecord)) {
        let record = &mut self.records[index];
        change(record);
        if let Err(error) = self
            .place
            .put(&format!("steps/{}.json", record.step), json(record))
        {
            tracing::warn!(
                "the record of step `{}` could not be written: {error}",
                record.step
            );
        }
    }

    /// Notes what an event says about a step's status.
    pub(crate) fn note(&mut self, index: usize, event: &Event) {
        match event {
            Event::StepStarted { attempt, .. } => {
                self.starts[index].get_or_insert_with(Instant::now);
                self.update(index, |record| {
                    record.status = StepStatus::Running;
                    record.attempts = attempt + 1;
                    record.started.get_or_insert_with(now);
                });
            }
            Event::StepRetrying { error, .. } => {
                self.update(index, |record| record.error = Some(error.clone()))
            }
            _ => {}
        }
    }

    /// Keeps what a worker learnt; written with the next change.
    pub(crate) fn fill(
        &mut self,
        index: usize,
        key: Option<String>,
        throughput: Vec<Throughput>,
        metrics: BTreeMap<String, f64>,
    ) {
        let record = &mut self.records[index];
        record.artifact = key.as_ref().map(|key| artifact_path(&record.job, key));
        (record.key, record.throughput, record.metrics) = (key, throughput, metrics);
    }

    /// Notes the end of a step, with its artifact's digest; gives its seconds.
    pub(crate) fn end(
        &mut self,
        index: usize,
        status: StepStatus,
        error: Option<StepFailure>,
        digest: Option<String>,
    ) -> f64 {
        let seconds = self.starts[index].map(|start| start.elapsed().as_secs_f64());
        self.update(index, |record| {
            record.status = status;
            record.error = error;
            record.digest = digest;
            record.finished = Some(now());
            record.seconds = seconds;
        });
        seconds.unwrap_or_default()
    }

    /// Seconds since the run began.
    pub(crate) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The records as they stand.
    pub(crate) fn records(&self) -> &[StepRecord] {
        &self.records
    }

    /// Ends the run: writes its `finished.json`.
    pub(crate) fn finish(&self, status: RunStatus) -> Result<(), StoreError> {
        let mut steps = BTreeMap::new();
        for record in &self.records {
            *steps.entry(record.status).or_insert(0) += 1;
        }
        let record = FinishedRecord {
            format: RECORD_FORMAT,
            status,
            finished: now(),
            seconds: self.seconds(),
            steps,
        };
        self.place.put("finished.json", json(&record))
    }
}
