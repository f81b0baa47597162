//! Settings of `evaluate`: what is measured, of which models, on which texts and tasks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_evaluate::{CalibrationWanted, Wanted, accuracy};
use tributary_pipeline::InputRef;

use super::cell::Cell;
use crate::data_set::DataSet;
use crate::task_set::TaskSet;

/// Settings of `evaluate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateSettings {
    /// The models; differences are taken from the first.
    pub models: Vec<InputRef>,
    /// The texts. Of records with a prompt, the completion is scored; so is the token that ends each text.
    #[serde(default)]
    pub data: Vec<DataSet>,
    /// Tasks in lm-evaluation-harness's words: multiple choice, answers in writing, likelihood of texts.
    #[serde(default)]
    pub tasks: Vec<TaskSet>,
    /// What to measure.
    #[serde(default = "default_metrics")]
    pub metrics: Vec<Metric>,
    /// Bins of probability, of equal width, for calibration errors.
    #[serde(default = "default_bins")]
    #[schemars(range(min = 1, max = 1000))]
    pub bins: u32,
    /// Tokens of a window: a prediction looks back on one less; each model's context, at most 2048, unless given. Answers in writing
    /// have the model's whole context.
    #[serde(default)]
    pub context: Option<u32>,
    /// Tokens of a batch.
    #[serde(default = "default_batch_tokens")]
    #[schemars(range(min = 1))]
    pub batch_tokens: u32,
    /// Keep the score of every token, in `documents.jsonl`.
    #[serde(default)]
    pub per_token: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean negative log-likelihood, nats a token.
    Nll,
    /// Its exponential.
    Perplexity,
    /// Share of tokens that were the most probable one.
    Accuracy,
    /// Share of tokens that were among the five most probable ones.
    #[serde(rename = "top_5_accuracy")]
    Top5Accuracy,
    /// Expected calibration error of the most probable token.
    Ece,
    /// Calibration error of every token of the vocabulary on its own, their mean.
    ClassWiseEce,
    /// Calibration error of all tokens of the vocabulary together.
    FullEce,
    /// The same over bins of factors of two, which look into the small probabilities.
    FullEceLog,
    /// How much each layer changes its input.
    BlockInfluence,
    /// What the hidden states between layers are like: their length, their largest component, how alike they are.
    HiddenStates,
}

/// The k of the accuracies ...
pub(super) const TOP: [usize; 2] = [1, 5];
/// ... and what comparisons call them.
pub(super) const ACCURACIES: [&str; 2] = ["accuracy", "top-5 accuracy"];

impl Metric {
    pub(super) fn title(self, bins: u32) -> String {
        match self {
            Self::Nll => "negative log-likelihood, nats a token".to_owned(),
            Self::Perplexity => "perplexity".to_owned(),
            Self::Accuracy => "accuracy".to_owned(),
            Self::Top5Accuracy => "top-5 accuracy".to_owned(),
            Self::Ece => format!("ECE, {bins} bins"),
            Self::ClassWiseEce => format!("class-wise ECE, {bins} bins"),
            Self::FullEce => format!("Full-ECE, {bins} bins"),
            Self::FullEceLog => "Full-ECE, bins of factors of two".to_owned(),
            Self::BlockInfluence => "Block Influence".to_owned(),
            Self::HiddenStates => "hidden states".to_owned(),
        }
    }

    /// The value with its standard error; none for what is no single number.
    pub(super) fn of(self, cell: &Cell) -> Option<(f64, Option<f64>)> {
        let calibration = cell.calibration.as_ref();
        match self {
            Self::Nll => Some((cell.total.nll, cell.total.nll_stderr)),
            Self::Perplexity => Some((cell.total.perplexity, cell.total.perplexity_stderr)),
            Self::Accuracy => accuracy(&cell.documents, 0),
            Self::Top5Accuracy => accuracy(&cell.documents, 1),
            Self::Ece => calibration.map(|found| (found.ece, found.ece_stderr)),
            Self::ClassWiseEce => {
                calibration.and_then(|found| Some((found.class_wise_ece?, found.class_wise_ece_stderr)))
            }
            Self::FullEce => calibration.map(|found| (found.full_ece, found.full_ece_stderr)),
            Self::FullEceLog => {
                calibration.and_then(|found| Some((found.full_ece_log?, found.full_ece_log_stderr)))
            }
            Self::BlockInfluence | Self::HiddenStates => None,
        }
    }

    pub(super) fn lower_is_better(self) -> bool {
        !matches!(self, Self::Accuracy | Self::Top5Accuracy)
    }
}

impl EvaluateSettings {
    /// What the metrics need beside the likelihood.
    pub(super) fn wanted(&self) -> Wanted {
        let has = |metrics: &[Metric]| self.metrics.iter().any(|metric| metrics.contains(metric));
        let class_wise = has(&[Metric::ClassWiseEce]);
        let calibration = class_wise || has(&[Metric::Ece, Metric::FullEce, Metric::FullEceLog]);
        Wanted {
            top: if has(&[Metric::Accuracy, Metric::Top5Accuracy]) {
                TOP.to_vec()
            } else {
                Vec::new()
            },
            calibration: calibration.then_some(CalibrationWanted {
                bins: self.bins as usize,
                logarithmic: has(&[Metric::FullEceLog]),
                class_wise,
            }),
            block_influence: has(&[Metric::BlockInfluence]),
            hidden_states: has(&[Metric::HiddenStates]),
            ..Wanted::default()
        }
    }
}

fn default_metrics() -> Vec<Metric> {
    vec![Metric::Nll]
}

fn default_bins() -> u32 {
    15
}

fn default_batch_tokens() -> u32 {
    4096
}
