//! Adapters made of differences: what was put in comes out, and PEFT reads the same. The last needs `TRIBUTARY_PYTHON`,
//! a Python that has peft; says so and passes without it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use support::{Bench, Model, Tensor, random, read};
use tributary_merge::{
    Adapter, ExtractOptions, ExtractReport, Extraction, LoraMerge, LoraMergeOptions, MergeError, Source,
    Watch,
};
use tributary_store::Store;
use tributary_tensorfile::DType;

const RANK: usize = 5;

fn store(path: &Path) -> Store {
    Store::open(path.to_str().unwrap()).unwrap()
}

fn open(path: &Path) -> Source {
    Source::open(path.to_str().unwrap(), &store(path)).unwrap()
}

/// A Llama, untied, and the same with an update of rank [`RANK`] of every matrix and other norms.
fn models() -> (Vec<Model>, Value) {
    let (hidden, inner, vocabulary) = (48, 80, 100);
    let mut shapes = vec![
        ("lm_head.weight".to_string(), vec![vocabulary, hidden]),
        ("model.embed_tokens.weight".to_string(), vec![vocabulary, hidden]),
        ("model.norm.weight".to_string(), vec![hidden]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![hidden]),
            ("post_attention_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![hidden, hidden]),
            ("self_attn.k_proj", vec![hidden / 2, hidden]),
            ("self_attn.v_proj", vec![hidden / 2, hidden]),
            ("self_attn.o_proj", vec![hidden, hidden]),
            ("mlp.gate_proj", vec![inner, hidden]),
            ("mlp.up_proj", vec![inner, hidden]),
            ("mlp.down_proj", vec![hidden, inner]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let (mut base, mut tuned) = (Model::new(), Model::new());
    for (seed, (name, shape)) in shapes.into_iter().enumerate() {
        let seed = seed as u64;
        let values = random(100 + seed, shape.iter().product());
        let changed: Vec<f32> = match shape[..] {
            [rows, columns] => {
                let (b, a) = (
                    random(200 + seed, rows * RANK),
                    random(300 + seed, RANK * columns),
                );
                let update = |i: usize| {
                    let products =
                        (0..RANK).map(|k| b[i / columns * RANK + k] * a[k * columns + i % columns]);
                    products.sum::<f32>()
                };
                values
                    .iter()
                    .enumerate()
                    .map(|(i, value)| value + 0.1 * update(i))
                    .collect()
            }
            // The last norm stays as it is.
            _ if name == "model.norm.weight" => values.clone(),
            _ => values.iter().map(|value| value + 0.01).collect(),
        };
        base.insert(name.clone(), Tensor::new(DType::F32, &shape, &values));
        tuned.insert(name, Tensor::new(DType::F32, &shape, &changed));
    }
    let configuration = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": vocabulary,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 64, "tie_word_embeddings": false,
        "torch_dtype": "float32"
    });
    (vec![base, tuned], configuration)
}

fn bench() -> Bench {
    let (models, configuration) = models();
    Bench::with(&models, &configuration, u64::MAX)
}

fn extract(bench: &Bench, out: &str, options: &ExtractOptions) -> Result<ExtractReport, MergeError> {
    let (base, tuned) = (open(&bench.path("base")), open(&bench.path("tuned-1")));
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let extraction = Extraction::new(&tuned, &base, options)?;
    Ok(extraction.publish(&store(&bench.path(out)), &watch)?.1)
}

/// Base and adapter together.
fn merged(bench: &Bench, adapter: &str, out: &str) -> Model {
    let adapter = Adapter::open(adapter, &store(&bench.path(adapter))).unwrap();
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let merge = LoraMerge::new(&open(&bench.path("base")), &adapter, &LoraMergeOptions::default()).unwrap();
    merge.publish(&store(&bench.path(out)), &watch).unwrap();
    read(&bench.path(out))
}

/// ‖a − b‖/‖c − b‖ over one tensor.
fn error(a: &Tensor, b: &Tensor, base: &Tensor) -> f64 {
    let distance = |x: &Tensor, y: &Tensor| {
        let pairs = x.values().into_iter().zip(y.values());
        pairs.map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
    };
    distance(a, b) / distance(base, b)
}

#[test]
fn an_update_of_low_rank_comes_back() {
    let bench = bench();
    let options = ExtractOptions {
        rank: 12,
        embeddings: true,
        ..ExtractOptions::default()
    };
    let report = extract(&bench, "lora", &options).unwrap();
    assert_eq!(
        (report.decomposed.len(), report.saved.len(), report.equal),
        (16, 4, 1)
    );
    assert!(report.not_covered.is_empty() && report.energy_kept > 1.0 - 1e-9);
    assert!(
        report
            .decomposed
            .iter()
            .all(|tensor| tensor.rank == RANK && tensor.relative_error < 1e-5)
    );
    let (base, tuned) = (read(&bench.path("base")), read(&bench.path("tuned-1")));
    for (name, tensor) in merged(&bench, "lora", "again") {
        if base[&name].values() != tuned[&name].values() {
            let error = error(&tensor, &tuned[&name], &base[&name]);
            assert!(error < 1e-5, "{name}: {error}");
        }
    }
    // The same again is the same artifact.
    let digest = || store(&bench.path("lora")).get("tributary.json").unwrap();
    let first = digest();
    let one = ExtractOptions {
        threads: Some(1),
        ..options
    };
    extract(&bench, "lora", &one).unwrap();
    assert_eq!(first, digest());
}

#[test]
fn ranks_and_names_are_chosen() {
    let bench = bench();
    let options = ExtractOptions {
        rank: 3,
        exclude: Some("v_proj|layers.1.mlp".to_string()),
        ..ExtractOptions::default()
    };
    let report = extract(&bench, "small", &options).unwrap();
    assert!(
        report
            .decomposed
            .iter()
            .all(|tensor| tensor.rank == 3 && tensor.energy_kept < 1.0)
    );
    let left: Vec<String> = report
        .not_covered
        .iter()
        .map(|tensor| format!("{}: {}", tensor.name, tensor.reason))
        .collect();
    insta::assert_snapshot!("not_covered", left.join("\n"));
    let fields: Value =
        serde_json::from_slice(&std::fs::read(bench.path("small/adapter_config.json")).unwrap()).unwrap();
    let shown = serde_json::to_string_pretty(&fields).unwrap();
    insta::assert_snapshot!(
        "configuration",
        shown.replace(bench.folder.path().to_str().unwrap(), "[folder]")
    );

    let options = ExtractOptions {
        rank: 48,
        energy: Some(0.8),
        ..ExtractOptions::default()
    };
    let report = extract(&bench, "energy", &options).unwrap();
    for tensor in &report.decomposed {
        assert!(tensor.energy_kept >= 0.8 && tensor.rank < RANK, "{tensor:?}");
        // Against the decomposition's own sum, the error is what is left of Δ.
        let expected = (1.0 - tensor.energy_kept).sqrt();
        assert!((tensor.relative_error - expected).abs() < 1e-7);
    }
    let (base, tuned) = (read(&bench.path("base")), read(&bench.path("tuned-1")));
    let again = merged(&bench, "energy", "again");
    for tensor in &report.decomposed {
        let measured = error(&again[&tensor.name], &tuned[&tensor.name], &base[&tensor.name]);
        assert!(
            (measured - tensor.relative_error).abs() < 1e-4,
            "{}: {measured}",
            tensor.name
        );
    }
}

#[test]
fn nothing_to_extract_is_said() {
    let bench = bench();
    let none = ExtractOptions {
        include: Some("norm".to_string()),
        ..ExtractOptions::default()
    };
    let error = extract(&bench, "none", &none).unwrap_err();
    assert!(
        error.to_string().contains("there is nothing to extract"),
        "{error}"
    );
    assert!(!bench.path("none").exists());
}

/// Loads the adapter with PEFT over the base, merges it there and saves the result.
const PEFT: &str = "
import sys, torch
from transformers import LlamaForCausalLM
from peft import PeftModel
base, adapter, out = sys.argv[1:]
model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
with torch.no_grad():
    tokens = torch.arange(32).reshape(2, 16)
    peft = PeftModel.from_pretrained(model, adapter)
    before = peft(tokens).logits
    merged = peft.merge_and_unload()
    print(float((merged(tokens).logits - before).abs().max()))
merged.save_pretrained(out)
";

#[test]
fn peft_loads_what_was_extracted() {
    let python = std::env::var_os("TRIBUTARY_PYTHON").filter(|python| {
        let found = Command::new(python).args(["-c", "import peft"]).output();
        found.is_ok_and(|found| found.status.success())
    });
    let Some(python) = python else {
        eprintln!("skipped: TRIBUTARY_PYTHON names no Python that has peft");
        return;
    };
    for (name, options) in [
        (
            "whole",
            ExtractOptions {
                rank: 12,
                embeddings: true,
                ..ExtractOptions::default()
            },
        ),
        (
            "mixed",
            ExtractOptions {
                rank: 48,
                energy: Some(0.8),
                ..ExtractOptions::default()
            },
        ),
        (
            "part",
            ExtractOptions {
                rank: 3,
                exclude: Some("v_proj|layers.1.mlp".into()),
                ..ExtractOptions::default()
            },
        ),
    ] {
        let bench = bench();
        extract(&bench, "lora", &options).unwrap();
        let ours = merged(&bench, "lora", "ours");
        let run = Command::new(&python)
            .args(["-c", PEFT])
            .args([bench.path("base"), bench.path("lora"), bench.path("theirs")])
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{said}");
        for word in ["missing", "unexpected", "Found"] {
            assert!(!said.contains(word), "{name}: {said}");
        }
        let theirs = read(&bench.path("theirs"));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        let pairs = ours
            .iter()
            .flat_map(|(name, ours)| ours.values().into_iter().zip(theirs[name].values()));
        let worst = pairs
            .map(|(ours, theirs)| (ours - theirs).abs() / (1.0 + theirs.abs()))
            .fold(0.0, f32::max);
        eprintln!("{name}: {worst:e} apart");
        assert!(worst < 3e-7, "{name}: {worst}");
    }
}
