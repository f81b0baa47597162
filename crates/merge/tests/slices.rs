//! Results of some layers of several models: configuration, names, record, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use serde_json::{Value, json};
use support::mergekit::llamas;
use support::{Bench, read};
use tributary_merge::MergeOptions;

/// Three models of three layers, with a list by layer.
fn bench() -> Bench {
    let (models, mut configuration) = llamas(false);
    configuration["layer_types"] = json!(["first", "second", "third"]);
    configuration["eos_token_id"] = json!([1, 2, 3]);
    Bench::with(&models, &configuration, u64::MAX)
}

#[test]
fn layers_and_their_lists_follow_the_slices() {
    let bench = bench();
    let yaml = "merge_method: passthrough\nslices:\n- sources: [{model: tuned-1, layer_range: [1, 3]}]\n- sources: [{model: \
                tuned-2, layer_range: [0, 2]}]\n";
    let (out, report) = bench.merge(yaml, &MergeOptions::default()).unwrap();
    let configuration: Value =
        serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(configuration["num_hidden_layers"], 4);
    assert_eq!(
        configuration["layer_types"],
        json!(["second", "third", "first", "second"])
    );
    assert_eq!(
        configuration["eos_token_id"],
        json!([1, 2, 3]),
        "no list by layer"
    );
    let (a, b, result) = (
        read(&bench.path("tuned-1")),
        read(&bench.path("tuned-2")),
        read(&out),
    );
    let norm = |layer: usize| format!("model.layers.{layer}.input_layernorm.weight");
    assert_eq!(result[&norm(0)].bytes, a[&norm(1)].bytes);
    assert_eq!(result[&norm(3)].bytes, b[&norm(1)].bytes);
    assert_eq!(
        result["model.embed_tokens.weight"].bytes, a["model.embed_tokens.weight"].bytes,
        "of the first slice"
    );
    assert_eq!(
        result["lm_head.weight"].bytes, b["lm_head.weight"].bytes,
        "of the last slice"
    );
    assert!(!result.contains_key(&norm(4)));
    assert_eq!(report.record.models.len(), 2);
}

#[test]
fn what_cannot_be_sliced_is_refused() {
    let bench = bench();
    let fail = |yaml: &str| {
        bench
            .merge(yaml, &MergeOptions::default())
            .unwrap_err()
            .to_string()
    };
    let past =
        fail("merge_method: passthrough\nslices:\n- sources: [{model: tuned-1, layer_range: [1, 4]}]\n");
    assert!(past.contains("tuned-1 has 3 layers"), "{past}");
    let metagpt = fail(
        "merge_method: metagpt\nbase_model: base\nslices:\n- sources: [{model: base, layer_range: [0, 1]}, {model: tuned-1, \
         layer_range: [0, 1]}]\n- sources: [{model: base, layer_range: [1, 3]}, {model: tuned-2, layer_range: [1, 3]}]\n",
    );
    assert!(
        metagpt.contains("every slice must merge the same ones"),
        "{metagpt}"
    );
    // The same models everywhere are one merge, and the slices weigh as one.
    let whole = "merge_method: metagpt\nbase_model: base\nmodels: [{model: tuned-1}, {model: tuned-2}]\n";
    let sliced = "merge_method: metagpt\nbase_model: base\nslices:\n- sources: &s [{model: base, layer_range: [0, 1]}, {model: \
                  tuned-1, layer_range: [0, 1]}, {model: tuned-2, layer_range: [0, 1]}]\n- sources: [{model: base, layer_range: \
                  [1, 3]}, {model: tuned-1, layer_range: [1, 3]}, {model: tuned-2, layer_range: [1, 3]}]\n";
    let (whole, _) = bench.merge(whole, &MergeOptions::default()).unwrap();
    let (sliced, _) = bench.merge(sliced, &MergeOptions::default()).unwrap();
    let file = |folder: &std::path::Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(file(&whole) == file(&sliced));
}
