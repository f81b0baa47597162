//! A GGUF file of architecture `llama` as a Hugging Face Llama: names, row order, configuration.

use std::sync::Arc;

use serde_json::{Value, json};

use super::file::{Gguf, MetadataValue};
use super::vocabulary;
use crate::dtype::DType;
use crate::error::{Result, TensorFileError};
use crate::foreign::{ForeignTensors, Parts, halves_from_pairs, llama_part};
use crate::layout::TensorSpec;
use crate::read_at::ReadAt;
use crate::sentencepiece::pretty;

/// Reader of the tensors of one file.
pub(crate) struct GgufModel {
    file: Gguf,
    /// Index into the file's tensors and, for queries and keys, heads.
    places: Vec<(usize, Option<usize>)>,
}

impl GgufModel {
    pub(crate) fn open(name: &str, file: Arc<dyn ReadAt>) -> Result<Parts> {
        let file = Gguf::open(name, file)?;
        let keys = Keys { file: &file };
        let architecture = keys.text("general.architecture").unwrap_or_default();
        if architecture != "llama" {
            let reason = format!("architecture {architecture:?}; `llama` is read");
            return Err(TensorFileError::Unsupported { file: name.to_owned(), reason });
        }
        let tied = !file.tensors.iter().any(|tensor| tensor.name == "output.weight");
        let (heads, kv_heads) = (keys.size("llama.attention.head_count")?, keys.kv_heads()?);
        let mut places = Vec::new();
        let mut tensors = Vec::new();
        for (index, tensor) in file.tensors.iter().enumerate() {
            let Some(translated) = translate(&tensor.name) else {
                if tensor.name == "rope_freqs.weight" {
                    continue;
                }
                return Err(TensorFileError::tensor(name, &tensor.name, "no Llama has a tensor of this name"));
            };
            let rotated = match translated.rsplit('.').nth(1) {
                Some("q_proj") => Some(heads),
                Some("k_proj") => Some(kv_heads),
                _ => None,
            };
            places.push((index, rotated));
            tensors.push(TensorSpec { name: translated, dtype: DType::F32, shape: tensor.shape.clone() });
        }
        let vocabulary = vocabulary::read(&file)?;
        let config = config(&keys, &file, tied, &vocabulary)?;
        let mut files = vocabulary.files;
        let generation = json!({"bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos});
        files.push(("generation_config.json".into(), pretty(&generation)));
        Ok(Parts { config, files, tensors, reader: Box::new(Self { file, places }) })
    }
}

impl ForeignTensors for GgufModel {
    fn read_f32(&self, index: usize) -> Result<Vec<f32>> {
        let (at, rotated) = self.places[index];
        let tensor = &self.file.tensors[at];
        let values = self.file.read_f32(tensor)?;
        Ok(match (rotated, &tensor.shape[..]) {
            (Some(heads), [_, columns]) => halves_from_pairs(&values, heads, *columns),
            _ => values,
        })
    }
}

/// llama.cpp's tensor name in Hugging Face's terms.
fn translate(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => {}
    }
    let (layer, part) = name.strip_prefix("blk.")?.strip_suffix(".weight")?.split_once('.')?;
    let part = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(llama_part(layer.parse().ok()?, part))
}

fn config(keys: &Keys<'_>, file: &Gguf, tied: bool, vocabulary: &vocabulary::Vocabulary) -> Result<Value> {
    let (width, heads) = (keys.size("llama.embedding_length")?, keys.size("llama.attention.head_count")?);
    let rows = file.tensors.iter().find(|tensor| tensor.name == "token_embd.weight").map(|tensor| tensor.shape[0]);
    let vocab = rows.ok_or_else(|| TensorFileError::tensor(file.name(), "token_embd.weight", "it is missing"))?;
    let head = keys.optional_size("llama.rope.dimension_count")?.unwrap_or(width / heads.max(1));
    Ok(json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": width, "intermediate_size": keys.size("llama.feed_forward_length")?,
        "num_hidden_layers": keys.size("llama.block_count")?, "num_attention_heads": heads,
        "num_key_value_heads": keys.kv_heads()?, "head_dim": head, "vocab_size": vocab,
        "max_position_embeddings": keys.size("llama.context_length")?,
        "rms_norm_eps": keys.short_float("llama.attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
        "rope_theta": keys.short_float("llama.rope.freq_base").unwrap_or(10_000.0),
        "rope_scaling": rope_scaling(keys), "tie_word_embeddings": tied,
        "attention_bias": false, "mlp_bias": false,
        "bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos, "torch_dtype": "float32",
    }))
}

fn rope_scaling(keys: &Keys<'_>) -> Value {
    let kind = keys.text("llama.rope.scaling.type").unwrap_or_default();
    let factor = keys.short_float("llama.rope.scaling.factor").unwrap_or(1.0);
    if !matches!(kind, "linear" | "yarn") || factor == 1.0 {
        return Value::Null;
    }
    let mut scaling = json!({"rope_type": kind, "factor": factor});
    if let Ok(Some(original)) = keys.optional_size("llama.rope.scaling.original_context_length") {
        scaling["original_max_position_embeddings"] = json!(original);
    }
    scaling
}

/// Typed access to the metadata.
struct Keys<'a> {
    file: &'a Gguf,
}

impl<'a> Keys<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        match self.file.metadata.get(key) {
            Some(MetadataValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A float stored as f32, given the shortest decimal that names it (1e-5, not 9.99999974e-6).
    fn short_float(&self, key: &str) -> Option<f64> {
        match self.file.metadata.get(key) {
            Some(MetadataValue::Float(value)) => (*value as f32).to_string().parse().ok(),
            Some(MetadataValue::Integer(value)) => Some(*value as f64),
            _ => None,
        }
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.file.metadata.get(key) {
            None => Ok(None),
            Some(MetadataValue::Integer(value @ 1..=0xFFF_FFFF)) => Ok(Some(*value as usize)),
            Some(other) => Err(TensorFileError::malformed(self.file.name(), format!("{key} is {other:?}, not a size"))),
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?
            .ok_or_else(|| TensorFileError::malformed(self.file.name(), format!("metadata has no {key}")))
    }

    fn kv_heads(&self) -> Result<usize> {
        match self.optional_size("llama.attention.head_count_kv")? {
            Some(heads) => Ok(heads),
            None => self.size("llama.attention.head_count"),
        }
    }
}
