//! The loop around the step: checkpoints, what is kept of them, validation, going on where a killed run was.
//!
//! A checkpoint is an artifact `step-00000100` in the session's store: a whole training state ([`crate::state`]), which
//! is also a model directory. It is visible only when complete; pointer `latest` moves after it, pointer `best` names
//! the one with the lowest validation loss. Its manifest records the step and ‖θ − θ_start‖². What happens next is
//! decided by the checkpoints and the log inside them; the pointers are for people.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tributary_model::Decoder;
use tributary_store::{
    Artifact, Depth, Lineage, ManifestDraft, OutputEntry, Producer, Publication, Store, StoreError,
};
use tributary_tensorfile::DType;

use crate::error::{Result, TrainError};
use crate::metrics::{StepMetrics, dose};
use crate::trainer::Trainer;

/// Kind of a checkpoint's artifact, and of the output that publishes a training state.
pub const STATE_KIND: &str = "training_state";
const LATEST: &str = "latest";
const BEST: &str = "best";
const PREFIX: &str = "step-";

/// When to do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Steps between checkpoints; 0 for none but at a cancellation.
    pub checkpoint_every: u64,
    /// Newest checkpoints that are kept, at least 1.
    pub keep_last: usize,
    /// Checkpoints whose step is a multiple of this are kept for good.
    pub keep_every: Option<u64>,
    /// Steps between measurements on validation data.
    pub validate_every: Option<u64>,
    /// Is the state with the lowest validation loss saved and kept?
    pub keep_best: bool,
    /// Steps that were done before this training, by the one whose state it resumes: their states are not here.
    pub resumed_at: u64,
}

/// What a checkpoint's manifest says beside the state.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// What the training reads.
    pub inputs: Vec<Lineage>,
    /// Its settings.
    pub settings: Value,
    /// Who writes.
    pub producer: Producer,
    /// Digest of the manifest of the model it started from, if it started from one.
    pub start: Option<String>,
    /// Files beside the model: tokenizer, chat template.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Who follows a session.
pub trait Follower {
    /// A step is done.
    fn step(&mut self, metrics: &StepMetrics);
    /// A checkpoint is complete.
    fn checkpoint(&mut self, step: u64);
    /// Something a reader should know.
    fn remark(&mut self, text: &str);
    /// Mean negative log-likelihood of the validation data, nats a token.
    ///
    /// # Errors
    /// What measuring gives.
    fn validate(&mut self, decoder: &Decoder) -> Result<f64>;
    /// Asked after every step: shall the session stop with a checkpoint?
    fn is_cancelled(&self) -> bool;
}

/// Checkpoints of one training.
pub struct Session {
    store: Store,
    cadence: Cadence,
    provenance: Provenance,
}

impl Session {
    /// Keeps checkpoints in `store`.
    pub fn new(store: Store, cadence: Cadence, provenance: Provenance) -> Self {
        Self {
            store,
            cadence,
            provenance,
        }
    }

    /// The trainer of this session: where an interrupted one was, that is at the newest checkpoint that is whole, else
    /// at the beginning. Damaged checkpoints are removed, with a remark. `begin` makes a trainer at the beginning of the
    /// schedule, with the weights of a checkpoint if it is given one, else with those it starts from.
    ///
    /// # Errors
    /// The store fails, or `begin`.
    pub fn trainer(
        &self,
        follower: &mut dyn Follower,
        begin: &mut dyn FnMut(Option<&Store>) -> Result<Trainer>,
    ) -> Result<Trainer> {
        for step in self.steps()?.into_iter().rev() {
            let place = self.place(step)?;
            let Some(artifact) = self.open(&place, follower)? else {
                continue;
            };
            let mut trainer = begin(Some(&place))?;
            match trainer.restore(&place) {
                Ok(()) => {
                    if let Some(lost) = self.lost(&trainer)? {
                        follower.remark(&format!(
                            "the checkpoint of step {lost}, which is to be published, is gone: training again from before it"
                        ));
                        continue;
                    }
                    follower.remark(&format!("goes on after step {step}"));
                    self.point(&trainer)?;
                    return Ok(trainer);
                }
                Err(error @ (TrainError::State { .. } | TrainError::Data(_))) => {
                    follower.remark(&format!(
                        "cannot go on from {}: {error}; trying an older one",
                        place.url()
                    ));
                    artifact.remove()?;
                }
                Err(error) => return Err(error),
            }
        }
        begin(None)
    }

    /// The checkpoint at `place`, if it is complete and every byte is as it was written. What is known to be damaged is
    /// removed; what cannot be read now is an error, because it may be whole.
    fn open(&self, place: &Store, follower: &mut dyn Follower) -> Result<Option<Artifact>> {
        let artifact = match Artifact::try_open(place) {
            Ok(artifact) => artifact,
            Err(error @ StoreError::Manifest { .. }) => {
                follower.remark(&format!(
                    "the checkpoint {} is damaged ({error}); it is removed",
                    place.url()
                ));
                place.delete_all()?;
                None
            }
            Err(error) => return Err(error.into()),
        };
        let Some(artifact) = artifact else { return Ok(None) };
        let report = artifact.verify(Depth::Full, &|_| {})?;
        if report.is_whole() {
            return Ok(Some(artifact));
        }
        if let Some(unread) = report.unreadable() {
            return Err(unread.into());
        }
        follower.remark(&format!(
            "the checkpoint {} is damaged; it is removed",
            place.url()
        ));
        artifact.remove()?;
        Ok(None)
    }

    /// Trains until the schedule ends.
    ///
    /// # Errors
    /// [`TrainError::Cancelled`] with everything saved; [`TrainError::NotFinite`] with nothing of that step saved; what
    /// model and store give.
    pub fn run(&self, trainer: &mut Trainer, follower: &mut dyn Follower) -> Result<()> {
        // A session that was stopped while it measured saved the step without the measurement.
        if self.validate(trainer, follower)?.is_some() && self.best(trainer) == Some(trainer.step_count()) {
            self.save(trainer)?;
        }
        while !trainer.is_finished() {
            let mut metrics = trainer.step()?;
            let step = metrics.step;
            let is_last = trainer.is_finished();
            metrics.validation_loss = match self.validate(trainer, follower) {
                Ok(loss) => loss,
                Err(TrainError::Cancelled { .. }) => {
                    self.save(trainer)?;
                    follower.checkpoint(step);
                    return Err(TrainError::Cancelled { step });
                }
                Err(error) => return Err(error),
            };
            follower.step(&metrics);
            let is_cancelled = follower.is_cancelled();
            let every = (self.cadence.checkpoint_every > 0).then_some(self.cadence.checkpoint_every);
            let is_best = metrics.validation_loss.is_some() && self.best(trainer) == Some(step);
            if is_cancelled
                || is_last
                || is_best
                || is_due(every, step)
                || is_due(self.cadence.keep_every, step)
            {
                self.save(trainer)?;
                follower.checkpoint(step);
            }
            if is_cancelled && !is_last {
                return Err(TrainError::Cancelled { step });
            }
        }
        Ok(())
    }

    /// Measures the model if that is due after its last step and was not done.
    fn validate(&self, trainer: &mut Trainer, follower: &mut dyn Follower) -> Result<Option<f64>> {
        let Some(every) = self.cadence.validate_every else {
            return Ok(None);
        };
        let step = trainer.step_count();
        let is_measured = trainer
            .log()
            .last()
            .is_none_or(|line| line.validation_loss.is_some());
        let is_due = is_due(Some(every), step) || trainer.is_finished();
        if step <= self.cadence.resumed_at || is_measured || !is_due {
            return Ok(None);
        }
        let loss = follower.validate(&trainer.decoder())?;
        trainer.note_validation(loss);
        Ok(Some(loss))
    }

    fn save(&self, trainer: &Trainer) -> Result<()> {
        let step = trainer.step_count();
        trainer.check_finite()?;
        let place = self.place(step)?;
        if let Some(old) = Artifact::try_open(&place)? {
            old.remove()?;
        }
        let publication = Publication::begin(&place);
        trainer.save_state(&publication, "")?;
        for (name, bytes) in &self.provenance.files {
            publication.put(name, bytes.clone())?;
        }
        publication.commit(self.draft(trainer)?)?;
        self.point(trainer)?;
        self.prune(trainer, step)
    }

    /// Moves the pointers to what this trainer's log says.
    fn point(&self, trainer: &Trainer) -> Result<()> {
        let step = trainer.step_count();
        self.store.pointer(LATEST)?.set(&name(step))?;
        if let Some(best) = self.best(trainer) {
            self.store.pointer(BEST)?.set(&name(best))?;
        }
        Ok(())
    }

    fn draft(&self, trainer: &Trainer) -> Result<ManifestDraft> {
        let output = |kind: &str| OutputEntry {
            kind: kind.to_owned(),
            path: String::new(),
        };
        Ok(ManifestDraft {
            kind: STATE_KIND.to_owned(),
            inputs: self.provenance.inputs.clone(),
            settings: self.provenance.settings.clone(),
            outputs: BTreeMap::from([
                ("model".to_owned(), output("model")),
                ("state".to_owned(), output(STATE_KIND)),
            ]),
            facts: self.facts(trainer, DType::F32)?,
            producer: self.provenance.producer.clone(),
        })
    }

    /// What the manifest of this model, saved as `dtype`, should record: `step`, `tokens`, `dose` (see [`dose`]) and
    /// `distance_squared` (`from`: digest of the start's manifest; `value`: ‖θ − θ_start‖²).
    ///
    /// # Errors
    /// What reading the start gives.
    pub fn facts(&self, trainer: &Trainer, dtype: DType) -> Result<Map<String, Value>> {
        let last = trainer.log().last();
        let mut facts = Map::new();
        facts.insert("step".into(), json!(trainer.step_count()));
        facts.insert("tokens".into(), json!(last.map_or(0, |line| line.tokens)));
        facts.insert("parameters".into(), json!(trainer.config().parameters()));
        facts.insert("dose".into(), json!(dose(trainer.log())));
        let distance = json!({"from": self.provenance.start, "value": trainer.distance_squared(dtype)?});
        facts.insert("distance_squared".into(), distance);
        Ok(facts)
    }

    /// The step of this training with the lowest validation loss so far, if it is to be kept.
    fn best(&self, trainer: &Trainer) -> Option<u64> {
        let measured = trainer
            .log()
            .iter()
            .filter_map(|line| Some((line.validation_loss?, line.step)));
        measured
            .filter(|(_, step)| self.cadence.keep_best && *step > self.cadence.resumed_at)
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, step)| step)
    }

    /// The checkpoint with the lowest validation loss of this training, whole, if anything was measured.
    ///
    /// # Errors
    /// [`TrainError::State`] if it is gone or damaged (the next session trains again from before it); the store fails.
    pub fn best_checkpoint(&self, trainer: &Trainer, follower: &mut dyn Follower) -> Result<Option<Store>> {
        let Some(step) = self.best(trainer) else {
            return Ok(None);
        };
        self.whole(step, follower).map(Some)
    }

    /// The kept checkpoints of this training, by step, each of them whole.
    ///
    /// # Errors
    /// As [`Self::best_checkpoint`].
    pub fn kept(&self, trainer: &Trainer, follower: &mut dyn Follower) -> Result<Vec<(u64, Store)>> {
        let kept = self.kept_steps(trainer);
        kept.map(|step| Ok((step, self.whole(step, follower)?))).collect()
    }

    /// A step whose checkpoint is to be published and is not there (by names and sizes; publishing reads every byte).
    fn lost(&self, trainer: &Trainer) -> Result<Option<u64>> {
        let kept = self.kept_steps(trainer);
        for step in kept.chain(self.best(trainer)) {
            let artifact = Artifact::try_open(&self.place(step)?)?;
            let is_there = match artifact {
                Some(artifact) => artifact.verify(Depth::Sizes, &|_| {})?.is_whole(),
                None => false,
            };
            if !is_there {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    fn kept_steps(&self, trainer: &Trainer) -> impl Iterator<Item = u64> + use<> {
        let every = self.cadence.keep_every;
        (self.cadence.resumed_at + 1..=trainer.step_count()).filter(move |step| is_due(every, *step))
    }

    fn whole(&self, step: u64, follower: &mut dyn Follower) -> Result<Store> {
        let place = self.place(step)?;
        match self.open(&place, follower)? {
            Some(_) => Ok(place),
            None => Err(TrainError::State {
                place: place.url(),
                reason: "the checkpoint is gone; run again to train that part anew".to_owned(),
            }),
        }
    }

    /// Removes what the cadence does not keep of the steps up to this one. What lies after it is from a session that was
    /// further and could not be gone on from; it is replaced on the way.
    fn prune(&self, trainer: &Trainer, step: u64) -> Result<()> {
        let steps: Vec<u64> = self.steps()?.into_iter().filter(|other| *other <= step).collect();
        let newest = steps.len().saturating_sub(self.cadence.keep_last.max(1));
        let best = self.best(trainer);
        for (index, old) in steps.into_iter().enumerate() {
            let is_kept = index >= newest || is_due(self.cadence.keep_every, old) || best == Some(old);
            if old != step && !is_kept {
                let place = self.place(old)?;
                match Artifact::try_open(&place)? {
                    Some(artifact) => artifact.remove()?,
                    None => place.delete_all()?,
                }
            }
        }
        Ok(())
    }

    /// Steps of the checkpoints there are, ascending.
    fn steps(&self) -> Result<Vec<u64>> {
        let names = self.store.children("")?;
        let step = |name: &String| name.strip_prefix(PREFIX)?.strip_suffix('/')?.parse().ok();
        let mut steps: Vec<u64> = names.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn place(&self, step: u64) -> Result<Store> {
        Ok(self.store.child(&name(step))?)
    }
}

fn name(step: u64) -> String {
    format!("{PREFIX}{step:08}")
}

fn is_due(every: Option<u64>, step: u64) -> bool {
    every.is_some_and(|every| every > 0 && step.is_multiple_of(every))
}
