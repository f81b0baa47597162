//! A tiny random Llama directory.

use std::io::Write;
use std::path::Path;

use serde_json::json;
use tributary_tensorfile::{DType, ModelLayout, TensorSpec, from_f32, write_model};

/// Sizes of a tiny model; the rest follows.
#[derive(Clone, Debug)]
pub struct TinyModel {
    /// Width; heads are 16 wide.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Vocabulary.
    pub vocab: usize,
    /// Element type.
    pub dtype: DType,
    /// Largest shard in bytes.
    pub shard_bytes: u64,
}

impl Default for TinyModel {
    fn default() -> Self {
        Self {
            width: 64,
            layers: 2,
            vocab: 256,
            dtype: DType::F32,
            shard_bytes: u64::MAX,
        }
    }
}

impl TinyModel {
    /// Writes `config.json` and the safetensors into `folder`; values are drawn from `seed`.
    ///
    /// # Errors
    /// What writing gives.
    pub fn write(&self, folder: &Path, seed: u64) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let heads = self.width / 16;
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": self.width, "intermediate_size": 2 * self.width, "num_hidden_layers": self.layers,
            "num_attention_heads": heads, "num_key_value_heads": (heads / 2).max(1), "head_dim": 16,
            "vocab_size": self.vocab, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 1,
            "torch_dtype": self.dtype.torch_name(),
        });
        std::fs::write(folder.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
        let layout =
            ModelLayout::plan(&self.specs(heads), self.shard_bytes, &[]).map_err(std::io::Error::other)?;
        let mut state = seed;
        write_model(
            &layout,
            &mut |name| Ok(Box::new(std::fs::File::create(folder.join(name))?) as Box<dyn Write>),
            &mut |spec, sink| {
                let values: Vec<f32> = (0..spec.elements()).map(|_| next(&mut state) * 0.1).collect();
                let mut bytes = vec![0; spec.bytes() as usize];
                from_f32(spec.dtype, &values, &mut bytes).map_err(std::io::Error::other)?;
                sink.write_all(&bytes)
            },
        )
        .map_err(std::io::Error::other)
    }

    fn specs(&self, heads: usize) -> Vec<TensorSpec> {
        let (width, inner, kv) = (self.width, 2 * self.width, 16 * (heads / 2).max(1));
        let mut specs = Vec::new();
        let mut add = |name: String, shape: &[usize]| {
            specs.push(TensorSpec {
                name,
                dtype: self.dtype,
                shape: shape.to_vec(),
            });
        };
        add("model.embed_tokens.weight".into(), &[self.vocab, width]);
        for layer in 0..self.layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            add(name("input_layernorm"), &[width]);
            add(name("self_attn.q_proj"), &[16 * heads, width]);
            add(name("self_attn.k_proj"), &[kv, width]);
            add(name("self_attn.v_proj"), &[kv, width]);
            add(name("self_attn.o_proj"), &[width, 16 * heads]);
            add(name("post_attention_layernorm"), &[width]);
            add(name("mlp.gate_proj"), &[inner, width]);
            add(name("mlp.up_proj"), &[inner, width]);
            add(name("mlp.down_proj"), &[width, inner]);
        }
        add("model.norm.weight".into(), &[width]);
        specs
    }
}

/// A number in −1..1 from a 64-bit linear congruential generator.
fn next(state: &mut u64) -> f32 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}
