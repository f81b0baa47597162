//! What a step measured, as it is logged: one JSON object a line, without clocks, so that the log of a resumed run
//! equals that of an uninterrupted one.

use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepMetrics {
    /// The step, counted from 1.
    pub step: u64,
    /// Mean negative log-likelihood of the step's scored tokens before the update, nats a token.
    pub loss: f64,
    /// Euclidean norm of the mean gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Tokens scored since the beginning, this step included.
    pub tokens: u64,
    /// Position in the data after the step, in epochs.
    pub epoch: f64,
    /// Mean negative log-likelihood of the validation data after the step, nats a token, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
}

/// How much a training pulled on the probabilities: Σ ηᵢ(1 − e^(−Lᵢ)), the learning rate times the slope of the loss in the
/// logit of the token that was wanted, at the step's mean loss. It is 1/δ of MetaGPT's derivation (arXiv 2406.11385,
/// section 3.3: 1/δ = Σ ηᵢ ∂L/∂f), by which a merge can tell a long training from a far one.
pub(crate) fn dose(log: &[StepMetrics]) -> f64 {
    log.iter()
        .map(|line| line.learning_rate * (1.0 - (-line.loss).exp()))
        .sum()
}

/// The log as JSON lines.
pub fn to_json_lines(log: &[StepMetrics]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in log {
        // Every number in the log is finite: a step that is not ends the run first.
        bytes.extend(serde_json::to_vec(line).unwrap_or_default());
        bytes.push(b'\n');
    }
    bytes
}

/// Reads [`to_json_lines`] back.
///
/// # Errors
/// serde_json's, for a malformed line.
pub fn from_json_lines(bytes: &[u8]) -> serde_json::Result<Vec<StepMetrics>> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(serde_json::from_slice).collect()
}
