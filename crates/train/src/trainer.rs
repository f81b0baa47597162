//! The step: batch in, gradients, clipping, update.
//!
//! A [`Trainer`] is everything that decides the next step: weights, optimiser, position in the data, log. Saving and
//! restoring it is [`crate::state`]'s business, the loop around it [`crate::session`]'s.

use tributary_data::{Batch, Loader};
use tributary_model::{Decoder, Device, ModelConfig, ModelError, TokenBatch, Weights, host, specs};
use tributary_tensorfile::{Checkpoint, DType, from_f32, to_f32};

use crate::error::{Result, TrainError};
use crate::gradients::GradientSum;
use crate::metrics::StepMetrics;
use crate::optimizer::{AdamW, AdamWSettings};
use crate::schedule::Schedule;
use crate::start::Start;

/// Most documents named when a loss is not finite.
const NAMED_DOCUMENTS: usize = 12;

/// What decides a step, beside weights and data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainerOptions {
    /// Learning rate by step; also says how many steps there are.
    pub schedule: Schedule,
    /// Constants of the optimiser.
    pub adamw: AdamWSettings,
    /// The gradient's norm is scaled down to this; none for no clipping.
    pub clip: Option<f64>,
    /// Batches of the loader that make one step: their gradients are summed.
    pub accumulate: usize,
}

impl TrainerOptions {
    /// Looks for values that cannot work.
    ///
    /// # Errors
    /// [`TrainError::Option`] for the first.
    pub fn check(&self) -> Result<()> {
        let wrong = |option, problem: String| Err(TrainError::Option { option, problem });
        let schedule = &self.schedule;
        if schedule.steps == 0 {
            return wrong("steps", "must be at least 1".into());
        }
        if self.accumulate == 0 {
            return wrong("accumulate", "must be at least 1".into());
        }
        if !(schedule.peak.is_finite() && schedule.peak > 0.0) {
            return wrong(
                "learning_rate",
                format!("{} is not a positive number", schedule.peak),
            );
        }
        if schedule.warmup_steps > schedule.steps {
            return wrong(
                "warmup_steps",
                format!(
                    "{} are more than all {} steps",
                    schedule.warmup_steps, schedule.steps
                ),
            );
        }
        for (option, ratio) in [
            ("minimum_ratio", schedule.minimum_ratio),
            ("decay_ratio", schedule.decay_ratio),
        ] {
            if !(0.0..=1.0).contains(&ratio) {
                return wrong(option, format!("{ratio} is not in 0..=1"));
            }
        }
        let adamw = &self.adamw;
        for (option, beta) in [("beta1", adamw.beta1), ("beta2", adamw.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return wrong(option, format!("{beta} is not at least 0 and below 1"));
            }
        }
        if !(adamw.epsilon.is_finite() && adamw.epsilon > 0.0) {
            return wrong("epsilon", format!("{} is not a positive number", adamw.epsilon));
        }
        if !(adamw.weight_decay.is_finite() && adamw.weight_decay >= 0.0) {
            return wrong(
                "weight_decay",
                format!("{} is not 0 or a positive number", adamw.weight_decay),
            );
        }
        if self.clip.is_some_and(|most| !(most.is_finite() && most > 0.0)) {
            return wrong(
                "clip",
                "must be a positive number, or null for no clipping".into(),
            );
        }
        Ok(())
    }
}

/// A model in training.
pub struct Trainer {
    pub(crate) decoder: Decoder,
    pub(crate) optimizer: AdamW,
    pub(crate) loader: Loader,
    pub(crate) log: Vec<StepMetrics>,
    options: TrainerOptions,
    start: Start,
}

impl Trainer {
    /// A training at the beginning of its schedule on `device`: with the weights of `start`, from which distances are
    /// measured, or with others if it is to be [restored](Self::restore).
    ///
    /// # Errors
    /// [`TrainError::Option`] for options that cannot work; what reading the weights gives.
    pub fn new(
        config: ModelConfig,
        device: Device,
        start: Start,
        weights: Option<Checkpoint>,
        loader: Loader,
        options: TrainerOptions,
    ) -> Result<Self> {
        options.check()?;
        let keeps_masters = device.compute_dtype() != burn::tensor::DType::F32;
        let mut masters = Vec::new();
        let source = weights.map_or_else(|| start.clone(), Start::Model);
        let weights = Weights::build(&config, &device.handle(), device.compute_dtype(), &mut |spec| {
            let values = source.values(&config, spec)?;
            if keeps_masters {
                masters.push(values.clone());
            }
            Ok(values)
        })?;
        let mut decoder = Decoder::new(config, device, weights);
        decoder.track_gradients();
        let optimizer = AdamW::restore(options.adamw, 0, Vec::new(), masters);
        Ok(Self {
            decoder,
            optimizer,
            loader,
            log: Vec::new(),
            options,
            start,
        })
    }

    /// Steps done.
    pub fn step_count(&self) -> u64 {
        self.optimizer.step()
    }

    /// Are all steps of the schedule done?
    pub fn is_finished(&self) -> bool {
        self.step_count() >= self.options.schedule.steps
    }

    /// The options.
    pub fn options(&self) -> &TrainerOptions {
        &self.options
    }

    /// A line for every step done.
    pub fn log(&self) -> &[StepMetrics] {
        &self.log
    }

    /// The model as it is, for measuring.
    pub fn decoder(&self) -> Decoder {
        self.decoder.frozen()
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    /// Tokens (scored or not) that one step reads at most.
    pub fn tokens_a_step(&self) -> u64 {
        let batch = self.loader.options();
        (batch.rows * batch.len * self.options.accumulate) as u64
    }

    /// Notes the validation loss after the last step.
    pub fn note_validation(&mut self, loss: f64) {
        if let Some(line) = self.log.last_mut() {
            line.validation_loss = Some(loss);
        }
    }

    /// Does one step.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`], after which the trainer must not be saved; what the model gives.
    pub fn step(&mut self) -> Result<StepMetrics> {
        let done = self.step_count();
        let mut gradients = GradientSum::new(self.decoder.device());
        let (mut sum, mut scored) = (0.0f64, 0u64);
        let mut pieces = Vec::new();
        for _ in 0..self.options.accumulate {
            let batch = self.loader.next_batch();
            scored += batch.scored() as u64;
            pieces.extend(
                batch
                    .documents
                    .iter()
                    .flatten()
                    .map(|piece| piece.document as usize),
            );
            sum += self.backward(batch, &mut gradients)?;
        }
        let tokens = scored.max(1) as f64;
        let (loss, norm) = (sum / tokens, gradients.norm()? / tokens);
        for (what, value) in [("the loss", loss), ("the gradient norm", norm)] {
            if !value.is_finite() {
                return Err(TrainError::NotFinite {
                    step: done + 1,
                    what,
                    value,
                    documents: self.name(&pieces),
                });
            }
        }
        let clipping = self
            .options
            .clip
            .map_or(1.0, |most| (most / norm.max(f64::MIN_POSITIVE)).min(1.0));
        let rate = self.options.schedule.rate(done);
        let device = self.decoder.device();
        self.optimizer.update(
            &mut self.decoder.weights,
            device,
            &gradients,
            clipping / tokens,
            rate,
        )?;
        let metrics = StepMetrics {
            step: done + 1,
            loss,
            gradient_norm: norm,
            learning_rate: rate,
            tokens: self.log.last().map_or(0, |line| line.tokens) + scored,
            epoch: self.loader.epochs(),
            validation_loss: None,
        };
        self.log.push(metrics.clone());
        Ok(metrics)
    }

    /// Adds a batch's gradients; gives its summed loss.
    fn backward(&mut self, batch: Batch, gradients: &mut GradientSum) -> Result<f64> {
        let batch = TokenBatch::packed(
            batch.rows,
            batch.len,
            batch.tokens,
            &batch.segments,
            batch.targets,
        )?;
        let loss = self.decoder.loss(&batch)?;
        let sum = host(loss.clone().inner())?;
        gradients.add(&mut self.decoder.weights, &mut loss.backward())?;
        Ok(sum.first().copied().map_or(f64::NAN, f64::from))
    }

    fn name(&self, documents: &[usize]) -> Vec<String> {
        let known = self.loader.documents();
        let ids = documents
            .iter()
            .filter_map(|index| known.get(*index))
            .map(|document| document.id.clone());
        ids.take(NAMED_DOCUMENTS).collect()
    }

    /// Looks for a weight that is no longer a finite number, which the next step's loss would show.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`]; the device fails to give the values.
    pub(crate) fn check_finite(&self) -> Result<()> {
        for index in 0..specs(self.decoder.config()).len() {
            let values = self.values(index)?;
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(TrainError::NotFinite {
                    step: self.step_count(),
                    what: "a weight after the update",
                    value: f64::from(*value),
                    documents: vec!["those of this step".to_owned()],
                });
            }
        }
        Ok(())
    }

    /// A parameter in f32, by its index in [`specs`].
    ///
    /// # Errors
    /// If the device fails to give the values.
    pub(crate) fn values(&self, index: usize) -> Result<Vec<f32>, ModelError> {
        let master = self.optimizer.master(index)?;
        if master.is_empty() {
            self.decoder.weights.values(index)
        } else {
            Ok(master.into_owned())
        }
    }

    /// ‖θ − θ_start‖² over all parameters, θ rounded to `dtype` as it would be saved; differences and sums in f64.
    ///
    /// # Errors
    /// What reading the start gives.
    pub fn distance_squared(&self, dtype: DType) -> Result<f64> {
        let config = self.decoder.config();
        let mut total = 0.0;
        for (index, spec) in specs(config).iter().enumerate() {
            let mut now = self.values(index)?;
            let mut bytes = vec![0; now.len() * dtype.size()];
            from_f32(dtype, &now, &mut bytes).map_err(ModelError::from)?;
            to_f32(dtype, &bytes, &mut now).map_err(ModelError::from)?;
            let start = self.start.values(config, spec)?;
            total += now
                .iter()
                .zip(&start)
                .map(|(now, start)| (f64::from(*now) - f64::from(*start)).powi(2))
                .sum::<f64>();
        }
        Ok(total)
    }
}
