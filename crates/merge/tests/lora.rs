//! Adapters over a base: values, refusals, and PEFT as the judge. The last needs `TRIBUTARY_PYTHON`, a Python that has
//! peft; says so and passes without it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use support::{Bench, Model, Tensor, model, random, read};
use tributary_merge::{
    Adapter, FloatType, LoraMerge, LoraMergeOptions, MergeConfig, MergeError, MergeOptions, Source, Watch,
    plan,
};
use tributary_store::Store;
use tributary_tensorfile::{DType, TensorSpec};

const QUERY: &str = "model.layers.0.self_attn.q_proj";
const EMBEDDING: &str = "model.embed_tokens";
const NORM: &str = "model.norm.weight";

fn store(path: &Path) -> Store {
    Store::open(path.to_str().unwrap()).unwrap()
}

/// A base with one linear layer larger than a block's pieces, an embedding and a norm.
fn base(dtype: DType) -> Model {
    model([
        ("lm_head.weight", Tensor::new(dtype, &[40, 16], &random(1, 640))),
        (
            "model.embed_tokens.weight",
            Tensor::new(dtype, &[40, 16], &random(2, 640)),
        ),
        (
            "model.layers.0.self_attn.q_proj.weight",
            Tensor::new(dtype, &[70, 2300], &random(3, 70 * 2300)),
        ),
        (NORM, Tensor::new(dtype, &[16], &random(4, 16))),
    ])
}

/// The usual adapter: rank 4 on the layer, rank 2 on the embedding, the norm as a whole.
fn parts() -> Model {
    let factor =
        |seed, shape: &[usize]| Tensor::new(DType::F32, shape, &random(seed, shape.iter().product()));
    let named = [
        (format!("{QUERY}.lora_A.weight"), factor(11, &[4, 2300])),
        (format!("{QUERY}.lora_B.weight"), factor(12, &[70, 4])),
        (format!("{EMBEDDING}.lora_embedding_A"), factor(13, &[2, 40])),
        (format!("{EMBEDDING}.lora_embedding_B"), factor(14, &[16, 2])),
        (NORM.to_string(), factor(15, &[16])),
    ];
    named
        .into_iter()
        .map(|(name, tensor)| (format!("base_model.model.{name}"), tensor))
        .collect()
}

fn configuration(more: Value) -> Value {
    let mut fields = json!({
        "peft_type": "LORA", "r": 4, "lora_alpha": 6, "rank_pattern": {"embed_tokens": 2},
        "alpha_pattern": {"model.embed_tokens": 3}, "use_dora": false, "bias": "none"
    });
    let more = more.as_object().unwrap().clone();
    fields.as_object_mut().unwrap().extend(more);
    fields
}

/// Writes an adapter in PEFT's layout.
fn write_adapter(path: &Path, parts: &Model, configuration: &Value) {
    std::fs::create_dir_all(path).unwrap();
    let specs: Vec<TensorSpec> = parts
        .iter()
        .map(|(name, tensor)| TensorSpec {
            name: name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
        })
        .collect();
    let layout = tributary_tensorfile::ModelLayout::plan(&specs, u64::MAX, &[]).unwrap();
    let mut bytes = layout.shards[0].header.clone();
    parts.values().for_each(|tensor| bytes.extend(&tensor.bytes));
    std::fs::write(path.join("adapter_model.safetensors"), bytes).unwrap();
    std::fs::write(path.join("adapter_config.json"), configuration.to_string()).unwrap();
}

fn untied() -> Value {
    json!({"model_type": "llama", "num_hidden_layers": 1, "tie_word_embeddings": false, "torch_dtype": "float32"})
}

fn bench(dtype: DType) -> Bench {
    let bench = Bench::with(&[base(dtype)], &untied(), u64::MAX);
    write_adapter(&bench.path("lora"), &parts(), &configuration(json!({})));
    bench
}

/// W + s·(B·A) of the adapter above, element by element.
fn expected(name: &str, dtype: DType) -> Vec<f64> {
    let weight: Vec<f64> = base(dtype)[name].values().iter().map(|x| f64::from(*x)).collect();
    let part = |name: &str| parts()[&format!("base_model.model.{name}")].values();
    let sum =
        |index: usize, left: &dyn Fn(usize) -> f32, right: &dyn Fn(usize) -> f32, rank: usize, scale: f64| {
            let products = (0..rank).map(|k| f64::from(left(k)) * f64::from(right(k)));
            weight[index] + scale * products.sum::<f64>()
        };
    if name == format!("{QUERY}.weight") {
        let (a, b) = (
            part(&format!("{QUERY}.lora_A.weight")),
            part(&format!("{QUERY}.lora_B.weight")),
        );
        let element = |i| sum(i, &|k| b[i / 2300 * 4 + k], &|k| a[k * 2300 + i % 2300], 4, 1.5);
        return (0..weight.len()).map(element).collect();
    }
    if name == format!("{EMBEDDING}.weight") {
        let a = part(&format!("{EMBEDDING}.lora_embedding_A"));
        let b = part(&format!("{EMBEDDING}.lora_embedding_B"));
        let element = |i| sum(i, &|k| a[k * 40 + i / 16], &|k| b[i % 16 * 2 + k], 2, 1.5);
        return (0..weight.len()).map(element).collect();
    }
    if name == NORM {
        return part(NORM).iter().map(|x| f64::from(*x)).collect();
    }
    weight
}

fn merge(base: &Path, adapter: &Path, out: &Path, options: &LoraMergeOptions) -> Result<(), MergeError> {
    let source = Source::open(base.to_str().unwrap(), &store(base))?;
    let adapter = Adapter::open(adapter.to_str().unwrap(), &store(adapter))?;
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    LoraMerge::new(&source, &adapter, options)?.publish(&store(out), &watch)?;
    Ok(())
}

#[test]
fn a_merged_adapter_is_base_plus_product() {
    for (dtype, asked, tolerance) in [
        (DType::F32, None, 1e-7),
        (DType::BF16, None, 4e-3),
        (DType::BF16, Some(FloatType::Float32), 1e-7),
        (DType::F64, None, 1e-7),
    ] {
        let bench = bench(dtype);
        let options = LoraMergeOptions {
            dtype: asked,
            max_shard_bytes: 300_000,
            ..LoraMergeOptions::default()
        };
        let out = bench.path("out");
        merge(&bench.path("base"), &bench.path("lora"), &out, &options).unwrap();
        let merged = read(&out);
        assert_eq!(merged.len(), 4);
        for (name, tensor) in &merged {
            assert_eq!(tensor.dtype, asked.map_or(dtype, FloatType::dtype), "{name}");
            for (ours, expected) in tensor.values().iter().zip(expected(name, dtype)) {
                let error = (f64::from(*ours) - expected).abs() / (1.0 + expected.abs());
                assert!(error < tolerance, "{name}: {ours} {expected}");
            }
        }
        assert_eq!(
            merged["lm_head.weight"].values(),
            base(dtype)["lm_head.weight"].values()
        );
        // The same again is success; another adapter at the place is not.
        merge(&bench.path("base"), &bench.path("lora"), &out, &options).unwrap();
        write_adapter(
            &bench.path("other"),
            &parts(),
            &configuration(json!({"lora_alpha": 8})),
        );
        let error = merge(&bench.path("base"), &bench.path("other"), &out, &options).unwrap_err();
        assert!(matches!(error, MergeError::Occupied { .. }), "{error}");
    }
}

#[test]
fn a_source_with_an_adapter_reads_in_f32_and_keeps_its_nominal_type() {
    let bench = bench(DType::BF16);
    let reference = format!(
        "{}+{}",
        bench.path("base").display(),
        bench.path("lora").display()
    );
    let (base, lora) = (store(&bench.path("base")), store(&bench.path("lora")));
    let source = Source::open_with_adapter(&reference, &base, &lora).unwrap();
    let query = source.tensor(&format!("{QUERY}.weight")).unwrap();
    assert_eq!(
        (query.info.dtype, query.nominal, query.info.elements()),
        (DType::F32, DType::BF16, 70 * 2300)
    );
    let head = source.tensor("lm_head.weight").unwrap();
    assert_eq!((head.info.dtype, head.nominal), (DType::BF16, DType::BF16));
    assert_eq!(source.nominal_dtype(NORM), Some(DType::BF16));
    assert!(source.has_adapter() && source.digest() != Source::open("base", &base).unwrap().digest());
    let again = source.with_adapter("x", &Adapter::open("lora", &lora).unwrap());
    assert!(again.is_err());

    // A merge of it and the base, halfway: through the engine, whatever its blocks are.
    let yaml = format!(
        "merge_method: linear\nmodels:\n- {{model: '{reference}', parameters: {{weight: 1}}}}\n- {{model: base, parameters: \
         {{weight: 1}}}}\n"
    );
    let config = MergeConfig::parse(&yaml, "merge.yml").unwrap();
    let sources = [source, Source::open("base", &base).unwrap()];
    let options = MergeOptions {
        memory: 4 << 20,
        ..MergeOptions::default()
    };
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let out = bench.path("half");
    plan(&config.spec, &sources, &options)
        .unwrap()
        .publish(&store(&out), &watch)
        .unwrap();
    let (merged, base) = (read(&out), read(&bench.path("base")));
    for (name, tensor) in &merged {
        assert_eq!(tensor.dtype, DType::BF16, "the nominal type decides");
        let halves = base[name].values().into_iter().zip(expected(name, DType::BF16));
        for (ours, (base, with)) in tensor.values().iter().zip(halves) {
            let half = (f64::from(base) + with) / 2.0;
            assert!(
                (f64::from(*ours) - half).abs() < 1e-2 * (1.0 + half.abs()),
                "{name}: {ours} {half}"
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let bench = bench(DType::F32);
    let refusal = |parts: &Model, fields: Value, tied: bool| {
        let (adapter, base_path) = (bench.path("bad"), bench.path(if tied { "tied" } else { "base" }));
        let _ = std::fs::remove_dir_all(&adapter);
        write_adapter(&adapter, parts, &configuration(fields));
        let error = merge(
            &base_path,
            &adapter,
            &bench.path("never"),
            &LoraMergeOptions::default(),
        )
        .unwrap_err();
        error
            .to_string()
            .replace(bench.folder.path().to_str().unwrap(), "[folder]")
    };
    let mut tied = base(DType::F32);
    tied.remove("lm_head.weight");
    let mut fields = untied();
    fields["tie_word_embeddings"] = json!(true);
    support::write(&bench.path("tied"), &tied, &fields, u64::MAX);

    let with = |name: &str, shape: &[usize]| {
        let mut parts = parts();
        let tensor = Tensor::new(DType::F32, shape, &vec![0.0; shape.iter().product()]);
        parts.insert(format!("base_model.model.{name}"), tensor);
        parts
    };
    let without = |name: &str| {
        let mut parts = parts();
        parts.remove(&format!("base_model.model.{name}")).unwrap();
        parts
    };
    let mut said = vec![
        refusal(&parts(), json!({"fan_in_fan_out": true}), false),
        refusal(&parts(), json!({"use_dora": true}), false),
        refusal(&parts(), json!({"peft_type": "LOHA"}), false),
        refusal(&parts(), json!({"r": 8}), false),
        refusal(&without(&format!("{QUERY}.lora_A.weight")), json!({}), false),
        refusal(
            &without(&format!("{EMBEDDING}.lora_embedding_B")),
            json!({}),
            false,
        ),
        refusal(
            &with(&format!("{QUERY}.lora_A.weight"), &[4, 2299]),
            json!({}),
            false,
        ),
        refusal(
            &with(&format!("{QUERY}.lora_B.weight"), &[71, 4]),
            json!({}),
            false,
        ),
        refusal(
            &with(&format!("{QUERY}.lora_B.weight"), &[70, 3]),
            json!({}),
            false,
        ),
        refusal(
            &with(&format!("{QUERY}.lora_magnitude_vector"), &[70]),
            json!({}),
            false,
        ),
        refusal(&with("model.layers.9.x.lora_A.weight", &[4, 3]), json!({}), false),
        refusal(&with("model.norm.bias", &[16]), json!({}), false),
        refusal(&with(NORM, &[15]), json!({}), false),
        refusal(&with("lm_head.weight", &[40, 16]), json!({}), true),
    ];
    let mut head = with("lm_head.lora_A.weight", &[4, 16]);
    head.insert(
        "base_model.model.lm_head.lora_B.weight".into(),
        Tensor::new(DType::F32, &[40, 4], &[0.0; 160]),
    );
    said.push(refusal(&head, json!({}), true));
    let mut whole = with("model.embed_tokens.weight", &[40, 16]);
    whole.retain(|name, _| !name.contains("lora_embedding"));
    said.push(refusal(&whole, json!({}), true));
    std::fs::rename(
        bench.path("bad/adapter_model.safetensors"),
        bench.path("bad/adapter_model.bin"),
    )
    .unwrap();
    let open = |path: &str| {
        let error = Adapter::open(path, &store(&bench.path(path))).err().unwrap();
        error
            .to_string()
            .replace(bench.folder.path().to_str().unwrap(), "[folder]")
    };
    said.push(open("bad"));
    said.push(open("base"));
    said.push(open("nowhere"));
    insta::assert_snapshot!("refusals", said.join("\n"));
    assert!(!bench.path("never").exists());
}

/// Makes a Llama and adapters of it with PEFT, and merges them with PEFT.
const PEFT: &str = "
import sys, torch
from transformers import LlamaConfig, LlamaForCausalLM
from peft import LoraConfig, PeftModel, get_peft_model
root = sys.argv[1]
cases = {
    'plain': (False, dict(r=4, lora_alpha=6, target_modules='all-linear')),
    'patterns': (True, dict(r=4, lora_alpha=6, use_rslora=True, target_modules=['q_proj', 'down_proj', 'v_proj'],
        rank_pattern={'layers.1.self_attn.q_proj': 2, '^model.layers.0.mlp.down_proj': 3}, alpha_pattern={'v_proj': 9})),
    'saved': (False, dict(r=4, lora_alpha=4, target_modules=['q_proj'], modules_to_save=['lm_head', 'input_layernorm'])),
    'embedding': (True, dict(r=3, lora_alpha=5, target_modules=['embed_tokens', 'o_proj'])),
    'bias': (False, dict(r=2, lora_alpha=5, target_modules=['q_proj', 'k_proj'], bias='all')),
}
for name, (tied, settings) in cases.items():
    torch.manual_seed(len(name))
    config = LlamaConfig(hidden_size=48, intermediate_size=80, num_attention_heads=4, num_key_value_heads=2,
        num_hidden_layers=2, vocab_size=100, tie_word_embeddings=tied, attention_bias=name == 'bias')
    base = LlamaForCausalLM(config)
    base.save_pretrained(f'{root}/{name}/base')
    model = get_peft_model(base, LoraConfig(task_type='CAUSAL_LM', **settings))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn_like(parameter) * 0.1
    model.save_pretrained(f'{root}/{name}/lora')
    fresh = LlamaForCausalLM.from_pretrained(f'{root}/{name}/base', dtype=torch.float32)
    merged = PeftModel.from_pretrained(fresh, f'{root}/{name}/lora').merge_and_unload()
    merged.save_pretrained(f'{root}/{name}/theirs')
";

#[test]
fn merged_models_agree_with_peft() {
    let python = std::env::var_os("TRIBUTARY_PYTHON").filter(|python| {
        let found = Command::new(python).args(["-c", "import peft"]).output();
        found.is_ok_and(|found| found.status.success())
    });
    let Some(python) = python else {
        eprintln!("skipped: TRIBUTARY_PYTHON names no Python that has peft");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(python)
        .args(["-c", PEFT, folder.path().to_str().unwrap()])
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    for case in ["plain", "patterns", "saved", "embedding", "bias"] {
        let at = |part: &str| folder.path().join(case).join(part);
        merge(
            &at("base"),
            &at("lora"),
            &at("ours"),
            &LoraMergeOptions::default(),
        )
        .unwrap();
        let (ours, theirs, base) = (read(&at("ours")), read(&at("theirs")), read(&at("base")));
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            theirs.keys().collect::<Vec<_>>(),
            "{case}"
        );
        let (mut worst, mut moved) = (0f32, 0f32);
        for (name, tensor) in &ours {
            let values = tensor.values();
            for ((ours, theirs), base) in values.iter().zip(theirs[name].values()).zip(base[name].values()) {
                worst = worst.max((ours - theirs).abs() / (1.0 + theirs.abs()));
                moved = moved.max((ours - base).abs());
            }
        }
        eprintln!("{case}: {worst:e} apart, {moved:e} from the base");
        assert!(
            worst < 3e-7 && moved > 1e-2,
            "{case}: {worst} apart, {moved} from the base"
        );
    }
}
