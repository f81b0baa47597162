//! A good model and one whose files are not trusted, side by side, and merging as far as the plan.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tributary_merge::{MergeConfig, MergeError, MergeOptions, Source, plan};
use tributary_store::Store;
use tributary_testkit::fuzz::Outcome;

/// Merges the model that is not trusted with the good one.
pub(crate) const BOTH: &str = "merge_method: linear\nmodels: [{model: subject, parameters: {weight: 1}}, {model: base, parameters: {weight: 1}}]\n";
/// Merges the model that is not trusted with nothing.
pub(crate) const ALONE: &str = "merge_method: linear\nmodels: [{model: subject, parameters: {weight: 1}}]\n";

/// The models `base` and `subject`, at first equal. They lie in memory, where a model is opened ten times as fast as on
/// a disk; on a disk they are opened by [`super::files`].
pub(crate) struct Place {
    root: Store,
    base: Source,
}

impl Place {
    pub(crate) fn new() -> Place {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = Store::open(&format!("memory:///place-{number}")).unwrap();
        for model in ["base", "subject"] {
            let model = root.child(model).unwrap();
            model.put("model.safetensors", model_file()).unwrap();
            model.put("config.json", configuration().to_string()).unwrap();
        }
        let base = Source::open("base", &root.child("base").unwrap()).unwrap();
        Place { root, base }
    }

    pub(crate) fn store(&self, model: &str) -> Store {
        self.root.child(model).unwrap()
    }

    /// Puts a file into the model that is not trusted.
    pub(crate) fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.store("subject").put(name, bytes.into()).unwrap();
    }

    /// After its files were changed.
    pub(crate) fn reopen_base(&mut self) {
        self.base = Source::open("base", &self.store("base")).unwrap();
    }

    pub(crate) fn base(&self) -> &Source {
        &self.base
    }

    /// Opens the model that is not trusted, reads it, and plans what the documents say.
    pub(crate) fn merge(&self, documents: &[&str]) -> Outcome {
        let merged = self.subject().and_then(|subject| {
            let sources = [subject, self.base.clone()];
            let mut warnings = Vec::new();
            for document in documents {
                let spec = MergeConfig::parse(document, "merge.yml")?.spec;
                warnings.extend(
                    plan(&spec, &sources, &MergeOptions::default())?
                        .summary()
                        .warnings,
                );
            }
            Ok(warnings)
        });
        outcome(merged)
    }

    fn subject(&self) -> Result<Source, MergeError> {
        let source = Source::open("subject", &self.store("subject"))?;
        for tensor in source.checkpoint().tensors() {
            let bytes = source.checkpoint().read(tensor).unwrap();
            assert_eq!(bytes.len() as u64, tensor.bytes);
        }
        Ok(source)
    }
}

/// How merging ended, with the warnings of a plan. What blames this program, or tells a user to try again, is wrong
/// for a bad file.
pub(crate) fn outcome(result: Result<Vec<String>, MergeError>) -> Outcome {
    match result {
        Ok(warnings) => Outcome::Read(warnings.join("\n")),
        Err(error @ (MergeError::Internal(_) | MergeError::Unavailable { .. })) => {
            Outcome::Wrong(format!("ended with {error:?}"))
        }
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

/// A safetensors file of this header and so many bytes of data.
pub(crate) fn safetensors(json: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    let json = json.as_ref();
    [&(json.len() as u64).to_le_bytes()[..], json, &vec![0; data]].concat()
}

/// The file of the good model.
pub(crate) fn model_file() -> Vec<u8> {
    let header = json!({
        "__metadata__": {"format": "pt"},
        "model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]},
        "model.layers.0.mlp.up_proj.weight": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [32, 40]},
        "model.layers.1.mlp.up_proj.weight": {"dtype": "F16", "shape": [2, 2], "data_offsets": [40, 48]},
        "model.norm.weight": {"dtype": "F64", "shape": [2], "data_offsets": [48, 64]},
        "position_ids": {"dtype": "I64", "shape": [1], "data_offsets": [64, 72]},
    });
    safetensors(header.to_string(), 72)
}

pub(crate) fn configuration() -> serde_json::Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 2,
        "intermediate_size": 2, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 1, "vocab_size": 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 1e4,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 128},
        "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": [1, 2], "torch_dtype": "bfloat16",
    })
}
