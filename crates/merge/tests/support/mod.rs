//! Tiny models in temporary directories.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test file uses its part"
)]

pub mod mergekit;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use tributary_merge::{MergeConfig, MergeError, MergeOptions, MergeReport, Published, Source, Watch, plan};
use tributary_store::Store;
use tributary_tensorfile::{
    Checkpoint, DType, LocalDirectory, ModelLayout, TensorSpec, from_f32, to_f32, write_model,
};

/// A tensor of a tiny model.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn new(dtype: DType, shape: &[usize], values: &[f32]) -> Tensor {
        let mut bytes = vec![0; values.len() * dtype.size()];
        from_f32(dtype, values, &mut bytes).unwrap();
        Tensor {
            dtype,
            shape: shape.to_vec(),
            bytes,
        }
    }

    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.bytes.len() / self.dtype.size()];
        to_f32(self.dtype, &self.bytes, &mut values).unwrap();
        values
    }
}

pub type Model = BTreeMap<String, Tensor>;

pub fn model<const N: usize>(tensors: [(&str, Tensor); N]) -> Model {
    tensors
        .into_iter()
        .map(|(name, tensor)| (name.to_string(), tensor))
        .collect()
}

/// Numbers in [-1, 1) that depend on the seed alone.
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
        })
        .collect()
}

/// Shapes of a small Llama with one tensor that spans several blocks.
pub fn shapes() -> Vec<(&'static str, Vec<usize>)> {
    vec![
        ("lm_head.weight", vec![40, 16]),
        ("model.embed_tokens.weight", vec![700, 300]),
        ("model.layers.0.input_layernorm.weight", vec![16]),
        ("model.layers.0.mlp.up_proj.weight", vec![257, 513]),
        ("model.layers.1.input_layernorm.weight", vec![16]),
        ("model.layers.1.mlp.up_proj.weight", vec![33, 17]),
        ("model.norm.weight", vec![16]),
    ]
}

/// A base and fine-tunes of it; the noise of fine-tune `t` grows with `t`.
pub fn family(seed: u64, dtype: DType, tuned: usize) -> Vec<Model> {
    let mut models = vec![Model::new(); tuned + 1];
    for (number, (name, shape)) in shapes().into_iter().enumerate() {
        let count = shape.iter().product();
        let base = random(seed + 1000 * number as u64, count);
        for (index, model) in models.iter_mut().enumerate() {
            let noise = random(seed + 1000 * number as u64 + index as u64, count);
            let scale = index as f32 * 0.01;
            let values: Vec<f32> = base
                .iter()
                .zip(&noise)
                .map(|(base, noise)| base + scale * noise)
                .collect();
            model.insert(name.to_string(), Tensor::new(dtype, &shape, &values));
        }
    }
    models
}

pub fn configuration() -> serde_json::Value {
    serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "num_attention_heads": 2,
        "num_hidden_layers": 2, "hidden_act": "silu", "torch_dtype": "float32", "_name_or_path": "/somewhere"
    })
}

/// Writes a model directory, cut into shards of at most `shard` bytes.
pub fn write(path: &Path, model: &Model, configuration: &serde_json::Value, shard: u64) {
    std::fs::create_dir_all(path).unwrap();
    let specs: Vec<TensorSpec> = model
        .iter()
        .map(|(name, tensor)| TensorSpec {
            name: name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
        })
        .collect();
    let layout = ModelLayout::plan(&specs, shard, &[]).unwrap();
    write_model(
        &layout,
        &mut |file| Ok(Box::new(std::fs::File::create(path.join(file))?) as Box<dyn Write>),
        &mut |spec, out| out.write_all(&model[&spec.name].bytes),
    )
    .unwrap();
    std::fs::write(path.join("config.json"), configuration.to_string()).unwrap();
}

/// Reads a model back.
pub fn read(path: &Path) -> Model {
    let checkpoint = Checkpoint::open(&LocalDirectory::new(path)).unwrap();
    let tensor = |info: &tributary_tensorfile::TensorInfo| Tensor {
        dtype: info.dtype,
        shape: info.shape.clone(),
        bytes: checkpoint.read(info).unwrap(),
    };
    checkpoint
        .tensors()
        .iter()
        .map(|info| (info.name.clone(), tensor(info)))
        .collect()
}

/// A folder of this test, or a second handle on it.
pub enum Folder {
    Own(tempfile::TempDir),
    Other(PathBuf),
}

impl Folder {
    pub fn path(&self) -> &Path {
        match self {
            Folder::Own(folder) => folder.path(),
            Folder::Other(path) => path,
        }
    }
}

/// A folder with a `base` and `tuned-1`, `tuned-2`, …
pub struct Bench {
    pub folder: Folder,
    outputs: std::cell::Cell<usize>,
}

impl Bench {
    pub fn new(models: &[Model]) -> Bench {
        Bench::with(models, &configuration(), u64::MAX)
    }

    pub fn with(models: &[Model], configuration: &serde_json::Value, shard: u64) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        for (index, model) in models.iter().enumerate() {
            write(
                &folder.path().join(Bench::name(index)),
                model,
                configuration,
                shard,
            );
        }
        Bench {
            folder: Folder::Own(folder),
            outputs: std::cell::Cell::new(0),
        }
    }

    /// The models of another bench, for another thread.
    pub fn at(folder: &Path) -> Bench {
        Bench {
            folder: Folder::Other(folder.to_path_buf()),
            outputs: std::cell::Cell::new(0),
        }
    }

    pub fn name(index: usize) -> String {
        if index == 0 {
            "base".to_string()
        } else {
            format!("tuned-{index}")
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens the models that a document names, below this folder.
    pub fn sources(&self, config: &MergeConfig) -> Result<Vec<Source>, MergeError> {
        let spec = &config.spec;
        let mut references: Vec<&str> = spec
            .references()
            .into_iter()
            .map(|(_, reference)| reference)
            .collect();
        references.sort_unstable();
        references.dedup();
        references
            .into_iter()
            .map(|reference| {
                Source::open(
                    reference,
                    &Store::open(self.path(reference).to_str().unwrap()).unwrap(),
                )
            })
            .collect()
    }

    /// Merges into a new folder.
    pub fn merge(&self, yaml: &str, options: &MergeOptions) -> Result<(PathBuf, MergeReport), MergeError> {
        let number = self.outputs.replace(self.outputs.get() + 1);
        let out = self.path(&format!("out-{number}"));
        let report = self.merge_into(yaml, options, &Store::open(out.to_str().unwrap()).unwrap())?;
        Ok((out, report))
    }

    pub fn merge_into(
        &self,
        yaml: &str,
        options: &MergeOptions,
        out: &Store,
    ) -> Result<MergeReport, MergeError> {
        let config = MergeConfig::parse(yaml, "merge.yml")?;
        let plan = plan(&config.spec, &self.sources(&config)?, options)?;
        let watch = Watch {
            progress: &|_| {},
            cancel: &AtomicBool::new(false),
        };
        let Published::Whole(_, report) = plan.publish(out, &watch)? else {
            panic!("one process makes all of it");
        };
        let report = *report;
        let is_base = report
            .record
            .warnings
            .iter()
            .any(|warning| warning.contains("the result is the base"));
        if !is_base {
            let (read, planned) = (report.execution.bytes_read, plan.summary().bytes_to_read);
            // What is held between two passes over a tensor is not read again.
            let is_read_once = ["linear", "task_arithmetic", "metagpt"].contains(&plan.summary().method);
            assert!(
                read == planned || (!is_read_once && read < planned),
                "{read} bytes were read, {planned} planned"
            );
        }
        assert!(report.execution.peak_buffer_bytes <= plan.summary().memory);
        Ok(report)
    }
}

/// A document over `base` and `tuned-1..=models`, `parameters` being YAML of the document's parameters.
pub fn document(method: &str, models: usize, weights: &[f64], parameters: &str, out_dtype: &str) -> String {
    let mut yaml =
        format!("merge_method: {method}\nbase_model: base\nparameters: {{{parameters}}}\nmodels:\n");
    for index in 0..models {
        yaml.push_str(&format!("- model: tuned-{}\n", index + 1));
        if let Some(weight) = weights.get(index) {
            yaml.push_str(&format!("  parameters: {{weight: {weight:?}}}\n"));
        }
    }
    if !out_dtype.is_empty() {
        yaml.push_str(&format!("out_dtype: {out_dtype}\n"));
    }
    yaml
}
