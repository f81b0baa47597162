//! Merge documents, good and bad: every diagnostic as a user sees it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use tributary_merge::{METHODS, MergeConfig, MergeSpec};

fn message(yaml: &str) -> String {
    match MergeConfig::parse(yaml, "merge.yml") {
        Ok(config) => format!("accepted: {}", serde_json::to_string(&config.spec).unwrap()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_document_of_mergekit_is_read() {
    insta::assert_snapshot!(
        "mergekit_document",
        message(
            "
models:
  - model: a
    parameters: {weight: 0.5}
  - model: s3://bucket/b
    name: second
    parameters:
      weight: [0, 0.5, 1]
  - model: c
    parameters:
      weight:
        - filter: mlp
          value: 1e-1
        - value: 1
merge_method: linear
parameters:
  normalize: false
  int8_mask: true
dtype: float32
out_dtype: bfloat16
tokenizer_source: base
"
        )
    );
}

#[test]
fn unknown_words_get_suggestions() {
    insta::assert_snapshot!(
        "suggestions_for_keys",
        message(
            "
models:
  - model: a
    parameters: {weight: 0.5}
  - modle: b
merge_method: task_aritmetic
bse_model: x
dtype: bfloat61
"
        )
    );
    insta::assert_snapshot!(
        "suggestions_for_parameters",
        message(
            "
models: [{model: a, parameters: {weigth: 0.5}}, {model: b}]
base_model: c
merge_method: metagpt
parameters: {scope: layers}
tokenizer_source: d
"
        )
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    insta::assert_snapshot!(
        "all_mistakes",
        message(
            "
merge_method: task_arithmetic
models:
  - model: a
  - model: 12
  - model: b
    parameters: {weight: heavy, lambda: 2, normalize: 1}
parameters: {lambda: [1, 2], normalize: yes please}
"
        )
    );
}

#[test]
fn slices_modules_and_tokenizers_are_read() {
    insta::assert_snapshot!(
        "slices",
        message(
            "
merge_method: task_arithmetic
base_model: base
slices:
  - sources:
      - {model: base, layer_range: [0, 4]}
      - {model: a, layer_range: [0, 4], parameters: {weight: 0.5}}
    parameters: {lambda: 0.9}
  - sources:
      - {model: base, layer_range: [2, 6]}
      - {model: b+adapter, layer_range: [4, 8], parameters: {weight: [0, 1]}}
    residual_weight: ~
compat: mergekit
"
        )
    );
    insta::assert_snapshot!(
        "modules_and_tokenizer",
        message(
            "
merge_method: linear
name: middle
modules:
  default:
    models: [{model: a}, {model: b}]
    parameters: {weight: 1}
tokenizer:
  source: union
  pad_to_multiple_of: 64
  tokens:
    <|im_start|>: {source: a, force: true}
    '<pad>': {source: {kind: zero}}
    '<|x|>': {source: {kind: model_token, model: b, token_id: 3}}
    '<|y|>': {source: {kind: model_token, model: b, token: hello}}
chat_template: chatml
"
        )
    );
}

#[test]
fn mistakes_in_slices_and_tokenizers_have_places() {
    let documents = [
        "merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [4, 4]}]}]\n",
        "merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: 4}]}, {surces: []}]\n",
        "merge_method: slerp\nbase_model: c\nparameters: {t: 0.5}\nslices:\n- sources:\n  - {model: a, layer_range: [0, 4]}\n  - {model: b, layer_range: [0, 5]}\n",
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}]\nslices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n",
        "merge_method: linear\nparameters: {weight: 1}\nmodules: {x: {models: [{model: a}]}, y: {}}\n",
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}]\ntokenizer_source: unoin\ntokenizer: {source: a}\n",
        "merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [0, 1]}], residual_weight: 0.5}]\n",
        "merge_method: ties\nbase_model: b\nparameters: {weight: metagpt}\nmodels: [{model: a, parameters: {weight: 0.5}}]\n",
        "merge_method: dare_ties\nbase_model: b\nparameters: {weight: 1, rescale: false, density: metagpt}\nmodels: [{model: a}]\n",
        "name: x\nmerge_method: linear\nmodels: [{model: y}]\n---\nname: y\nmerge_method: linear\nmodels: [{model: x}]\n---\nmerge_method: linear\nmodels: [{model: x}]\n",
        "name: x\nmerge_method: linear\nmodels: [{model: a}]\n---\nname: x\nmerge_method: linear\nmodels: [{model: a}]\n",
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}]\nchat_template: chatlm\ncompat: megekit\n",
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}]\ntokenizer:\n  pad_to_multiple_of: 0\n  tokens:\n    x: {source: {kind: zreo}}\n    y: {source: z}\n    z: {source: {kind: model_token, model: a}}\n    w: {force: 1}\n",
    ];
    let all: Vec<String> = documents
        .iter()
        .map(|yaml| format!("{yaml}{}", message(yaml)))
        .collect();
    insta::assert_snapshot!("mistakes_in_slices", all.join("\n\n"));
}

#[test]
fn broken_documents() {
    let documents = [
        "",
        "- 1",
        "merge_method: [linear",
        "merge_method: linear\nmerge_method: linear\nmodels: []\n",
        "merge_method: linear\nmodels:\n",
        "merge_method: linear\nmodels: a\n",
        "\tx: 1\n",
        "merge_method: ~\nmodels: [{}]\n",
        "merge_method: metagpt\nbase_model: a\nmodels: [{model: a}]\n",
        "merge_method: linear\nmodels: [{model: a, parameters: {weight: [{filter: x, vlue: 1}, {value: []}]}}]\n",
        "merge_method: linear\nmodels: [{model: a, name: n}, {model: b, name: n}]\nparameters: {weight: .nan}\n",
        "a: 1\n---\nb: 2\n",
    ];
    let all: Vec<String> = documents
        .iter()
        .map(|yaml| format!("{yaml:?}\n{}", message(yaml)))
        .collect();
    insta::assert_snapshot!("broken_documents", all.join("\n\n"));
}

/// A pipeline gives the same document as a value, and gets the same checks.
#[test]
fn documents_as_values() {
    let value = serde_json::json!({
        "merge_method": "task_arithmetic", "base_model": "base", "out_dtype": "bfloat16",
        "models": [{"model": "a", "parameters": {"weight": 0.3}}, {"model": "b", "parameters": {"weight": [0.1, 1]}}],
    });
    let spec: MergeSpec = serde_json::from_value(value.clone()).unwrap();
    assert!(spec.check().is_empty());
    assert_eq!(
        serde_json::to_value(&spec).unwrap(),
        serde_json::json!({
            "merge_method": "task_arithmetic", "base_model": "base", "out_dtype": "bfloat16",
            "models": [{"model": "a", "parameters": {"weight": 0.3}}, {"model": "b", "parameters": {"weight": [0.1, 1]}}],
        })
    );
    let error = serde_json::from_value::<MergeSpec>(
        serde_json::json!({"merge_metod": "x", "models": [{"model": 1}]}),
    );
    insta::assert_snapshot!("mistakes_in_a_value", error.unwrap_err());
    let schema = schemars::schema_for!(MergeSpec);
    assert_eq!(
        schema.get("additionalProperties"),
        Some(&serde_json::Value::Bool(false))
    );
    assert_eq!(schema.get("required"), Some(&serde_json::json!(["merge_method"])));
}

/// `scripts/make_merge_methods.py` has a row for each, so that docs/merging-results.md has one.
#[test]
fn every_method_stands_in_the_pipelines_that_compare_them() {
    for name in ["merge-methods.yaml", "merge-methods-smollm2.yaml"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../pipelines")
            .join(name);
        let pipeline = std::fs::read_to_string(path).unwrap();
        let compared = |method: &str| {
            pipeline
                .lines()
                .any(|line| line.trim() == format!("merge_method: {method}"))
        };
        let missing: Vec<&str> = METHODS
            .iter()
            .map(|method| method.name())
            .filter(|name| !compared(name))
            .collect();
        assert!(
            missing.is_empty(),
            "{name} lacks {missing:?}: add them to scripts/make_merge_methods.py"
        );
    }
}
