//! What a Hugging Face `config.json` says of a decoder.
//!
//! [`Family`] is the joint at which models differ: a family names its architecture string and how its layers differ from
//! Llama's.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{ModelError, Result};

/// Most layers: more than any model has, and few enough to list their tensors.
const MAX_LAYERS: usize = 4096;

/// A member of the decoder family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// `LlamaForCausalLM`.
    Llama,
    /// `MistralForCausalLM`: a token may see no more than a window of those before it.
    Mistral,
    /// `Qwen2ForCausalLM`: queries, keys and values have biases.
    Qwen2,
    /// `Qwen3ForCausalLM`: every head's queries and keys are normalised before they are rotated.
    Qwen3,
    /// `BaichuanForCausalLM` of 7 billion parameters: Llama, stored with queries, keys and values in one matrix and a head whose rows
    /// are normalised before use. Loaded as the Llama that it is.
    Baichuan2,
}

impl Family {
    /// The families with code behind them.
    pub const ALL: [Self; 5] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Baichuan2,
    ];

    /// `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Baichuan2 => "baichuan",
        }
    }

    /// The entry of `architectures` in `config.json`.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Baichuan2 => "BaichuanForCausalLM",
        }
    }

    /// Do queries, keys and values have biases?
    pub fn has_biases(self) -> bool {
        self == Self::Qwen2
    }

    /// Are the queries and keys of each head normalised?
    pub fn has_head_norms(self) -> bool {
        self == Self::Qwen3
    }
}

/// How rotary frequencies are stretched beyond the trained context (Hugging Face's `rope_scaling`).
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    Default,
    /// Positions divided by `factor` (Chen et al. 2023).
    Linear {
        /// Stretch.
        factor: f64,
    },
    /// The base grows with the length ("dynamic NTK").
    Dynamic {
        /// Stretch.
        factor: f64,
    },
    /// Llama 3.1: low frequencies stretched, high ones kept, a ramp between.
    Llama3 {
        /// Stretch.
        factor: f64,
        /// Wavelengths longer than original/low are stretched.
        low_frequency_factor: f64,
        /// Wavelengths shorter than original/high are kept.
        high_frequency_factor: f64,
        /// Context the model was first trained with.
        original_context: usize,
    },
    /// YaRN (Peng et al. 2023).
    Yarn {
        /// Stretch.
        factor: f64,
        /// Rotations above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is stretched.
        beta_slow: f64,
        /// Context the model was first trained with.
        original_context: usize,
        /// Factor on cos and sin, already resolved.
        attention_factor: f64,
        /// Whether the ramp's ends are rounded outwards.
        truncate: bool,
    },
}

/// Sizes and constants of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Family.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Context length the configuration promises.
    pub max_positions: usize,
    /// ε of the normalisation.
    pub norm_epsilon: f64,
    /// Rotary base.
    pub rope_theta: f64,
    /// Rotary scaling.
    pub rope_scaling: RopeScaling,
    /// Tokens that a token may see, itself among them; none: all before it.
    pub sliding_window: Option<usize>,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// First token of a text.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// Everything of `config.json`, kept so that saving loses nothing.
    pub raw: Map<String, Value>,
}

impl ModelConfig {
    /// A new Llama configuration with a tied head.
    pub fn llama(sizes: LlamaSizes) -> Self {
        let raw = json!({
            "architectures": [Family::Llama.architecture()],
            "model_type": Family::Llama.model_type(),
            "hidden_size": sizes.hidden_size,
            "intermediate_size": sizes.intermediate_size,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "num_key_value_heads": sizes.kv_heads,
            "head_dim": sizes.hidden_size / sizes.heads.max(1),
            "vocab_size": sizes.vocab_size,
            "max_position_embeddings": sizes.max_positions,
            "rms_norm_eps": 1e-5,
            "rope_theta": sizes.rope_theta,
            "rope_scaling": null,
            "tie_word_embeddings": sizes.tied_head,
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "use_cache": true,
            "bos_token_id": sizes.bos,
            "eos_token_id": sizes.eos,
            "torch_dtype": "float32",
        });
        let raw = raw.as_object().cloned().unwrap_or_default();
        Self {
            family: Family::Llama,
            hidden_size: sizes.hidden_size,
            intermediate_size: sizes.intermediate_size,
            layers: sizes.layers,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            head_dim: sizes.hidden_size / sizes.heads.max(1),
            vocab_size: sizes.vocab_size,
            max_positions: sizes.max_positions,
            norm_epsilon: 1e-5,
            rope_theta: sizes.rope_theta,
            rope_scaling: RopeScaling::Default,
            sliding_window: None,
            tied_head: sizes.tied_head,
            bos: sizes.bos,
            eos: sizes.eos.into_iter().collect(),
            raw,
        }
    }

    /// Reads `config.json`; `place` names it in errors.
    ///
    /// # Errors
    /// [`ModelError::Config`] saying which key is missing, wrong or unknown to this program.
    pub fn parse(json: &[u8], place: &str) -> Result<Self> {
        let fault = |reason: String| ModelError::Config {
            place: place.to_owned(),
            reason,
        };
        let raw: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| fault(error.to_string()))?;
        let keys = Keys { raw: &raw, place };
        let model_type = raw.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let family = Family::ALL
            .into_iter()
            .find(|family| family.model_type() == model_type)
            .ok_or_else(|| {
                let known: Vec<_> = Family::ALL.iter().map(|family| family.model_type()).collect();
                fault(format!(
                    "model_type {model_type:?} is not one of {}",
                    known.join(", ")
                ))
            })?;
        for (key, accepted) in [
            ("hidden_act", json!("silu")),
            ("attention_bias", json!(false)),
            ("mlp_bias", json!(false)),
        ] {
            if let Some(value) = raw.get(key)
                && !value.is_null()
                && *value != accepted
            {
                return Err(fault(format!("{key} {value} has no code; accepted: {accepted}")));
            }
        }
        if family == Family::Baichuan2 {
            check_baichuan(&raw).map_err(fault)?;
        }
        let sliding_window = match family {
            Family::Llama | Family::Baichuan2 => None,
            // Only where the key says null is there no window.
            Family::Mistral if !raw.contains_key("sliding_window") => Some(4096),
            Family::Mistral => keys.optional_size("sliding_window")?,
            // Off in every published model; on, it holds for some layers and not for others.
            Family::Qwen2 | Family::Qwen3 => match raw.get("use_sliding_window").and_then(Value::as_bool) {
                Some(true) => {
                    return Err(fault(
                        "use_sliding_window true has no code; accepted: false".to_owned(),
                    ));
                }
                _ => None,
            },
        };
        let (hidden_size, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        let max_positions = keys.size("max_position_embeddings")?;
        let kv_heads = keys.optional_size("num_key_value_heads")?.unwrap_or(heads);
        let head_dim = keys.optional_size("head_dim")?.unwrap_or(hidden_size / heads);
        if heads % kv_heads != 0 || head_dim % 2 != 0 {
            return Err(fault(format!(
                "{heads} heads of width {head_dim} with {kv_heads} key-value heads do not divide"
            )));
        }
        let scaling = raw
            .get("rope_scaling")
            .or_else(|| raw.get("rope_parameters"))
            .filter(|value| !value.is_null());
        let theta = scaling
            .and_then(|scaling| scaling.get("rope_theta"))
            .or_else(|| raw.get("rope_theta"))
            .map_or(Some(10_000.0), Value::as_f64)
            .ok_or_else(|| fault("rope_theta is not a number".into()))?;
        Ok(Self {
            family,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            layers: keys.size("num_hidden_layers").and_then(|layers| match layers {
                0..=MAX_LAYERS => Ok(layers),
                _ => Err(fault(format!(
                    "num_hidden_layers is {layers}, more than {MAX_LAYERS}"
                ))),
            })?,
            heads,
            kv_heads,
            head_dim,
            vocab_size: keys.size("vocab_size")?,
            max_positions,
            norm_epsilon: raw.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-6),
            rope_theta: theta,
            rope_scaling: match scaling {
                None => RopeScaling::Default,
                Some(scaling) => parse_scaling(scaling, max_positions).map_err(fault)?,
            },
            sliding_window,
            tied_head: raw
                .get("tie_word_embeddings")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            bos: raw
                .get("bos_token_id")
                .and_then(Value::as_u64)
                .map(|id| id as u32),
            eos: token_ids(raw.get("eos_token_id")),
            raw,
        })
    }

    /// The same model as a Llama, which is what [`Family::Baichuan2`] is once it is loaded.
    pub(crate) fn into_llama(mut self) -> Self {
        self.family = Family::Llama;
        let own = [
            ("architectures", json!([Family::Llama.architecture()])),
            ("model_type", json!(Family::Llama.model_type())),
        ];
        for (key, value) in own {
            self.raw.insert(key.to_owned(), value);
        }
        // Python that is not part of the model any more.
        self.raw.remove("auto_map");
        self
    }

    /// Parameters, a tied head counted once.
    pub fn parameters(&self) -> usize {
        let attention = self.hidden_size * self.head_dim * (2 * self.heads + 2 * self.kv_heads);
        let biases = match self.family.has_biases() {
            true => self.head_dim * (self.heads + 2 * self.kv_heads),
            false => 0,
        };
        let head_norms = if self.family.has_head_norms() {
            2 * self.head_dim
        } else {
            0
        };
        let layer = attention
            + biases
            + head_norms
            + 3 * self.hidden_size * self.intermediate_size
            + 2 * self.hidden_size;
        let tables = if self.tied_head { 1 } else { 2 };
        self.layers * layer + tables * self.vocab_size * self.hidden_size + self.hidden_size
    }

    /// `config.json` for tensors stored as `torch_dtype` ("float32", "bfloat16", …).
    pub fn to_json(&self, torch_dtype: &str) -> Vec<u8> {
        let mut raw = self.raw.clone();
        let key = if raw.contains_key("dtype") {
            "dtype"
        } else {
            "torch_dtype"
        };
        raw.insert(key.to_owned(), json!(torch_dtype));
        let mut bytes = serde_json::to_vec_pretty(&raw).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// What a new Llama needs to be told.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are those of ModelConfig")]
pub struct LlamaSizes {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub vocab_size: usize,
    pub max_positions: usize,
    pub rope_theta: f64,
    pub tied_head: bool,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
}

struct Keys<'a> {
    raw: &'a Map<String, Value>,
    place: &'a str,
}

impl Keys<'_> {
    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.raw.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(size) if (1..=1 << 24).contains(&size) => Ok(Some(size as usize)),
                _ => Err(ModelError::Config {
                    place: self.place.to_owned(),
                    reason: format!("{key} is {value}, not a count between 1 and 2^24"),
                }),
            },
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| ModelError::Config {
            place: self.place.to_owned(),
            reason: format!("{key} is missing"),
        })
    }
}

/// Models of the same name that are something else.
fn check_baichuan(raw: &Map<String, Value>) -> Result<(), String> {
    let architecture = raw.get("architectures").and_then(|names| names.get(0));
    if architecture.and_then(Value::as_str) != Some(Family::Baichuan2.architecture()) {
        return Err("of model_type baichuan, Baichuan2 (architecture BaichuanForCausalLM) has code, the first one has not".to_owned());
    }
    match raw.contains_key("max_position_embeddings") {
        true => Ok(()),
        false => Err(
            "Baichuan2 13B, whose attention is biased by distance (ALiBi), has no code; 7B has".to_owned(),
        ),
    }
}

fn token_ids(value: Option<&Value>) -> Vec<u32> {
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
        Some(value) => value.as_u64().map(|id| id as u32).into_iter().collect(),
        None => Vec::new(),
    }
}

fn parse_scaling(scaling: &Value, max_positions: usize) -> Result<RopeScaling, String> {
    let kind = scaling
        .get("rope_type")
        .or_else(|| scaling.get("type"))
        .and_then(Value::as_str)
        .unwrap_or("default");
    let number = |key: &str| scaling.get(key).and_then(Value::as_f64);
    let required = |key: &str| number(key).ok_or_else(|| format!("rope_scaling of type {kind} needs {key}"));
    let original = number("original_max_position_embeddings").map_or(max_positions, |size| size as usize);
    match kind {
        "default" => Ok(RopeScaling::Default),
        "linear" => Ok(RopeScaling::Linear {
            factor: required("factor")?,
        }),
        "dynamic" => Ok(RopeScaling::Dynamic {
            factor: required("factor")?,
        }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: required("factor")?,
            low_frequency_factor: required("low_freq_factor")?,
            high_frequency_factor: required("high_freq_factor")?,
            original_context: required("original_max_position_embeddings")? as usize,
        }),
        "yarn" => {
            let factor = required("factor")?;
            let magnitude = |scale: f64, weight: f64| {
                if scale <= 1.0 {
                    1.0
                } else {
                    0.1 * weight * scale.ln() + 1.0
                }
            };
            let attention_factor = match (
                number("attention_factor"),
                number("mscale"),
                number("mscale_all_dim"),
            ) {
                (Some(given), ..) => given,
                (None, Some(one), Some(all)) => magnitude(factor, one) / magnitude(factor, all),
                _ => magnitude(factor, 1.0),
            };
            Ok(RopeScaling::Yarn {
                factor,
                beta_fast: number("beta_fast").unwrap_or(32.0),
                beta_slow: number("beta_slow").unwrap_or(1.0),
                original_context: original,
                attention_factor,
                truncate: scaling.get("truncate").and_then(Value::as_bool).unwrap_or(true),
            })
        }
        other => Err(format!(
            "rope_scaling type {other:?} is not one of default, linear, dynamic, llama3, yarn"
        )),
    }
}
