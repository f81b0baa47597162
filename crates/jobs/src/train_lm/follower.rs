//! What a running training says to the pipeline, and how it measures itself.

use std::sync::Arc;

use tributary_data::Document;
use tributary_evaluate::{LikelihoodOptions, Wanted, measure};
use tributary_model::Decoder;
use tributary_pipeline::{CancellationToken, JobError, ProgressSink};
use tributary_train::{Follower, StepMetrics, TrainError};

use crate::blame::Blame;

/// Tokens of a batch when measuring.
const BATCH_TOKENS: usize = 4096;

pub(super) struct Reporter {
    pub(super) progress: Arc<dyn ProgressSink>,
    pub(super) cancellation: CancellationToken,
    pub(super) tokens_a_step: u64,
    pub(super) validation: Vec<Document>,
    pub(super) context: usize,
    /// Why measuring failed, if it did: the session only knows that it did.
    pub(super) failure: Option<JobError>,
}

impl Follower for Reporter {
    fn step(&mut self, metrics: &StepMetrics) {
        self.progress.advance(self.tokens_a_step);
        self.progress.metric("loss", metrics.loss);
        self.progress.metric("learning rate", metrics.learning_rate);
        if let Some(loss) = metrics.validation_loss {
            self.progress.metric("validation loss", loss);
        }
    }

    fn checkpoint(&mut self, step: u64) {
        self.progress.metric("checkpoint", step as f64);
    }

    fn remark(&mut self, text: &str) {
        self.progress.message(text);
    }

    fn validate(&mut self, decoder: &Decoder) -> Result<f64, TrainError> {
        let options = LikelihoodOptions {
            context: self.context,
            batch_tokens: BATCH_TOKENS,
        };
        let cancellation = self.cancellation.clone();
        // A measurement that was cut short would be another number: stop before, or not at all.
        let measured = measure(
            decoder,
            &self.validation,
            &options,
            &Wanted::default(),
            &mut |_, _| !cancellation.is_cancelled(),
        );
        match measured.blame("measuring on the validation data") {
            Ok(measured) => Ok(measured.scored.total.nll),
            Err(error) => {
                self.failure = Some(error);
                Err(TrainError::Cancelled { step: 0 })
            }
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancellation.is_cancelled()
    }
}
