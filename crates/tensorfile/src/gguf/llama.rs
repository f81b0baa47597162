//! A GGUF file of architecture `llama` as a Hugging Face Llama: names, row order, configuration.
//!
//! The configuration says which tensors there must be and in which shape; every one of them is looked up before
//! anything is read, and a tensor no Llama has is an error rather than left out.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::file::Gguf;
use super::rotary;
use super::vocabulary::{self, Vocabulary};
use crate::dtype::DType;
use crate::error::{Result, TensorFileError, quoted};
use crate::foreign::{ForeignTensors, Parts, halves_from_pairs, llama_part};
use crate::layout::TensorSpec;
use crate::read_at::ReadAt;

/// More layers than any model has; bounds what the layer count can make us do.
const MAX_LAYERS: usize = 4096;

/// Index into the file's tensors and, for queries and keys, heads.
type Place = (usize, Option<usize>);

/// Reader of the tensors of one file.
pub(crate) struct GgufModel {
    file: Gguf,
    places: Vec<Place>,
}

impl GgufModel {
    pub(crate) fn open(name: &str, file: Arc<dyn ReadAt>) -> Result<Parts> {
        let file = Gguf::open(name, file)?;
        match file.metadata().text("general.architecture") {
            Some("llama") => {}
            other => {
                let reason = format!(
                    "architecture {}; llama is read",
                    quoted(other.unwrap_or_default())
                );
                return Err(TensorFileError::Unsupported {
                    file: name.to_owned(),
                    reason,
                });
            }
        }
        let sizes = Sizes::read(&file)?;
        let vocabulary = vocabulary::read(&file)?;
        if vocabulary.len > sizes.vocab {
            let reason = format!(
                "{} tokens but an embedding of {} rows",
                vocabulary.len, sizes.vocab
            );
            return Err(TensorFileError::malformed(name, reason));
        }
        let config = sizes.config(&file, &vocabulary)?;
        let (tensors, places) = find_tensors(&file, &sizes)?;
        Ok(Parts {
            config,
            files: vocabulary.files,
            tensors,
            reader: Box::new(Self { file, places }),
        })
    }
}

impl ForeignTensors for GgufModel {
    fn read_f32(&self, index: usize) -> Result<Vec<f32>> {
        let (at, rotated) = self.places[index];
        let tensor = &self.file.tensors()[at];
        let values = self.file.read_f32(tensor)?;
        Ok(match (rotated, &tensor.shape[..]) {
            (Some(heads), [_, columns]) => halves_from_pairs(&values, heads, *columns),
            _ => values,
        })
    }
}

/// Every tensor the model must have, in its order, with its place in the file.
fn find_tensors(file: &Gguf, sizes: &Sizes) -> Result<(Vec<TensorSpec>, Vec<Place>)> {
    let mut rest: HashMap<&str, usize> = file
        .tensors()
        .iter()
        .enumerate()
        .map(|(index, tensor)| (tensor.name.as_str(), index))
        .collect();
    rest.remove("rope_freqs.weight"); // a constant, already in the configuration
    let (mut tensors, mut places) = (Vec::new(), Vec::new());
    let mut find = |theirs: String, ours: String, shape: Vec<usize>, rotated: Option<usize>| {
        let index = rest
            .remove(theirs.as_str())
            .ok_or_else(|| TensorFileError::tensor(file.name(), &theirs, "it is missing"))?;
        let tensor = &file.tensors()[index];
        if tensor.shape != shape {
            let reason = format!("its shape is {:?}; the metadata asks for {shape:?}", tensor.shape);
            return Err(TensorFileError::tensor_at(
                file.name(),
                &theirs,
                tensor.offset,
                reason,
            ));
        }
        places.push((index, rotated));
        tensors.push(TensorSpec {
            name: ours,
            dtype: DType::F32,
            shape,
        });
        Ok(())
    };
    let &Sizes {
        width,
        inner,
        layers,
        heads,
        kv_heads,
        head,
        vocab,
        tied,
    } = sizes;
    find(
        "token_embd.weight".into(),
        "model.embed_tokens.weight".into(),
        vec![vocab, width],
        None,
    )?;
    for layer in 0..layers {
        let parts = [
            ("attn_norm", "input_layernorm", vec![width], None),
            (
                "attn_q",
                "self_attn.q_proj",
                vec![heads * head, width],
                Some(heads),
            ),
            (
                "attn_k",
                "self_attn.k_proj",
                vec![kv_heads * head, width],
                Some(kv_heads),
            ),
            ("attn_v", "self_attn.v_proj", vec![kv_heads * head, width], None),
            ("attn_output", "self_attn.o_proj", vec![width, heads * head], None),
            ("ffn_norm", "post_attention_layernorm", vec![width], None),
            ("ffn_gate", "mlp.gate_proj", vec![inner, width], None),
            ("ffn_up", "mlp.up_proj", vec![inner, width], None),
            ("ffn_down", "mlp.down_proj", vec![width, inner], None),
        ];
        for (theirs, ours, shape, rotated) in parts {
            find(
                format!("blk.{layer}.{theirs}.weight"),
                llama_part(layer, ours),
                shape,
                rotated,
            )?;
        }
    }
    find(
        "output_norm.weight".into(),
        "model.norm.weight".into(),
        vec![width],
        None,
    )?;
    if !tied {
        find(
            "output.weight".into(),
            "lm_head.weight".into(),
            vec![vocab, width],
            None,
        )?;
    }
    match rest.into_keys().min() {
        None => Ok((tensors, places)),
        Some(unknown) => {
            let reason = format!(
                "tensor {}; only a plain Llama without biases or experts is read",
                quoted(unknown)
            );
            Err(TensorFileError::Unsupported {
                file: file.name().to_owned(),
                reason,
            })
        }
    }
}

/// The sizes of the model.
struct Sizes {
    width: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    vocab: usize,
    tied: bool,
}

impl Sizes {
    fn read(file: &Gguf) -> Result<Self> {
        let optional = |key: &str| file.metadata().size(file.name(), &format!("llama.{key}"));
        let size = |key: &str| {
            let missing = || TensorFileError::malformed(file.name(), format!("metadata has no llama.{key}"));
            optional(key)?.ok_or_else(missing)
        };
        let (width, layers, heads) = (
            size("embedding_length")?,
            size("block_count")?,
            size("attention.head_count")?,
        );
        let kv_heads = optional("attention.head_count_kv")?.unwrap_or(heads);
        let rotated = optional("rope.dimension_count")?;
        let head = optional("attention.key_length")?
            .or(rotated)
            .unwrap_or(width / heads);
        let fits =
            layers <= MAX_LAYERS && heads.is_multiple_of(kv_heads) && head >= 2 && head.is_multiple_of(2);
        if !fits || heads.checked_mul(head).is_none_or(|rows| rows > 1 << 28) {
            let reason = format!(
                "{layers} layers, {heads} heads of {head} and {kv_heads} key-value heads do not make a Llama"
            );
            return Err(TensorFileError::malformed(file.name(), reason));
        }
        let value = optional("attention.value_length")?.unwrap_or(head);
        if rotated.is_some_and(|rotated| rotated != head) || value != head {
            let reason = format!("heads of {head} of which {rotated:?} are rotated, with values of {value}");
            return Err(TensorFileError::Unsupported {
                file: file.name().to_owned(),
                reason,
            });
        }
        let embedding = file.get("token_embd.weight");
        let missing = || TensorFileError::tensor(file.name(), "token_embd.weight", "it is missing");
        let vocab = embedding
            .and_then(|tensor| tensor.shape.first().copied())
            .ok_or_else(missing)?;
        let inner = size("feed_forward_length")?;
        let tied = file.get("output.weight").is_none();
        Ok(Self {
            width,
            inner,
            layers,
            heads,
            kv_heads,
            head,
            vocab,
            tied,
        })
    }

    /// The model's `config.json`.
    fn config(&self, file: &Gguf, vocabulary: &Vocabulary) -> Result<Value> {
        let metadata = file.metadata();
        let theta = metadata.float("llama.rope.freq_base").unwrap_or(10_000.0);
        let context = metadata.size(file.name(), "llama.context_length")?;
        let missing = || TensorFileError::malformed(file.name(), "metadata has no llama.context_length");
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": self.width, "intermediate_size": self.inner, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "head_dim": self.head,
            "vocab_size": self.vocab, "max_position_embeddings": context.ok_or_else(missing)?,
            "rms_norm_eps": metadata.float("llama.attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
            "rope_theta": theta, "rope_scaling": rotary::scaling(file, theta, self.head)?,
            "tie_word_embeddings": self.tied, "attention_bias": false, "mlp_bias": false,
            "bos_token_id": vocabulary.bos, "eos_token_id": vocabulary.eos, "torch_dtype": "float32",
        });
        if vocabulary.padding.is_some() {
            config["pad_token_id"] = json!(vocabulary.padding);
        }
        Ok(config)
    }
}
