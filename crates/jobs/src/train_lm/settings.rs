//! Settings of `train.lm`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_pipeline::InputRef;
use tributary_tensorfile::DType;
use tributary_train::{AdamWSettings, Decay, Schedule, TrainerOptions};

use crate::data_set::DataSet;

/// Settings of `train.lm`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainLmSettings {
    /// Where the weights come from: one of `new`, `warm_start`, `resume`.
    pub start: StartSettings,
    /// Text to learn from.
    pub data: Vec<DataSet>,
    /// Steps of the optimiser, counted from the very beginning (a resumed training counts on).
    #[schemars(range(min = 1))]
    pub steps: u64,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// The shape of the learning rate over the steps.
    #[serde(default)]
    pub schedule: ScheduleSettings,
    /// What a step reads.
    #[serde(default)]
    pub batch: BatchSettings,
    /// AdamW.
    #[serde(default)]
    pub optimizer: OptimizerSettings,
    /// Which tokens are learned where a record has a prompt: the completion only, or all. Running text is learned whole.
    #[serde(default)]
    pub loss_on: LossOn,
    /// Text to measure on while training.
    #[serde(default)]
    pub validation: Option<ValidationSettings>,
    /// What is saved on the way.
    #[serde(default)]
    pub checkpoints: CheckpointSettings,
    /// Which weights are published: the last, or those with the lowest validation loss.
    #[serde(default)]
    pub publish: Publish,
    /// Type of the published weights.
    #[serde(default)]
    pub save_dtype: SaveDtype,
    /// Publish the whole training state too, as output `state`, for a later `resume`.
    #[serde(default)]
    pub save_state: bool,
}

/// Where the weights come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum StartSettings {
    /// A new model with random weights.
    New(NewModel),
    /// The weights of a model, and nothing else of how they came about.
    WarmStart(InputRef),
    /// A whole training state (output `state` of a `train.lm` step): weights, optimiser, position in the data, seed.
    /// The data and the batch must be as they were.
    Resume(InputRef),
}

/// Sizes of a new Llama.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewModel {
    /// Its tokenizer: of a `train.tokenizer` step, or of any model.
    pub tokenizer: InputRef,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Width inside the gated feed-forward layer; 8/3 of `hidden_size`, rounded up to a multiple of 32, unless given.
    #[serde(default)]
    pub intermediate_size: Option<u32>,
    /// Number of layers.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key-value heads; as many as `heads` unless given.
    #[serde(default)]
    pub kv_heads: Option<u32>,
    /// Context length.
    #[serde(default = "default_context")]
    pub context: u32,
    /// Rotary base.
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// Does the embedding serve as head?
    #[serde(default = "yes")]
    pub tied_head: bool,
}

fn default_context() -> u32 {
    1024
}

fn default_theta() -> f64 {
    10_000.0
}

fn yes() -> bool {
    true
}

/// The shape of the learning rate over the steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSettings {
    /// After the warm-up: cosine, constant or warmup_stable_decay.
    pub shape: Decay,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Lowest learning rate, as a share of the highest.
    pub minimum_ratio: f64,
    /// Share of all steps that `warmup_stable_decay` decays over.
    pub decay_ratio: f64,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self {
            shape: Decay::Cosine,
            warmup_steps: 0,
            minimum_ratio: 0.1,
            decay_ratio: 0.2,
        }
    }
}

/// What a step reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Rows of a step.
    #[schemars(range(min = 1))]
    pub sequences: u32,
    /// Tokens of a row; the model's context, at most 1024, unless given.
    pub length: Option<u32>,
    /// Rows that are computed at once (must divide `sequences`); as many as fit into 2 GiB unless given.
    pub micro_sequences: Option<u32>,
    /// Do rows hold several documents (which do not see each other)?
    pub packing: bool,
    /// Does each epoch have an order of its own?
    pub shuffle: bool,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            sequences: 8,
            length: None,
            micro_sequences: None,
            packing: true,
            shuffle: true,
        }
    }
}

/// AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSettings {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// ε in the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay of the matrices.
    pub weight_decay: f64,
    /// The gradient's norm is scaled down to this; null for no clipping.
    pub clip: Option<f64>,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        let AdamWSettings {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = AdamWSettings::default();
        Self {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            clip: Some(1.0),
        }
    }
}

/// Which tokens of a record with a prompt are learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// The completion, or the assistant's turns.
    #[default]
    Completion,
    /// All.
    All,
}

/// Text to measure on while training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidationSettings {
    /// The text.
    pub data: Vec<DataSet>,
    /// Steps between two measurements; there is always one after the last step.
    #[serde(default = "default_every")]
    #[schemars(range(min = 1))]
    pub every: u64,
}

fn default_every() -> u64 {
    100
}

/// What is saved on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    /// Steps between two checkpoints, from which an interrupted training goes on; 0 for none.
    pub every: u64,
    /// Newest checkpoints that are kept until the step is done.
    #[schemars(range(min = 1))]
    pub keep_last: u32,
    /// The model after every so many steps is published too, as output `step_N`.
    #[schemars(range(min = 1))]
    pub keep_every: Option<u64>,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            every: 100,
            keep_last: 2,
            keep_every: None,
        }
    }
}

/// Which weights are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Publish {
    /// Those after the last step.
    #[default]
    Last,
    /// Those with the lowest validation loss.
    Best,
}

/// Type of the published weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SaveDtype {
    /// As trained.
    #[default]
    Float32,
    /// Rounded.
    Bfloat16,
    /// Rounded.
    Float16,
}

impl SaveDtype {
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::Float32 => DType::F32,
            Self::Bfloat16 => DType::BF16,
            Self::Float16 => DType::F16,
        }
    }
}

impl TrainLmSettings {
    /// What decides a step, when its rows are computed in `accumulate` parts.
    pub(crate) fn options(&self, accumulate: usize) -> TrainerOptions {
        let OptimizerSettings {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            clip,
        } = self.optimizer;
        let ScheduleSettings {
            shape,
            warmup_steps,
            minimum_ratio,
            decay_ratio,
        } = self.schedule;
        let (peak, steps) = (self.learning_rate, self.steps);
        TrainerOptions {
            schedule: Schedule {
                peak,
                minimum_ratio,
                warmup_steps,
                decay_ratio,
                steps,
                decay: shape,
            },
            adamw: AdamWSettings {
                beta1,
                beta2,
                epsilon,
                weight_decay,
            },
            clip,
            accumulate,
        }
    }

    /// The steps whose models are published beside the last one; none if there are too many.
    pub(crate) fn kept_steps(&self) -> Vec<u64> {
        let every = self.checkpoints.keep_every.unwrap_or(0);
        let count = self.kept_count();
        let count = if count > super::MAX_KEPT { 0 } else { count };
        (1..=count).map(|index| index * every).collect()
    }

    /// How many those are.
    pub(crate) fn kept_count(&self) -> u64 {
        let every = self.checkpoints.keep_every.filter(|every| *every > 0);
        every.map_or(0, |every| self.steps / every)
    }

    /// The setting that an option of the trainer comes from.
    pub(crate) fn field(option: &str) -> String {
        match option {
            "warmup_steps" | "minimum_ratio" | "decay_ratio" => format!("schedule.{option}"),
            "clip" | "beta1" | "beta2" | "epsilon" | "weight_decay" => format!("optimizer.{option}"),
            "accumulate" => "batch.micro_sequences".to_owned(),
            other => other.to_owned(),
        }
    }
}
