//! A training as files: everything that decides the next step, so that going on gives bit for bit what never stopping
//! would have given.
//!
//! A training state is a Hugging Face directory (weights in f32, tokenizer: other tools load it as it is) with
//! [`OPTIMIZER_FILE`] (both moments of every parameter), [`TRAINER_FILE`] (step, position in the data) and
//! [`METRICS_FILE`] (the log) beside. Tensors are written one at a time.

use std::io::Write;

use serde::{Deserialize, Serialize};
use tributary_data::Cursor;
use tributary_model::{ModelError, ParameterSpec, specs};
use tributary_store::{Publication, Store, StoreError};
use tributary_tensorfile::{Checkpoint, DEFAULT_SHARD_BYTES, DType, ModelLayout, TensorSpec, from_f32};

use crate::error::{Result, TrainError};
use crate::metrics::{from_json_lines, to_json_lines};
use crate::optimizer::Moments;
use crate::trainer::Trainer;

/// Moments of the optimiser: tensors `first.<parameter>` and `second.<parameter>`.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// Step and position in the data.
pub const TRAINER_FILE: &str = "trainer.json";
/// The log, one [`crate::StepMetrics`] a line.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// Version of the layout.
const FORMAT: u32 = 1;

/// The content of [`TRAINER_FILE`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// Version of the layout.
    pub format: u32,
    /// Steps done.
    pub step: u64,
    /// Where the next batch begins.
    pub cursor: Cursor,
    /// Seed of the data's order (nothing else is drawn after the beginning).
    pub seed: u64,
}

impl TrainerState {
    /// Reads the state that lies in `folder`.
    ///
    /// # Errors
    /// [`TrainError::State`] if there is none, or none this version reads.
    pub fn read(folder: &Store) -> Result<Self> {
        let wrong = |reason: String| TrainError::State {
            place: folder.describe(TRAINER_FILE),
            reason,
        };
        let bytes = match folder.get(TRAINER_FILE) {
            Err(error) if error.is_not_found() => {
                return Err(wrong("no training state here: it is published only with `save_state: true`; to begin with the weights alone, use `warm_start`".into()));
            }
            other => other?,
        };
        let state: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if state.format != FORMAT {
            return Err(wrong(format!(
                "format {}; this version reads {FORMAT}",
                state.format
            )));
        }
        Ok(state)
    }
}

impl Trainer {
    /// Writes the whole state into `folder` (empty, or ending in `/`) of a publication.
    ///
    /// # Errors
    /// What the device and the store give.
    pub fn save_state(&self, publication: &Publication, folder: &str) -> Result<()> {
        self.save_model(publication, folder, DType::F32)?;
        self.save_moments(publication, &format!("{folder}{OPTIMIZER_FILE}"))?;
        let state = TrainerState {
            format: FORMAT,
            step: self.step_count(),
            cursor: self.loader.cursor(),
            seed: self.loader.options().seed,
        };
        let text = serde_json::to_vec_pretty(&state).unwrap_or_default();
        publication.put(&format!("{folder}{TRAINER_FILE}"), text)?;
        publication.put(&format!("{folder}{METRICS_FILE}"), to_json_lines(self.log()))?;
        Ok(())
    }

    /// Writes configuration and weights, rounded to `dtype`, into `folder` of a publication.
    ///
    /// # Errors
    /// What the device and the store give.
    pub fn save_model(&self, publication: &Publication, folder: &str, dtype: DType) -> Result<()> {
        let mut indices = 0..;
        let values = &mut |_: &ParameterSpec| self.values(indices.next().unwrap_or_default());
        Ok(tributary_model::save(
            publication,
            folder,
            self.config(),
            dtype,
            DEFAULT_SHARD_BYTES,
            values,
        )?)
    }

    fn save_moments(&self, publication: &Publication, path: &str) -> Result<()> {
        let parameters = specs(self.config());
        let held: Vec<usize> = (0..parameters.len())
            .filter(|index| self.optimizer.has_moments(*index))
            .collect();
        let tensor = |kind: &str, index: &usize| {
            let spec = &parameters[*index];
            TensorSpec {
                name: format!("{kind}.{}", spec.name),
                dtype: DType::F32,
                shape: spec.shape.clone(),
            }
        };
        let first = held.iter().map(|index| tensor("first", index));
        let tensors: Vec<TensorSpec> = first
            .chain(held.iter().map(|index| tensor("second", index)))
            .collect();
        let layout = ModelLayout::plan(&tensors, u64::MAX, &[]).map_err(ModelError::from)?;
        let fail = |source| StoreError::from_io("write", publication.store().describe(path), source);
        let mut object = publication.writer(path)?;
        for shard in &layout.shards {
            object.write_all(&shard.header).map_err(fail)?;
        }
        let first = held.iter().map(|index| self.optimizer.first_moment(*index));
        let second = held.iter().map(|index| self.optimizer.second_moment(*index));
        let mut bytes = Vec::new();
        for values in first.chain(second) {
            for block in values?.chunks(1 << 20) {
                bytes.resize(block.len() * DType::F32.size(), 0);
                from_f32(DType::F32, block, &mut bytes).map_err(ModelError::from)?;
                object.write_all(&bytes).map_err(fail)?;
            }
        }
        Ok(object.finish()?)
    }

    /// Makes this training, which must be at its beginning with the weights of the state's model, the one whose state
    /// lies in `folder`.
    ///
    /// # Errors
    /// [`TrainError::Data`] if the data is not the state's; [`TrainError::State`] for a damaged one.
    pub fn restore(&mut self, folder: &Store) -> Result<()> {
        let state = TrainerState::read(folder)?;
        let wrong = |reason: String| TrainError::State {
            place: folder.url(),
            reason,
        };
        self.loader.seek(&state.cursor)?;
        let moments = Checkpoint::open_file(&folder.directory(), OPTIMIZER_FILE).map_err(ModelError::from)?;
        let read = |kind: &str, name: &str| -> Result<Vec<f32>> {
            match moments.get(&format!("{kind}.{name}")) {
                Some(tensor) => Ok(moments.read_f32(tensor).map_err(ModelError::from)?),
                None => Ok(Vec::new()),
            }
        };
        let mut restored = Vec::new();
        for spec in specs(self.config()) {
            let found = Moments {
                first: read("first", &spec.name)?,
                second: read("second", &spec.name)?,
            };
            let expected: usize = spec.shape.iter().product();
            if [&found.first, &found.second]
                .iter()
                .any(|values| !values.is_empty() && values.len() != expected)
            {
                return Err(wrong(format!(
                    "{OPTIMIZER_FILE}: the moments of {} have another shape",
                    spec.name
                )));
            }
            restored.push(found);
        }
        self.log = from_json_lines(&folder.get(METRICS_FILE)?)
            .map_err(|error| wrong(format!("{METRICS_FILE}: {error}")))?;
        if self.log.last().map_or(0, |line| line.step) != state.step {
            return Err(wrong(format!(
                "{METRICS_FILE} does not end at step {}",
                state.step
            )));
        }
        self.optimizer.resume(state.step, restored)
    }
}
