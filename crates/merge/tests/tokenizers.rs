//! Models whose tokenizers differ: rows follow their tokens, as in mergekit (a process; nothing of it is copied here).
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use support::mergekit::{llamas, merge, python, run};
use support::{Bench, Model, Tensor, random, read};
use tributary_merge::{MergeConfig, MergeOptions, Source, plan};
use tributary_store::Store;
use tributary_tensorfile::DType;

const HIDDEN: usize = 16;

/// Tokens of each model, in the order of their numbers, and those of them that are looked for literally.
const TOKENS: [(&[&str], &[&str]); 3] = [
    (&["a", "b", "c", "d", "ab", "cd"], &["<s>", "</s>"]),
    (&["b", "a", "c", "e", "f", "ef", "ab"], &["<s>", "</s>", "<user>"]),
    (&["a", "c", "e", "g", "b"], &["</s>", "<s>", "<user>", "<bot>"]),
];

fn tokenizer(index: usize) -> Value {
    let (plain, special) = TOKENS[index];
    let vocabulary: serde_json::Map<String, Value> = plain
        .iter()
        .enumerate()
        .map(|(number, token)| ((*token).to_string(), json!(number)))
        .collect();
    let merges: Vec<Value> = plain
        .iter()
        .filter(|token| token.len() == 2)
        .map(|token| json!([token[..1].to_string(), token[1..].to_string()]))
        .collect();
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(number, token)| {
            json!({"id": plain.len() + number, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": merges}})
}

/// A base and two others, with as many rows as each has tokens; the second has two rows more.
fn bench() -> Bench {
    let (mut models, configuration) = llamas(false);
    models.truncate(3);
    for (index, model) in models.iter_mut().enumerate() {
        for (name, seed) in [("model.embed_tokens.weight", 7), ("lm_head.weight", 77)] {
            let rows = rows(index);
            let values = random(seed + index as u64, rows * HIDDEN);
            model.insert(
                name.to_string(),
                Tensor::new(DType::F32, &[rows, HIDDEN], &values),
            );
        }
    }
    let bench = Bench::with(&models, &configuration, u64::MAX);
    for index in 0..models.len() {
        let folder = bench.path(&Bench::name(index));
        let mut configuration = configuration.clone();
        configuration["vocab_size"] = json!(rows(index));
        std::fs::write(folder.join("config.json"), configuration.to_string()).unwrap();
        std::fs::write(folder.join("tokenizer.json"), tokenizer(index).to_string()).unwrap();
        let settings = json!({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
            "chat_template": format!("{{{{ {} }}}}", index.min(1))});
        std::fs::write(folder.join("tokenizer_config.json"), settings.to_string()).unwrap();
    }
    bench
}

fn rows(index: usize) -> usize {
    let (plain, special) = TOKENS[index];
    plain.len() + special.len() + if index == 1 { 2 } else { 0 }
}

/// Every token of a result and its number.
fn numbers(folder: &Path) -> BTreeMap<String, usize> {
    let file: Value = serde_json::from_slice(&std::fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let plain = file["model"]["vocab"].as_object().unwrap();
    let added = file["added_tokens"].as_array().unwrap();
    plain
        .iter()
        .map(|(token, value)| (token.clone(), number(value)))
        .chain(added.iter().map(|token| {
            (
                token["content"].as_str().unwrap().to_string(),
                number(&token["id"]),
            )
        }))
        .collect()
}

fn row(model: &Model, tensor: &str, row: usize) -> Vec<f32> {
    model[tensor].values()[row * HIDDEN..(row + 1) * HIDDEN].to_vec()
}

fn documents(bench: &Bench) -> Vec<String> {
    let [base, a, b] = [0, 1, 2].map(|index| bench.path(&Bench::name(index)).display().to_string());
    let models = format!(
        "dtype: float32\nmodels:\n- {{model: {a}, parameters: {{weight: 0.3}}}}\n- {{model: {b}, parameters: {{weight: 0.6}}}}\n"
    );
    let with_base = format!("merge_method: task_arithmetic\nbase_model: {base}\n{models}");
    let linear = format!("merge_method: linear\n{models}- {{model: {base}, parameters: {{weight: 0.2}}}}\n");
    vec![
        format!("{with_base}tokenizer_source: union\n"),
        format!("{with_base}tokenizer_source: base\n"),
        format!("{with_base}tokenizer_source: {b}\n"),
        format!("{with_base}tokenizer:\n  source: union\n  pad_to_multiple_of: 8\n"),
        format!(
            "{with_base}tokenizer:\n  source: union\n  tokens:\n    <user>: {{source: {b}, force: true}}\n    ef: {{source: \
             {{kind: zero}}}}\n    <new>: {{source: {{kind: model_token, model: {a}, token: ef}}}}\n    <old>: {{source: {{kind: \
             model_token, model: {base}, token_id: 2}}}}\n"
        ),
        format!("base_model: {a}\n{linear}tokenizer_source: base\n"),
    ]
}

#[test]
fn rows_follow_their_tokens_as_in_mergekit() {
    let Some(python) = python() else {
        eprintln!("skipped: TRIBUTARY_PYTHON names no Python that has mergekit");
        return;
    };
    let bench = bench();
    let documents = documents(&bench);
    let written = documents.iter().enumerate().map(|(number, yaml)| {
        let file = bench.path(&format!("{number}.yml"));
        std::fs::write(&file, yaml).unwrap();
        (file, bench.path(&format!("theirs-{number}")))
    });
    run(&python, written);
    for (number, yaml) in documents.iter().enumerate() {
        let (ours, theirs) = (
            bench.path(&format!("ours-{number}")),
            bench.path(&format!("theirs-{number}")),
        );
        merge(yaml, &ours);
        let (our_numbers, their_numbers) = (numbers(&ours), numbers(&theirs));
        assert_eq!(
            our_numbers.keys().collect::<Vec<_>>(),
            their_numbers.keys().collect::<Vec<_>>(),
            "{yaml}"
        );
        let (ours, theirs) = (read(&ours), read(&theirs));
        let mut worst = 0.0f32;
        for tensor in ["model.embed_tokens.weight", "lm_head.weight"] {
            assert_eq!(ours[tensor].shape, theirs[tensor].shape, "{yaml}");
            let padded = our_numbers.len()..ours[tensor].shape[0];
            let pairs = our_numbers
                .iter()
                .map(|(token, number)| (*number, their_numbers[token]))
                .chain(padded.map(|row| (row, row)));
            for (our_row, their_row) in pairs {
                let values = row(&ours, tensor, our_row)
                    .into_iter()
                    .zip(row(&theirs, tensor, their_row));
                worst = values.map(|(x, y)| (x - y).abs()).fold(worst, f32::max);
            }
        }
        eprintln!("document {number}: {worst:e} apart");
        assert!(worst < 1e-6, "{worst} apart:\n{yaml}");
    }
}

/// What the result says of itself fits its rows, and its tokenizer splits text as the base's does and with the others'
/// merges after.
#[test]
fn a_union_is_a_whole_tokenizer() {
    let bench = bench();
    let out = bench.path("out");
    merge(
        &documents(&bench)[3].replace("tokenizer:", "chat_template: auto\ntokenizer:"),
        &out,
    );
    let json =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(out.join(name)).unwrap()).unwrap() };
    assert_eq!(json("config.json")["vocab_size"], 16);
    let tokenizer = json("tokenizer.json");
    let (tokens, base) = (numbers(&out), numbers(&bench.path("base")));
    assert!(
        base.iter().all(|(token, number)| tokens[token] == *number),
        "the base's numbers stay"
    );
    assert_eq!(
        tokenizer["model"]["merges"],
        json!([["a", "b"], ["c", "d"], ["e", "f"]])
    );
    assert_eq!(
        json("tokenizer_config.json")["chat_template"],
        "{{ 1 }}",
        "two of three have it"
    );
}

/// Special tokens are those of the model whose tokenizer is taken; other forms of it would lack what is added.
#[test]
fn special_tokens_are_the_tokenizers() {
    let bench = bench();
    for (index, number) in [(0, 6), (1, 7), (2, 5)] {
        let file = bench.path(&Bench::name(index)).join("config.json");
        let mut configuration: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        configuration["bos_token_id"] = json!(number);
        std::fs::write(&file, configuration.to_string()).unwrap();
    }
    std::fs::write(bench.path("base").join("vocab.json"), "{}").unwrap();
    let documents = documents(&bench);
    let special = |yaml: &str, name: &str| {
        let out = bench.path(name);
        merge(yaml, &out);
        let configuration: Value =
            serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
        (
            configuration["bos_token_id"].as_u64().unwrap(),
            out.join("vocab.json").exists(),
        )
    };
    assert_eq!(special(&documents[0], "special-union"), (6, false), "the base's");
    assert_eq!(
        special(&documents[1], "special-base"),
        (6, true),
        "nothing is added"
    );
    assert_eq!(
        special(&documents[2], "special-other"),
        (5, false),
        "the other model's"
    );
}

/// A token without a row in the embedding is found before anything is read.
#[test]
fn rows_that_are_not_there_are_refused() {
    let bench = bench();
    let file = bench.path("tuned-1").join("config.json");
    let mut configuration: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    configuration["vocab_size"] = json!(100);
    std::fs::write(&file, configuration.to_string()).unwrap();
    let mut tokenizer = tokenizer(1);
    tokenizer["added_tokens"][2]["id"] = json!(50);
    std::fs::write(
        bench.path("tuned-1").join("tokenizer.json"),
        tokenizer.to_string(),
    )
    .unwrap();
    let config = MergeConfig::parse(&documents(&bench)[0], "merge.yml").unwrap();
    let mut references: Vec<&str> = config
        .spec
        .references()
        .into_iter()
        .map(|(_, reference)| reference)
        .collect();
    references.sort_unstable();
    references.dedup();
    let sources: Vec<Source> = references
        .into_iter()
        .map(|reference| Source::open(reference, &Store::open(reference).unwrap()).unwrap())
        .collect();
    let error = plan(&config.spec, &sources, &MergeOptions::default())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("has fewer rows than its tokenizer has tokens (row 50 is needed)"),
        "{error}"
    );
}

/// As mergekit does it: rows of no token are left out, and plain tokens of others are looked for literally.
#[test]
fn compat_trims_rows_and_adds_tokens_literally() {
    let bench = bench();
    let a = bench.path(&Bench::name(1));
    let yaml = format!(
        "merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: {0}}}, {{model: {0}}}]\ntokenizer_source: base\n",
        a.display()
    );
    let (ours, theirs) = (bench.path("as-ours"), bench.path("as-theirs"));
    merge(&yaml, &ours);
    merge(&format!("{yaml}compat: mergekit\n"), &theirs);
    let rows = |folder: &Path| read(folder)["model.embed_tokens.weight"].shape[0];
    assert_eq!((rows(&ours), rows(&theirs)), (12, 10));
    let union = bench.path("union-as-theirs");
    merge(&format!("{}compat: mergekit\n", documents(&bench)[0]), &union);
    let tokenizer: Value =
        serde_json::from_slice(&std::fs::read(union.join("tokenizer.json")).unwrap()).unwrap();
    let added = tokenizer["added_tokens"].as_array().unwrap();
    assert!(added.iter().any(|token| token["content"] == "ef"), "{tokenizer}");
    assert_eq!(tokenizer["model"]["merges"], json!([["a", "b"], ["c", "d"]]));
}

/// Where every model numbers its tokens alike, nothing is gathered, and rows of no token stay.
#[test]
fn equal_tokenizers_change_nothing() {
    let bench = bench();
    let [base, a] = [0, 1].map(|index| bench.path(&Bench::name(index)));
    std::fs::remove_dir_all(&a).unwrap();
    std::fs::create_dir(&a).unwrap();
    for file in std::fs::read_dir(&base).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), a.join(file.file_name())).unwrap();
    }
    let yaml = format!(
        "merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: {}}}, {{model: {}}}]\n",
        base.display(),
        a.display()
    );
    let (plain, aligned) = (bench.path("plain"), bench.path("aligned"));
    merge(&yaml, &plain);
    merge(&format!("{yaml}tokenizer_source: union\n"), &aligned);
    for file in ["model.safetensors", "config.json", "tokenizer.json"] {
        assert_eq!(
            std::fs::read(plain.join(file)).unwrap(),
            std::fs::read(aligned.join(file)).unwrap(),
            "{file}"
        );
    }
}
