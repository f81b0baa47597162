//! What is done with models that do not fit, with buffers, tied heads, types and small files.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use support::{Bench, Tensor, configuration, document, family, model, read, write};
use tributary_merge::{MergeError, MergeOptions};
use tributary_store::{Artifact, Store};
use tributary_tensorfile::DType;

#[test]
fn every_difference_between_models_is_reported_at_once() {
    let mut models = family(31, DType::F32, 2);
    models[1].remove("model.norm.weight");
    models[2].insert(
        "model.layers.0.mlp.up_proj.weight".into(),
        Tensor::new(DType::F32, &[2, 2], &[0.0; 4]),
    );
    models[2].insert(
        "model.embed_tokens.weight".into(),
        Tensor::new(DType::F32, &[701, 300], &[0.0; 701 * 300]),
    );
    let bench = Bench::new(&models);
    let mut other = configuration();
    other["num_attention_heads"] = 4.into();
    write(&bench.path("tuned-1"), &models[1], &other, u64::MAX);
    let error = bench
        .merge(&document("metagpt", 2, &[], "", ""), &MergeOptions::default())
        .unwrap_err();
    insta::assert_snapshot!("incompatible_models", error);
}

#[test]
fn buffers_are_copied_and_a_tied_head_counts_once() {
    let mut models = family(32, DType::F32, 2);
    for (index, model) in models.iter_mut().enumerate() {
        let x = index as f32;
        model.insert(
            "model.rotary_emb.inv_freq".into(),
            Tensor::new(DType::F32, &[2], &[1.0 + x, 2.0]),
        );
        model.insert(
            "position_ids".into(),
            Tensor {
                dtype: DType::I64,
                shape: vec![1],
                bytes: vec![index as u8; 8],
            },
        );
        if index == 2 {
            model.remove("lm_head.weight");
        }
    }
    let mut tied = configuration();
    tied["tie_word_embeddings"] = true.into();
    let bench = Bench::with(&models, &tied, u64::MAX);
    let (out, report) = bench
        .merge(
            &document("metagpt", 2, &[], "", "bfloat16"),
            &MergeOptions::default(),
        )
        .unwrap();
    let merged = read(&out);
    assert_eq!(merged["model.rotary_emb.inv_freq"].values(), [1.0, 2.0]);
    assert_eq!(merged["position_ids"].bytes, [0; 8]);
    assert_eq!(merged["model.norm.weight"].dtype, DType::BF16);
    assert!(!merged.contains_key("lm_head.weight"));
    assert_eq!(
        report.record.tensors_copied,
        ["model.rotary_emb.inv_freq", "position_ids"]
    );
    let square: f64 = models[0]
        .iter()
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "lm_head.weight" | "model.rotary_emb.inv_freq" | "position_ids"
            )
        })
        .flat_map(|(name, base)| {
            models[1][name]
                .values()
                .into_iter()
                .zip(base.values())
                .collect::<Vec<_>>()
        })
        .map(|(x, base)| f64::from(x - base) * f64::from(x - base))
        .sum();
    assert!((report.record.models[0].norm_squared.unwrap() / square - 1.0).abs() < 1e-12);
}

#[test]
fn types_may_differ_between_models() {
    let base = family(33, DType::F32, 0).remove(0);
    let retyped = |dtype: DType| -> support::Model {
        base.iter()
            .map(|(name, t)| (name.clone(), Tensor::new(dtype, &t.shape, &t.values())))
            .collect()
    };
    let bench = Bench::new(&[
        base.clone(),
        retyped(DType::BF16),
        retyped(DType::F16),
        retyped(DType::F64),
    ]);
    let (out, _) = bench
        .merge(
            &document("linear", 3, &[1.0, 1.0, 2.0], "", ""),
            &MergeOptions::default(),
        )
        .unwrap();
    for (name, tensor) in read(&out) {
        // The first merged model decides the type: linear's base is no part of it.
        assert_eq!(tensor.dtype, DType::BF16);
        let (a, b, c) = (retyped(DType::BF16), retyped(DType::F16), base[&name].values());
        let expected: Vec<f32> = (0..c.len())
            .map(|i| {
                (0.25 * f64::from(a[&name].values()[i])
                    + 0.25 * f64::from(b[&name].values()[i])
                    + 0.5 * f64::from(c[i])) as f32
            })
            .take(50)
            .collect();
        let expected = Tensor::new(DType::BF16, &[expected.len()], &expected);
        assert_eq!(tensor.bytes[..expected.bytes.len()], expected.bytes, "{name}");
    }
}

#[test]
fn the_result_is_a_hugging_face_directory_and_an_artifact() {
    let bench = Bench::new(&family(34, DType::F32, 2));
    std::fs::write(
        bench.path("base").join("tokenizer.json"),
        r#"{"model": {"vocab": {"a": 0}}}"#,
    )
    .unwrap();
    std::fs::write(bench.path("base").join("generation_config.json"), "{}").unwrap();
    std::fs::write(
        bench.path("tuned-1").join("tokenizer.json"),
        r#"{"model": {"vocab": {"b": 0}}}"#,
    )
    .unwrap();
    let options = MergeOptions {
        max_shard_bytes: 400_000,
        ..MergeOptions::default()
    };
    let (out, report) = bench
        .merge(
            &document("task_arithmetic", 2, &[0.5, 0.25], "", "bfloat16"),
            &options,
        )
        .unwrap();
    assert_eq!(report.record.warnings.len(), 1, "{:?}", report.record.warnings);
    let artifact = Artifact::open(&Store::open(out.to_str().unwrap()).unwrap()).unwrap();
    let paths: Vec<&str> = artifact
        .manifest()
        .objects
        .iter()
        .map(|object| object.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "README.md",
            "config.json",
            "generation_config.json",
            "merge.json",
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json"
        ]
    );
    let configuration: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(configuration["torch_dtype"], "bfloat16");
    assert!(configuration.get("_name_or_path").is_none());
    let record: tributary_merge::MergeRecord =
        serde_json::from_slice(&std::fs::read(out.join("merge.json")).unwrap()).unwrap();
    assert_eq!(record, report.record);
    let names: Vec<&str> = artifact
        .manifest()
        .inputs
        .iter()
        .map(|input| input.name.as_str())
        .collect();
    assert_eq!(names, ["base", "models.tuned-1", "models.tuned-2"]);
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    insta::with_settings!({filters => vec![(r"directory:[0-9a-f]{16}", "directory:DIGEST")]}, {
        insta::assert_snapshot!("model_card", card);
    });
}

#[test]
fn values_that_are_not_numbers_are_named() {
    let mut models = family(35, DType::F32, 2);
    models[2].insert(
        "model.norm.weight".into(),
        Tensor::new(DType::F32, &[16], &[f32::NAN; 16]),
    );
    let bench = Bench::new(&models);
    let error = bench
        .merge(&document("metagpt", 2, &[], "", ""), &MergeOptions::default())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor model.norm.weight of tuned-2 holds values that are not finite numbers: the norm of its task vector is not defined"
    );
}

#[test]
fn models_that_cannot_be_opened_are_named() {
    let bench = Bench::new(&[model([("x", Tensor::new(DType::F32, &[1], &[1.0]))])]);
    std::fs::create_dir(bench.path("tuned-1")).unwrap();
    let error = bench
        .merge(&document("metagpt", 1, &[], "", ""), &MergeOptions::default())
        .unwrap_err();
    assert!(
        matches!(&error, MergeError::Model { model, .. } if model == "tuned-1"),
        "{error}"
    );
    assert!(
        error.to_string().contains("neither model.safetensors nor"),
        "{error}"
    );
    // A truncated file.
    write(
        &bench.path("tuned-1"),
        &model([("x", Tensor::new(DType::F32, &[4], &[1.0; 4]))]),
        &configuration(),
        u64::MAX,
    );
    let path = bench.path("tuned-1").join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let error = bench
        .merge(&document("metagpt", 1, &[], "", ""), &MergeOptions::default())
        .unwrap_err();
    assert!(
        matches!(&error, MergeError::Model { model, .. } if model == "tuned-1"),
        "{error}"
    );
}

/// The same merge again is success; anything else at the place is refused before work, with what to do.
#[test]
fn what_is_at_the_place_decides() {
    let bench = Bench::new(&family(36, DType::F32, 2));
    let out = Store::open(bench.path("out").to_str().unwrap()).unwrap();
    let metagpt = document("metagpt", 2, &[], "", "");
    let merge = |yaml: &str| bench.merge_into(yaml, &MergeOptions::default(), &out);
    merge(&metagpt).unwrap();
    let digest = || Artifact::open(&out).unwrap().digest();
    let first = digest();
    merge(&metagpt).unwrap();
    assert_eq!(digest(), first);
    let refused = |result: Result<tributary_merge::MergeReport, MergeError>, what: &str| {
        let error = result.unwrap_err();
        assert!(matches!(&error, MergeError::Occupied { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.to_string().contains("choose another place"), "{error}");
    };
    refused(
        merge(&document("linear", 2, &[], "", "")),
        "another artifact (merge model)",
    );
    // Headers and settings as before, but other weights.
    let changed = family(37, DType::F32, 2);
    write(&bench.path("tuned-1"), &changed[1], &configuration(), u64::MAX);
    refused(merge(&metagpt), "other models");
    assert_eq!(digest(), first);
    // A model that is no artifact is never written over: here one of the inputs.
    let base = std::fs::read(bench.path("base").join("model.safetensors")).unwrap();
    let place = Store::open(bench.path("base").to_str().unwrap()).unwrap();
    let result = bench.merge_into(&metagpt, &MergeOptions::default(), &place);
    refused(result, "a model without a manifest (config.json)");
    assert!(std::fs::read(bench.path("base").join("model.safetensors")).unwrap() == base);
    // What a killed commit of ours left is no hindrance.
    std::fs::remove_file(bench.path("out").join(tributary_store::MANIFEST)).unwrap();
    merge(&metagpt).unwrap();
}

#[test]
fn values_that_overflow_are_warned_about() {
    let small = |value: f32| model([("x", Tensor::new(DType::F16, &[3], &[value, 1.0, -value]))]);
    let bench = Bench::new(&[small(0.0), small(40_000.0), small(40_000.0)]);
    let warnings = |normalize: &str| {
        let document = document("linear", 2, &[1.0, 1.0], normalize, "");
        bench
            .merge(&document, &MergeOptions::default())
            .unwrap()
            .1
            .record
            .warnings
    };
    let said = warnings("normalize: false").join(" ");
    assert!(
        said.contains("2 values of the result are infinite") && said.contains("first of them x"),
        "{said}"
    );
    assert_eq!(warnings("normalize: true"), Vec::<String>::new());
}
