//! mergekit as a process, and models that it knows the tensors of.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use tributary_merge::{MergeConfig, MergeOptions, Source, Watch, plan};
use tributary_store::Store;
use tributary_tensorfile::DType;

use super::{Model, Tensor, model, random};

/// The Python to use, if it has mergekit.
pub fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("TRIBUTARY_PYTHON")?);
    let found = Command::new(&python)
        .args(["-c", "import mergekit"])
        .output()
        .ok()?;
    found.status.success().then_some(python)
}

/// A family of Llamas that mergekit knows the tensors of.
pub fn llamas(tied: bool) -> (Vec<Model>, serde_json::Value) {
    let (hidden, intermediate, vocabulary, layers) = (16, 24, 40, 3);
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_string(), vec![vocabulary, hidden]),
        ("model.norm.weight".to_string(), vec![hidden]),
    ];
    if !tied {
        shapes.push(("lm_head.weight".to_string(), vec![vocabulary, hidden]));
    }
    for layer in 0..layers {
        for (name, shape) in [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![hidden / 2, hidden]),
            ("self_attn.v_proj", vec![hidden / 2, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![intermediate, hidden]),
            ("mlp.up_proj", vec![intermediate, hidden]),
            ("mlp.down_proj", vec![hidden, intermediate]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let models = (0..4u64)
        .map(|index| {
            let mut built = model([]);
            for (number, (name, shape)) in shapes.iter().enumerate() {
                let count = shape.iter().product();
                let base = random(100 + number as u64, count);
                let noise = random(1000 * (index + 1) + number as u64, count);
                let values: Vec<f32> = base
                    .iter()
                    .zip(noise)
                    .map(|(base, noise)| base + 0.05 * index as f32 * noise)
                    .collect();
                built.insert(name.clone(), Tensor::new(DType::F32, shape, &values));
            }
            built
        })
        .collect();
    let configuration = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": intermediate, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": layers, "vocab_size": vocabulary, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "tie_word_embeddings": tied, "torch_dtype": "float32"
    });
    (models, configuration)
}

/// Runs all documents in one process: importing mergekit is most of the time.
pub const RUN_ALL: &str = "
import sys, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
for number in range(1, len(sys.argv), 2):
    with open(sys.argv[number]) as file:
        configuration = MergeConfiguration.model_validate(yaml.safe_load(file))
    run_merge(configuration, sys.argv[number + 1], MergeOptions(copy_tokenizer=False, quiet=True))
";

/// Merges as the command line would: models are where the document says.
pub fn merge(yaml: &str, out: &Path) {
    let config = MergeConfig::parse(yaml, "merge.yml").unwrap();
    let mut references: Vec<&str> = config
        .spec
        .references()
        .into_iter()
        .map(|(_, reference)| reference)
        .collect();
    references.sort_unstable();
    references.dedup();
    let sources: Vec<Source> = references
        .into_iter()
        .map(|reference| Source::open(reference, &Store::open(reference).unwrap()).unwrap())
        .collect();
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let plan = plan(&config.spec, &sources, &MergeOptions::default()).unwrap();
    plan.publish(&Store::open(out.to_str().unwrap()).unwrap(), &watch)
        .unwrap();
}

/// Runs mergekit on documents, each a file and the place of its result.
pub fn run(python: &Path, documents: impl IntoIterator<Item = (PathBuf, PathBuf)>) {
    let mut run = Command::new(python);
    run.args(["-c", RUN_ALL]).env("HF_HUB_OFFLINE", "1");
    for (file, out) in documents {
        run.args([file, out]);
    }
    let run = run.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
