//! Token ids against transformers itself, where `TRIBUTARY_PYTHON` names a Python that has it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says what it skips"
)]

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tributary_data::{Record, Tokenizer, World};
use tributary_store::Store;

const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Loads each directory and prints, for each text, the ids of `tokenizer(text)`, and for the last the rendered chat.
const SCRIPT: &str = r#"
import json, sys
from transformers import AutoTokenizer
texts, chat, directories = json.load(sys.stdin)
out = []
for directory in directories:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    rendered = tokenizer.apply_chat_template(chat, tokenize=False) if tokenizer.chat_template else None
    out.append({"ids": [tokenizer(text)["input_ids"] for text in texts], "chat": rendered,
                "roles": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]})
print(json.dumps(out))
"#;

fn ask_transformers(question: &Value) -> Option<Vec<Value>> {
    let Ok(python) = std::env::var("TRIBUTARY_PYTHON") else {
        eprintln!("skipped: TRIBUTARY_PYTHON names no Python with transformers");
        return None;
    };
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), question).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    // transformers may have a word to say before.
    let answer = String::from_utf8(output.stdout).unwrap();
    Some(serde_json::from_str(answer.lines().last().unwrap()).unwrap())
}

fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\n\n",
        "  two  spaces ",
        "it's 12345.67",
        "ünïcödé 世界 🦊\u{200d}",
        "a<|im_end|>b\n<|endoftext|>",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend(
        World::new(1)
            .stories(20)
            .into_iter()
            .filter_map(|record| match record {
                Record::Text(text) => Some(text),
                _ => None,
            }),
    );
    texts
}

/// A tokenizer of ours, and variants of it with what other models' tokenizers have.
fn variants() -> Vec<Vec<(String, Vec<u8>)>> {
    let plain = Tokenizer::train_byte_bpe(texts().into_iter(), 600, &SPECIAL)
        .unwrap()
        .to_files();
    let with = |change: &dyn Fn(&mut Value, &mut Value)| {
        let mut files = plain.clone();
        let mut tokenizer: Value = serde_json::from_slice(&files[0].1).unwrap();
        let mut config: Value = serde_json::from_slice(&files[1].1).unwrap();
        change(&mut tokenizer, &mut config);
        files[0].1 = serde_json::to_vec(&tokenizer).unwrap();
        files[1].1 = serde_json::to_vec(&config).unwrap();
        files
    };
    let bos_first = with(&|tokenizer, config| {
        let bos = json!({"SpecialToken": {"id": "<|im_start|>", "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        tokenizer["post_processor"] = json!({"type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text, text],
            "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}}});
        config["bos_token"] = json!("<|im_start|>");
        config["added_tokens_decoder"] = json!({"1": {"content": "<|im_start|>", "lstrip": false, "rstrip": false,
            "single_word": false, "normalized": false, "special": true}});
    });
    let byte_level_processor = with(&|tokenizer, config| {
        tokenizer["post_processor"] =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
        config["pad_token"] = Value::Null;
    });
    let truncating = with(&|tokenizer, _| {
        tokenizer["truncation"] =
            json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    });
    let sentencepiece = with(&|tokenizer, _| {
        // The shape of Llama 2: spaces become a letter, one goes before every text, unknown letters fall back to bytes.
        let mut vocab = serde_json::Map::new();
        for token in SPECIAL.iter().copied().chain(["<unk>"]) {
            vocab.insert(token.to_owned(), json!(vocab.len()));
        }
        for byte in 0..256 {
            vocab.insert(format!("<0x{byte:02X}>"), json!(vocab.len()));
        }
        for letter in "▁etaoinshrdlucmfwypvbgkjqxz".chars() {
            vocab.insert(letter.to_string(), json!(vocab.len()));
        }
        for token in ["▁t", "he", "▁the", "an"] {
            vocab.insert(token.to_owned(), json!(vocab.len()));
        }
        tokenizer["model"] = json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": vocab,
            "merges": [["▁", "t"], ["h", "e"], ["▁t", "he"], ["a", "n"]]});
        tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
        tokenizer["pre_tokenizer"] = Value::Null;
        tokenizer["decoder"] = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    });
    vec![
        plain.clone(),
        bos_first,
        byte_level_processor,
        truncating,
        sentencepiece,
    ]
}

#[test]
fn ids_roles_and_chats_equal_transformers() {
    let directory = tempfile::tempdir().unwrap();
    let mut directories = Vec::new();
    for (index, files) in variants().iter().enumerate() {
        let path = directory.path().join(index.to_string());
        std::fs::create_dir(&path).unwrap();
        for (name, bytes) in files {
            std::fs::write(path.join(name), bytes).unwrap();
        }
        directories.push(path.to_str().unwrap().to_owned());
    }
    let chat = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]);
    let Some(answers) = ask_transformers(&json!([texts(), chat, directories])) else {
        return;
    };
    for (path, answer) in directories.iter().zip(&answers) {
        let tokenizer = Tokenizer::load(&Store::open(path).unwrap()).unwrap();
        for (text, theirs) in texts().iter().zip(answer["ids"].as_array().unwrap()) {
            let ours = json!(tokenizer.encode(text).unwrap());
            assert_eq!(ours, *theirs, "{path}: {text:?}");
        }
        let messages: Vec<_> = serde_json::from_value(chat.clone()).unwrap();
        assert_eq!(
            json!(
                tokenizer
                    .chat_template()
                    .unwrap()
                    .render(&messages, false)
                    .unwrap()
            ),
            answer["chat"]
        );
        let roles = &answer["roles"];
        assert_eq!(
            json!([tokenizer.bos(), tokenizer.eos()]),
            json!([roles[0], roles[1]]),
            "{path}"
        );
    }
}

#[test]
fn a_continuation_has_no_space_put_into_it() {
    let files = variants().pop().unwrap();
    let load = |file: &str| {
        Ok(files
            .iter()
            .find(|(name, _)| name == file)
            .map(|(_, bytes)| bytes.clone()))
    };
    let tokenizer = Tokenizer::from_files("sentencepiece", &mut { load }).unwrap();
    let text = |ids: Vec<u32>| {
        ids.into_iter()
            .map(|id| tokenizer.token(id).unwrap())
            .collect::<String>()
    };
    assert_eq!(text(tokenizer.encode_plain("the hen").unwrap()), "▁the▁hen");
    assert_eq!(text(tokenizer.encode_continuation("the hen").unwrap()), "the▁hen");
    assert_eq!(
        text(tokenizer.encode_continuation(" the hen").unwrap()),
        "▁the▁hen"
    );
}
