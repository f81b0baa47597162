//! The same document given to mergekit (a process; nothing of it is copied here): float32 outputs agree. Needs
//! `TRIBUTARY_PYTHON`, a Python that has mergekit; says so and passes without it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use support::{Bench, Tensor, model, random, read};
use tributary_merge::{MergeConfig, MergeOptions, Source, Watch, plan};
use tributary_store::Store;
use tributary_tensorfile::DType;

/// The Python to use, if it has mergekit.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("TRIBUTARY_PYTHON")?);
    let found = Command::new(&python)
        .args(["-c", "import mergekit"])
        .output()
        .ok()?;
    found.status.success().then_some(python)
}

/// A family of Llamas that mergekit knows the tensors of.
fn llamas(tied: bool) -> (Vec<support::Model>, serde_json::Value) {
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
const RUN_ALL: &str = "
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
fn merge(yaml: &str, out: &Path) {
    let config = MergeConfig::parse(yaml, "merge.yml").unwrap();
    let references = config
        .spec
        .base_model
        .iter()
        .chain(config.spec.models.iter().map(|model| &model.model));
    let sources: Vec<Source> = references
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

/// Documents in which the word after `OURS:` is ours alone, for a family of a base and three fine-tunes.
fn documents([base, a, b, c]: [&str; 4]) -> Vec<String> {
    let weight =
        |model: &str, weight: &str| format!("- {{model: {model}, parameters: {{weight: {weight}}}}}\n");
    let with =
        |model: &str, parameters: &str| format!("- {{model: {model}, parameters: {{{parameters}}}}}\n");
    let gradient = "[{filter: mlp, value: 0.4}, {value: [0.0, 0.5, 1.0]}]";
    let plain = |model: &str| format!("- {{model: {model}}}\n");
    let document = |method: &str, base: Option<&str>, models: &[String], parameters: &str| {
        let base = base
            .map(|base| format!("base_model: {base}\n"))
            .unwrap_or_default();
        format!(
            "merge_method: {method}\n{base}dtype: float32\nparameters: {{{parameters}}}\nmodels:\n{}",
            models.concat()
        )
    };
    let three = [weight(a, "0.3"), weight(b, "0.7"), weight(c, "-0.2")];
    let positive = [weight(a, "0.3"), weight(b, "0.7"), weight(c, "0.4")];
    let dense = [
        with(a, "weight: 0.3, density: 0.5"),
        with(b, "weight: 0.7, density: [0.2, 0.9]"),
        with(c, "weight: 0.4, density: 0.33"),
    ];
    let crumbs = [
        with(a, "weight: 0.3, density: 0.5, gamma: 0.1"),
        with(b, "weight: 0.7, density: 0.8, gamma: 0.15"),
    ];
    let voted = "OURS:vote: weighted";
    vec![
        document("linear", None, &[weight(a, "0.3"), weight(b, "0.9")], ""),
        document("linear", None, &[weight(a, gradient), weight(b, "0.25")], ""),
        document(
            "linear",
            None,
            &[weight(a, "-0.5"), weight(b, "1.5")],
            "normalize: false",
        ),
        document("task_arithmetic", Some(base), &three, ""),
        document(
            "task_arithmetic",
            Some(base),
            &[plain(base), weight(a, gradient), weight(b, "0.7")],
            "lambda: 0.6, normalize: true",
        ),
        document("ties", Some(base), &dense, voted),
        document(
            "ties",
            Some(base),
            &dense,
            &format!("lambda: 0.7, normalize: false, {voted}"),
        ),
        document("ties", Some(base), &positive, &format!("density: 1.0, {voted}")),
        document("breadcrumbs", Some(base), &crumbs, "lambda: 1.3"),
        document("breadcrumbs_ties", Some(base), &crumbs, voted),
        document("sce", Some(base), &[plain(a), plain(b), plain(c)], ""),
        document(
            "sce",
            Some(base),
            &[plain(a), plain(b), plain(c)],
            "select_topk: 0.3",
        ),
        document(
            "ram",
            Some(base),
            &[plain(a), plain(b), plain(c)],
            "epsilon: 0.02",
        ),
        document(
            "ramplus_tl",
            Some(base),
            &[plain(a), plain(b), plain(c)],
            "epsilon: 0.02",
        ),
        document("model_stock", Some(base), &[plain(a), plain(b), plain(c)], ""),
        document("slerp", Some(base), &[plain(base), plain(c)], "t: 0.3"),
        document(
            "slerp",
            Some(base),
            &[plain(c), plain(base)],
            "t: [{filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}, {value: 0.5}]",
        ),
        document("nuslerp", None, &[weight(a, "0.3"), weight(c, "0.9")], ""),
        document("nuslerp", Some(base), &[weight(a, "0.3"), weight(c, "0.9")], ""),
        document(
            "nuslerp",
            None,
            &[weight(a, "0.3"), weight(c, "0.9")],
            "nuslerp_flatten: false",
        ),
        document(
            "nuslerp",
            Some(base),
            &[weight(a, "0.3"), weight(c, "0.9")],
            "nuslerp_flatten: false, nuslerp_row_wise: true",
        ),
        document("multislerp", None, &positive, ""),
        document("multislerp", Some(base), &positive, ""),
        document("karcher", None, &[plain(a), plain(b), plain(c)], ""),
        document("nearswap", Some(base), &[plain(c)], "t: 0.01"),
        document("arcee_fusion", Some(base), &[plain(c)], ""),
        document("passthrough", None, &[with(a, "scale: 0.5")], ""),
    ]
}

#[test]
fn outputs_agree_with_mergekit() {
    let Some(python) = python() else {
        eprintln!("skipped: TRIBUTARY_PYTHON names no Python that has mergekit");
        return;
    };
    let mut apart = Vec::new();
    for tied in [false, true] {
        let (models, configuration) = llamas(tied);
        let bench = Bench::with(&models, &configuration, u64::MAX);
        let names = [0, 1, 2, 3].map(|index| bench.path(&Bench::name(index)).display().to_string());
        let documents = documents(names.each_ref().map(String::as_str));
        let mut run = Command::new(&python);
        run.args(["-c", RUN_ALL]).env("HF_HUB_OFFLINE", "1");
        for (number, yaml) in documents.iter().enumerate() {
            let file = bench.path(&format!("{number}.yml"));
            std::fs::write(&file, yaml.replace("OURS:vote: weighted", "")).unwrap();
            run.args([file, bench.path(&format!("theirs-{number}"))]);
        }
        let run = run.output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        for (number, yaml) in documents.iter().enumerate() {
            let ours = bench.path(&format!("ours-{number}"));
            merge(&yaml.replace("OURS:", ""), &ours);
            let (ours, theirs) = (read(&ours), read(&bench.path(&format!("theirs-{number}"))));
            assert_eq!(
                ours.keys().collect::<Vec<_>>(),
                theirs.keys().collect::<Vec<_>>(),
                "{yaml}"
            );
            let pairs = ours
                .iter()
                .flat_map(|(name, tensor)| tensor.values().into_iter().zip(theirs[name].values()));
            let worst = pairs
                .map(|(ours, theirs)| (ours - theirs).abs())
                .fold(0.0, f32::max);
            eprintln!(
                "tied {tied}, document {number}: {worst:e} apart: {}",
                yaml.lines().next().unwrap()
            );
            // Both round to f32, mergekit after every operation: a few units in the last place of values near 1.
            let is_number = ours
                .values()
                .all(|tensor| tensor.values().iter().all(|x| x.is_finite()));
            if worst > 2e-6 || !is_number {
                apart.push(format!("tied {tied}, document {number}: {worst} apart:\n{yaml}"));
            }
        }
    }
    assert!(apart.is_empty(), "{}", apart.join("\n"));
}
