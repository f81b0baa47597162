//! Two models beside each other: figures against sums written out, and independence from threads.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::sync::atomic::AtomicBool;

use serde_json::json;
use support::{Bench, Model, Tensor, configuration, family, model};
use tributary_merge::{DiffOptions, MergeError, ModelDiff, Source, diff};
use tributary_store::Store;
use tributary_tensorfile::DType;

fn compare(bench: &Bench, a: &str, b: &str, threads: usize) -> Result<ModelDiff, MergeError> {
    let open = |name: &str| Source::open(name, &Store::open(bench.path(name).to_str().unwrap()).unwrap());
    let options = DiffOptions {
        threads: Some(threads),
    };
    diff(
        &open(a)?,
        &open(b)?,
        &options,
        &|_, _| {},
        &AtomicBool::new(false),
    )
}

#[test]
fn figures_are_those_of_the_values_and_threads_do_not_count() {
    let models = family(7, DType::F32, 1);
    let bench = Bench::new(&models);
    let found = compare(&bench, "base", "tuned-1", 1).unwrap();
    assert_eq!(found, compare(&bench, "base", "tuned-1", 5).unwrap());
    assert!(!found.is_equal && found.configuration.is_empty());
    assert_eq!(found.tensors.len(), models[0].len());
    let order: Vec<f64> = found
        .tensors
        .iter()
        .map(|t| t.measure.unwrap().relative.unwrap())
        .collect();
    assert!(order.is_sorted_by(|a, b| a >= b), "{order:?}");
    let mut all = (0.0, 0.0);
    for tensor in &found.tensors {
        let (a, b) = (models[0][&tensor.name].values(), models[1][&tensor.name].values());
        let pairs = || a.iter().zip(&b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let sum = |term: fn((f64, f64)) -> f64| pairs().map(term).sum::<f64>();
        let (norm, other) = (sum(|(a, _)| a * a).sqrt(), sum(|(_, b)| b * b).sqrt());
        let distance = sum(|(a, b)| (a - b) * (a - b)).sqrt();
        let measure = tensor.measure.unwrap();
        let close = |ours: f64, expected: f64| (ours - expected).abs() < 1e-12 * (1.0 + expected);
        assert!(
            close(measure.distance, distance) && close(measure.norm_a, norm),
            "{}",
            tensor.name
        );
        assert!(
            close(measure.cosine.unwrap(), sum(|(a, b)| a * b) / (norm * other)),
            "{}",
            tensor.name
        );
        let largest = tensor.largest.as_ref().unwrap();
        let place = largest
            .at
            .iter()
            .zip(&tensor.shape)
            .fold(0, |place, (at, len)| place * len + at);
        let most = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert_eq!(
            (largest.a, largest.b, largest.difference),
            (a[place], b[place], most)
        );
        let differing = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        assert_eq!(tensor.differing_share, differing as f64 / a.len() as f64);
        all = (all.0 + distance * distance, all.1 + norm * norm);
    }
    let total = found.total.measure;
    assert!((total.relative.unwrap() - (all.0 / all.1).sqrt()).abs() < 1e-12);
    let names = |groups: &[tributary_merge::GroupDiff]| {
        groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&found.layers),
        ["layer 0", "layer 1", "embed_tokens", "lm_head", "norm"]
    );
    assert_eq!(
        names(&found.kinds),
        [
            "embed_tokens",
            "input_layernorm",
            "lm_head",
            "mlp.up_proj",
            "norm"
        ]
    );
    assert_eq!(found.kinds[3].tensors, 2);
}

#[test]
fn equal_models_are_equal() {
    let bench = Bench::new(&family(7, DType::BF16, 0));
    let found = compare(&bench, "base", "base", 2).unwrap();
    assert!(
        found.is_equal
            && found
                .tensors
                .iter()
                .all(|tensor| tensor.is_equal && tensor.largest.is_none())
    );
    assert_eq!(
        (found.total.measure.distance, found.total.measure.cosine),
        (0.0, Some(1.0))
    );
}

#[test]
fn what_cannot_be_measured_is_named() {
    let numbers = |values: &[u8]| Tensor {
        dtype: DType::U8,
        shape: vec![values.len()],
        bytes: values.to_vec(),
    };
    let float = |dtype, values: &[f32]| Tensor::new(dtype, &[values.len()], values);
    let a: Model = model([
        ("ids", numbers(&[1, 2, 3, 4])),
        ("only.a", float(DType::F32, &[1.0])),
        ("shape", float(DType::F32, &[1.0, 2.0])),
        ("type", float(DType::F32, &[1.0, 2.0])),
        ("broken", float(DType::F32, &[f32::NAN, 2.0])),
        ("zero", float(DType::F32, &[0.0, 0.0])),
    ]);
    let b: Model = model([
        ("ids", numbers(&[1, 2, 3, 5])),
        ("only.b", float(DType::F32, &[1.0])),
        ("shape", float(DType::F32, &[1.0])),
        ("type", float(DType::BF16, &[1.0, 2.0])),
        ("broken", float(DType::F32, &[1.0, 3.0])),
        ("zero", float(DType::F32, &[0.0, 1.0])),
    ]);
    let bench = Bench::new(&[a, b]);
    let mut fields = configuration();
    fields["rope_theta"] = json!(5e5);
    std::fs::write(bench.path("tuned-1/config.json"), fields.to_string()).unwrap();
    std::fs::write(
        bench.path("tuned-1/tokenizer.json"),
        r#"{"model": {"vocab": {"x": 0, "y": 1}}}"#,
    )
    .unwrap();
    std::fs::write(
        bench.path("base/tokenizer.json"),
        r#"{"model": {"vocab": {"x": 1, "z": 0}}}"#,
    )
    .unwrap();
    let found = compare(&bench, "base", "tuned-1", 2).unwrap();
    let place = bench.folder.path().to_str().unwrap();
    let mut value = serde_json::to_value(&found).unwrap();
    for side in ["a", "b"] {
        value[side]["digest"] = json!("[digest]");
    }
    insta::assert_snapshot!(
        "named",
        serde_json::to_string_pretty(&value)
            .unwrap()
            .replace(place, "[folder]")
    );
}
