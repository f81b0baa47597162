//! Spec 1f, T1, on a real model: λ of perturbed SmolLM2-135M against sums of its own in `f64`. Needs
//! `TRIBUTARY_SMOLLM2`, the path of its GGUF file; says so and passes without it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tributary_jobs::{ImportSettings, import};
use tributary_merge::{MergeOptions, MergeSpec, Published, Source, Watch, plan};
use tributary_store::Store;
use tributary_tensorfile::{
    Checkpoint, DType, LocalDirectory, ModelLayout, TensorSpec, from_f32, to_f32, write_model,
};

/// A sum that loses nothing that matters (Neumaier).
#[derive(Clone, Copy, Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let next = self.sum + value;
        self.lost += if self.sum.abs() >= value.abs() {
            (self.sum - next) + value
        } else {
            (value - next) + self.sum
        };
        self.sum = next;
    }
}

/// Writes the base with noise of this size; returns ‖τ‖² of what was written.
fn perturb(base: &Path, to: &Path, noise: f32, seed: u64) -> f64 {
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(base.join("config.json"), to.join("config.json")).unwrap();
    let checkpoint = Checkpoint::open(&LocalDirectory::new(base)).unwrap();
    let spec = |tensor: &tributary_tensorfile::TensorInfo| TensorSpec {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    };
    let specs: Vec<TensorSpec> = checkpoint.tensors().iter().map(spec).collect();
    let layout = ModelLayout::plan(&specs, 100 << 20, &[]).unwrap();
    let (mut state, mut square) = (seed, Sum::default());
    write_model(
        &layout,
        &mut |file| Ok(Box::new(File::create(to.join(file))?) as Box<dyn Write>),
        &mut |spec, sink| {
            let tensor = checkpoint.get(&spec.name).unwrap();
            let mut bytes = checkpoint.read(tensor).unwrap();
            let (mut before, mut after) = (vec![0.0; spec.elements()], vec![0.0; spec.elements()]);
            to_f32(spec.dtype, &bytes, &mut before).unwrap();
            for (after, before) in after.iter_mut().zip(&before) {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                *after = before + noise * ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0);
            }
            from_f32(spec.dtype, &after, &mut bytes).unwrap();
            to_f32(spec.dtype, &bytes, &mut after).unwrap();
            for (after, before) in after.iter().zip(&before) {
                square.add((f64::from(*after) - f64::from(*before)).powi(2));
            }
            sink.write_all(&bytes)
        },
    )
    .unwrap();
    square.sum + square.lost
}

#[test]
fn coefficients_of_a_real_model_are_exact() {
    let Some(gguf) = std::env::var_os("TRIBUTARY_SMOLLM2") else {
        eprintln!("skipped: TRIBUTARY_SMOLLM2 names no SmolLM2 GGUF");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let store = |name: &str| Store::open(place(name).to_str().unwrap()).unwrap();
    let settings = ImportSettings {
        dtype: Some("bfloat16".into()),
        ..ImportSettings::default()
    };
    import(Path::new(&gguf), &store("base"), &settings, &|_| {}).unwrap();
    let squares = [("a", 0.002, 1), ("b", 0.003, 2), ("c", 0.005, 3)]
        .map(|(name, noise, seed)| perturb(&place("base"), &place(name), noise, seed));
    let merge = |models: [&str; 3]| {
        let models: Vec<_> = models
            .iter()
            .map(|model| serde_json::json!({"model": model}))
            .collect();
        let document = serde_json::json!({"merge_method": "metagpt", "base_model": "base", "models": models});
        let spec: MergeSpec = serde_json::from_value(document).unwrap();
        let sources = ["base", "a", "b", "c"].map(|name| Source::open(name, &store(name)).unwrap());
        let plan = plan(&spec, &sources, &MergeOptions::default()).unwrap();
        let watch = Watch {
            progress: &|_| {},
            cancel: &AtomicBool::new(false),
        };
        let Published::Whole(artifact, report) = plan.publish(&store("merged"), &watch).unwrap() else {
            unreachable!()
        };
        artifact.remove().unwrap();
        report.record.models
    };
    let found = merge(["a", "b", "c"]);
    let total: f64 = squares.iter().sum();
    for (model, square) in found.iter().zip(squares) {
        let wrong = (model.coefficient / (square / total) - 1.0).abs();
        eprintln!("{}: λ {:.6}, {wrong:e} off", model.name, model.coefficient);
        assert!(
            wrong <= 1e-9,
            "{}: {} instead of {}",
            model.name,
            model.coefficient,
            square / total
        );
    }
    assert!((found.iter().map(|model| model.coefficient).sum::<f64>() - 1.0).abs() <= 1e-12);
    let mut turned = merge(["c", "a", "b"]);
    turned.rotate_left(1);
    for (one, other) in found.iter().zip(turned) {
        assert_eq!(
            (&one.name, one.coefficient.to_bits()),
            (&other.name, other.coefficient.to_bits())
        );
    }
    assert_eq!(
        Checkpoint::open(&LocalDirectory::new(place("base")))
            .unwrap()
            .tensors()[0]
            .dtype,
        DType::BF16
    );
}
