//! The result does not depend on threads, memory, shards or where inputs and output lie.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use proptest::prelude::*;
use support::{Bench, Tensor, configuration, document, family, random, read};
use tributary_merge::{MergeConfig, MergeError, MergeOptions, Published, Source, Watch, plan};
use tributary_store::{Artifact, Store};
use tributary_tensorfile::DType;

/// Every object but the manifest, whose digests would only repeat them.
fn objects(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

/// Every method: its models beside the base, whether they have weights, and parameters.
const CASES: [(&str, usize, bool, &str); 24] = [
    ("linear", 3, true, ""),
    ("task_arithmetic", 3, true, ""),
    ("metagpt", 3, false, ""),
    ("metagpt", 3, false, "scope: layer"),
    ("ties", 3, true, "density: 0.37"),
    ("ties", 2, true, "density: 0.5, vote: weighted"),
    ("dare_linear", 3, true, "density: 0.5, seed: 4"),
    ("dare_ties", 2, true, "density: 0.3"),
    ("dare_linear", 2, true, "density: 0.6, rescale: l1"),
    ("della", 2, true, "density: 0.5, epsilon: 0.2"),
    ("della_linear", 2, true, "density: 0.5, rescale: l1"),
    ("breadcrumbs", 3, true, "density: 0.8, gamma: 0.05"),
    ("breadcrumbs_ties", 2, true, "density: 0.5"),
    ("sce", 3, false, "select_topk: 0.4"),
    ("ram", 3, false, "epsilon: 0.01"),
    ("ramplus_tl", 3, false, "epsilon: 0.01"),
    ("model_stock", 3, false, ""),
    ("slerp", 1, false, "t: 0.3"),
    ("nuslerp", 2, true, ""),
    ("nuslerp", 2, true, "nuslerp_flatten: false"),
    ("multislerp", 3, true, ""),
    ("nearswap", 1, false, "t: 0.01"),
    ("arcee_fusion", 1, false, ""),
    ("passthrough", 1, false, ""),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn threads_memory_and_shards_do_not_matter(
        seed in 1u64..1_000_000,
        method in prop::sample::select(CASES.to_vec()),
        bf16: bool,
        threads in 1usize..7,
        memory in 9u64 << 20..60 << 20,
        input_shard in prop::sample::select(vec![1u64, 300_000, u64::MAX]),
        output_shard in prop::sample::select(vec![1u64, 200_000, u64::MAX]),
    ) {
        let models = family(seed, if bf16 { DType::BF16 } else { DType::F32 }, 3);
        let whole = Bench::new(&models);
        let cut = Bench::with(&models, &configuration(), input_shard);
        let (method, models, weights, parameters) = method;
        let yaml = document(method, models, if weights { &[0.3, 0.5, 0.1][..models] } else { &[] }, parameters, "");
        let (plain, first) = whole.merge(&yaml, &MergeOptions { threads: Some(1), ..MergeOptions::default() }).unwrap();
        let other = MergeOptions { threads: Some(threads), memory, ..MergeOptions::default() };
        let (same, second) = whole.merge(&yaml, &other).unwrap();
        prop_assert_eq!(objects(&plain), objects(&same));
        prop_assert_eq!(&first.record, &second.record);
        prop_assert!(second.execution.peak_buffer_bytes <= memory);
        // Other shards: other files and other digests of the directories, the same tensors and figures.
        let (cut, third) = cut.merge(&yaml, &MergeOptions { max_shard_bytes: output_shard, ..other }).unwrap();
        let bytes = |path: &Path| read(path).into_iter().map(|(name, tensor)| (name, tensor.bytes)).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&plain), bytes(&cut));
        for (one, two) in first.record.models.iter().zip(&third.record.models) {
            prop_assert_eq!(one.coefficient.to_bits(), two.coefficient.to_bits());
            prop_assert_eq!(one.norm.map(f64::to_bits), two.norm.map(f64::to_bits));
        }
        prop_assert_eq!(first.record.cosines, third.record.cosines);
    }
}

/// A remote store gets the same objects, written in order, and remote inputs give the same result.
#[test]
fn remote_and_local_agree() {
    let models = family(21, DType::BF16, 2);
    let bench = Bench::new(&models);
    for shard in [u64::MAX, 200_000] {
        let options = MergeOptions {
            threads: Some(4),
            max_shard_bytes: shard,
            ..MergeOptions::default()
        };
        let yaml = document("metagpt", 2, &[], "", "");
        let (local, _) = bench.merge(&yaml, &options).unwrap();
        let remote = Store::open(&format!("memory://merge-{shard}/models")).unwrap();
        bench
            .merge_into(&yaml, &options, &remote.child("local-to-remote").unwrap())
            .unwrap();
        for index in 0..3 {
            let name = Bench::name(index);
            for (file, bytes) in objects(&bench.path(&name)) {
                remote.child(&name).unwrap().put(&file, bytes).unwrap();
            }
        }
        let config = MergeConfig::parse(&yaml, "merge.yml").unwrap();
        let sources: Vec<Source> = (0..3)
            .map(|i| Source::open(&Bench::name(i), &remote.child(&Bench::name(i)).unwrap()).unwrap())
            .collect();
        let watch = Watch {
            progress: &|_| {},
            cancel: &AtomicBool::new(false),
        };
        let plan = plan(&config.spec, &sources, &options).unwrap();
        plan.publish(&remote.child("remote-to-remote").unwrap(), &watch)
            .unwrap();
        for place in ["local-to-remote", "remote-to-remote"] {
            for (file, bytes) in objects(&local) {
                let found = remote.child(place).unwrap().get(&file).unwrap();
                assert!(found == bytes, "{place}/{file} differs");
            }
        }
    }
}

/// A base measured before, by whoever made the models: no pass for the norms.
#[test]
fn recorded_norms_replace_the_first_pass() {
    let models = family(22, DType::F32, 2);
    let bench = Bench::new(&models);
    let (_, measured) = bench
        .merge(&document("metagpt", 2, &[], "", ""), &MergeOptions::default())
        .unwrap();
    let error = bench
        .merge(
            &document("metagpt", 2, &[], "norms: recorded", ""),
            &MergeOptions::default(),
        )
        .unwrap_err();
    assert!(
        error.to_string().contains("records no distance from this base"),
        "{error}"
    );
    // Publish the models as artifacts that record it.
    let publish = |name: &str, facts: serde_json::Value| {
        let store = Store::open(bench.path(name).to_str().unwrap()).unwrap();
        let publication = tributary_store::Publication::begin(&store);
        for (file, bytes) in objects(&bench.path(name)) {
            publication.put(&file, bytes).unwrap();
        }
        let facts = facts.as_object().unwrap().clone();
        let draft = tributary_store::ManifestDraft {
            kind: "model".into(),
            facts,
            ..Default::default()
        };
        publication.commit(draft).unwrap().manifest().digest()
    };
    let base = publish("base", serde_json::json!({}));
    for (index, model) in measured.record.models.iter().enumerate() {
        let fact = serde_json::json!({"distance_squared": {"from": base, "value": model.norm_squared}});
        publish(&Bench::name(index + 1), fact);
    }
    let (out, recorded) = bench
        .merge(
            &document("metagpt", 2, &[], "norms: recorded", ""),
            &MergeOptions::default(),
        )
        .unwrap();
    let (again, read_again) = bench
        .merge(&document("metagpt", 2, &[], "", ""), &MergeOptions::default())
        .unwrap();
    assert_eq!(
        recorded.execution.bytes_read * 5,
        read_again.execution.bytes_read * 2
    );
    for (one, two) in recorded.record.models.iter().zip(&read_again.record.models) {
        assert_eq!(one.coefficient, two.coefficient);
    }
    for (name, tensor) in read(&out) {
        assert!(tensor.bytes == read(&again)[&name].bytes, "{name}");
    }
}

#[test]
fn a_cancelled_merge_leaves_nothing() {
    let bench = Bench::new(&family(23, DType::F32, 2));
    let config = MergeConfig::parse(&document("metagpt", 2, &[], "", ""), "merge.yml").unwrap();
    let plan = plan(
        &config.spec,
        &bench.sources(&config).unwrap(),
        &MergeOptions::default(),
    )
    .unwrap();
    for place in [
        bench.path("cancelled").to_str().unwrap().to_string(),
        "memory://cancelled".to_string(),
    ] {
        let out = Store::open(&place).unwrap();
        for after in [0, 3, 9] {
            let (cancel, seen) = (AtomicBool::new(after == 0), AtomicUsize::new(0));
            let progress = |_| {
                if seen.fetch_add(1, Ordering::Relaxed) >= after {
                    cancel.store(true, Ordering::Relaxed);
                }
            };
            let result = plan.publish(
                &out,
                &Watch {
                    progress: &progress,
                    cancel: &cancel,
                },
            );
            assert!(matches!(result, Err(MergeError::Cancelled)), "{place} {after}");
            assert!(Artifact::try_open(&out).unwrap().is_none());
            let left = out.list("").unwrap();
            assert!(left.is_empty(), "{left:?}");
        }
        let watch = Watch {
            progress: &|_| {},
            cancel: &AtomicBool::new(false),
        };
        plan.publish(&out, &watch).unwrap();
    }
}

/// Buffers stay within what is allowed however many models there are.
#[test]
fn memory_is_bounded_for_any_number_of_models() {
    for count in [1, 3, 12] {
        let size = 400_000;
        let models: Vec<_> = (0..=count)
            .map(|index| {
                support::model([(
                    "x",
                    Tensor::new(DType::F32, &[size], &random(index as u64 + 1, size)),
                )])
            })
            .collect();
        let bench = Bench::new(&models);
        let memory = 8 << 20;
        let options = MergeOptions {
            memory,
            threads: Some(8),
            ..MergeOptions::default()
        };
        let (_, report) = bench
            .merge(&document("metagpt", count, &[], "", ""), &options)
            .unwrap();
        assert!(
            report.execution.peak_buffer_bytes <= memory,
            "{:?}",
            report.execution
        );
    }
    let bench = Bench::new(&family(24, DType::F32, 2));
    let options = MergeOptions {
        memory: 1000,
        ..MergeOptions::default()
    };
    let error = bench
        .merge(&document("metagpt", 2, &[], "", ""), &options)
        .unwrap_err();
    assert!(matches!(error, MergeError::Memory { .. }), "{error}");
}

/// A manifest that records another distance than the tensors have is named, and not believed unless asked to.
#[test]
fn wrong_recorded_norms_are_noticed() {
    let models = family(25, DType::F32, 1);
    let bench = Bench::new(&models);
    let config = MergeConfig::parse(&document("metagpt", 1, &[], "", ""), "merge.yml").unwrap();
    let identity = |digest: &str, facts: serde_json::Value| tributary_merge::Identity {
        kind: "model".into(),
        digest: digest.into(),
        facts: facts.as_object().unwrap().clone(),
    };
    let open = |name: &str, identity| {
        let store = Store::open(bench.path(name).to_str().unwrap()).unwrap();
        Source::open_as(name, &store, identity).unwrap()
    };
    let base = open("base", identity("b", serde_json::json!({})));
    let merge = |from: &str, value: f64| {
        let fact = serde_json::json!({"distance_squared": {"from": from, "value": value}});
        let sources = [base.clone(), open("tuned-1", identity("t", fact))];
        let plan = plan(&config.spec, &sources, &MergeOptions::default()).unwrap();
        let watch = Watch {
            progress: &|_| {},
            cancel: &AtomicBool::new(false),
        };
        let out = Store::open(&format!("memory://recorded-{from}-{value}")).unwrap();
        let Published::Whole(_, report) = plan.publish(&out, &watch).unwrap() else {
            unreachable!()
        };
        report.record
    };
    let record = merge("b", 1.0);
    assert_eq!(record.norms, Some(tributary_merge::Norms::Measured));
    assert_eq!(record.warnings.len(), 1, "{:?}", record.warnings);
    assert!(
        record.warnings[0].contains("records a squared distance of 1e0"),
        "{:?}",
        record.warnings
    );
    let right = record.models[0].norm_squared.unwrap();
    assert!(merge("b", right).warnings.is_empty());
    // Recorded of another base: not about this merge.
    assert!(merge("other", 1.0).warnings.is_empty());
}
