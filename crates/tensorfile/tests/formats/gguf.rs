//! GGUF: reading tensors by range and importing whole Llamas.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value as Json, json};
use tributary_tensorfile::gguf::{Gguf, MetadataValue, QuantType};
use tributary_tensorfile::{DType, Foreign};

use crate::support::{GgufFile, RemoteFile, Tensor, Value, tiny_llama};

fn import(file: &GgufFile) -> Result<Foreign, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    Foreign::open(&path).map_err(|error| error.to_string())
}

fn file(foreign: &Foreign, name: &str) -> Json {
    let (_, bytes) = foreign.files.iter().find(|(present, _)| present == name).unwrap();
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn a_llama_is_renamed_and_its_rotation_turned() {
    let foreign = import(&tiny_llama(false)).unwrap();
    assert_eq!(foreign.format, "GGUF");
    let names: Vec<&str> = foreign
        .tensors
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    assert_eq!(names[0], "model.embed_tokens.weight");
    assert_eq!(names[2], "model.layers.0.self_attn.q_proj.weight");
    assert_eq!(names[9], "model.layers.0.mlp.down_proj.weight");
    assert_eq!(names[11], "lm_head.weight");
    assert_eq!(foreign.tensors[9].shape, [32, 64]);
    assert!(foreign.tensors.iter().all(|tensor| tensor.dtype == DType::F32));
    // Row r of a tensor t begins with t + r * columns / 4096; rows 0, 2, ... of a head come first.
    let rows = |index: usize, columns: usize| -> Vec<u64> {
        let values = foreign.read_f32(index).unwrap();
        let row = |value: &f32| ((value - index as f32) * 4096.0) as u64 / columns as u64;
        values.iter().step_by(columns).map(row).collect()
    };
    let head: Vec<u64> = (0..8)
        .map(|pair| 2 * pair)
        .chain((0..8).map(|pair| 2 * pair + 1))
        .collect();
    let second: Vec<u64> = head.iter().map(|row| row + 16).collect();
    assert_eq!(rows(2, 32), [&head[..], &second].concat());
    assert_eq!(rows(3, 32), head);
    assert_eq!(rows(4, 32), (0..16).collect::<Vec<u64>>());
    assert!(foreign.read_f32(12).is_err());
}

#[test]
fn the_configuration_is_that_of_transformers() {
    let config = import(&tiny_llama(false)).unwrap().config;
    let expected = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 259, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": false,
        "attention_bias": false, "mlp_bias": false, "bos_token_id": null, "eos_token_id": 0, "torch_dtype": "float32",
    });
    assert_eq!(config, expected);
    let mut tied = tiny_llama(false);
    tied.tensors.pop();
    let tied = import(&tied).unwrap();
    assert_eq!(tied.config["tie_word_embeddings"], json!(true));
    assert_eq!(tied.tensors.len(), 11);
}

#[test]
fn rotary_scaling_is_kept() {
    let scaled = |kind: &str, factor: f32| {
        tiny_llama(false)
            .with("llama.rope.scaling.type", Value::Text(kind.into()))
            .with("llama.rope.scaling.factor", Value::F32(factor))
            .with("llama.rope.scaling.original_context_length", Value::U32(64))
    };
    let scaling = |file: &GgufFile| import(file).map(|foreign| foreign.config["rope_scaling"].clone());
    assert_eq!(
        scaling(&scaled("linear", 4.0)).unwrap(),
        json!({"rope_type": "linear", "factor": 4.0})
    );
    let yarn = json!({"rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 64});
    assert_eq!(scaling(&scaled("yarn", 2.5)).unwrap(), yarn);
    assert_eq!(scaling(&scaled("none", 4.0)).unwrap(), Json::Null);
    assert!(
        scaling(&scaled("longrope", 4.0))
            .unwrap_err()
            .contains("longrope")
    );
    let mut llama3 = tiny_llama(false);
    let data = [7.0f32; 8].into_iter().flat_map(f32::to_le_bytes).collect();
    llama3.tensors.push(Tensor {
        name: "rope_freqs.weight".into(),
        dimensions: vec![8],
        kind: 0,
        data,
        offset: None,
    });
    assert!(scaling(&llama3).unwrap_err().contains("Llama 3"));
}

#[test]
fn a_byte_level_tokenizer_encodes_as_its_model_was_trained() {
    let foreign = import(&tiny_llama(false)).unwrap();
    let json = file(&foreign, "tokenizer.json");
    assert_eq!(json["added_tokens"][0]["content"], json!("<|end|>"));
    let tokenizer = tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap();
    let encode = |text: &str| tokenizer.encode(text, true).unwrap().get_tokens().to_vec();
    assert_eq!(encode("ab ab"), ["ab", "\u{120}ab"]);
    // Digits are cut off one by one, so that a space before one stays alone.
    assert_eq!(encode("12 3"), ["1", "2", "\u{120}", "3"]);
    assert_eq!(encode("ab<|end|>"), ["ab", "<|end|>"]);
    let text = "caf\u{e9} \u{4f60}\n\t  42 \u{1f600}";
    let ids = tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    let config = file(&foreign, "tokenizer_config.json");
    assert_eq!(config["eos_token"], json!("<|end|>"));
    assert!(config.get("bos_token").is_none());
    assert_eq!(file(&foreign, "generation_config.json")["eos_token_id"], json!(0));
}

#[test]
fn a_sentence_piece_tokenizer_merges_by_score() {
    let template = "{{ messages }}";
    let built = tiny_llama(true).with("tokenizer.chat_template", Value::Text(template.into()));
    let foreign = import(&built).unwrap();
    let json = file(&foreign, "tokenizer.json").to_string();
    let tokenizer = tokenizers::Tokenizer::from_bytes(json).unwrap();
    let encode = |text: &str| tokenizer.encode(text, true).unwrap().get_tokens().to_vec();
    assert_eq!(encode("ab a"), ["<s>", "\u{2581}ab", "\u{2581}a"]);
    assert_eq!(encode("aab"), ["<s>", "\u{2581}a", "ab"]);
    assert_eq!(encode("\u{e9}"), ["<s>", "\u{2581}", "<0xC3>", "<0xA9>"]);
    let ids = tokenizer
        .encode("ab \u{1f600} a", true)
        .unwrap()
        .get_ids()
        .to_vec();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "ab \u{1f600} a");
    let config = file(&foreign, "tokenizer_config.json");
    assert_eq!(config["chat_template"], json!(template));
    assert_eq!(config["add_bos_token"], json!(true));

    let plain = built
        .with("tokenizer.ggml.add_bos_token", Value::Bool(false))
        .with("tokenizer.ggml.add_eos_token", Value::Bool(true))
        .with("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    let json = file(&import(&plain).unwrap(), "tokenizer.json").to_string();
    let tokenizer = tokenizers::Tokenizer::from_bytes(json).unwrap();
    let encoded = tokenizer.encode("ab a", true).unwrap();
    assert_eq!(encoded.get_tokens(), ["ab", "\u{2581}a", "</s>"]);
    assert_eq!(tokenizer.decode(encoded.get_ids(), true).unwrap(), "ab a");
}

#[test]
fn what_is_no_plain_llama_is_refused_before_anything_is_read() {
    let llama = tiny_llama(false);
    let mut extra = llama.clone();
    extra.tensors.push(Tensor {
        name: "blk.0.attn_q.bias".into(),
        ..llama.tensors[1].clone()
    });
    let mut missing = llama.clone();
    missing.tensors.remove(4);
    let size = |key: &str, value: u32| llama.with(&format!("llama.{key}"), Value::U32(value));
    let token = |key: &str, value: Value| llama.with(&format!("tokenizer.ggml.{key}"), value);
    let texts = |texts: &[&str]| Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
    let spm = tiny_llama(true);
    let cases = [
        (
            llama.with("general.architecture", Value::Text("mamba".into())),
            "mamba",
        ),
        (llama.without("general.architecture"), "architecture"),
        (extra, "blk.0.attn_q.bias"),
        (missing, "\"blk.0.attn_v.weight\""),
        (size("block_count", 2), "blk.1.attn_norm.weight"),
        (size("block_count", 100_000), "do not make a Llama"),
        (size("block_count", 0), "not a size"),
        (size("attention.head_count", 3), "blk.0.attn_q.weight"),
        (size("attention.head_count", 4), "blk.0.attn_q.weight"),
        (size("attention.head_count_kv", 2), "blk.0.attn_k.weight"),
        (size("rope.dimension_count", 15), "do not make a Llama"),
        (size("attention.key_length", 32), "rotated"),
        (size("attention.value_length", 8), "values of 8"),
        (size("feed_forward_length", 63), "blk.0.ffn_gate.weight"),
        (llama.without("llama.context_length"), "context_length"),
        (
            llama.with("llama.embedding_length", Value::Text("32".into())),
            "not a size",
        ),
        (
            llama.changed("token_embd.weight", |tensor| tensor.dimensions = vec![32, 258]),
            "259 tokens",
        ),
        (token("model", Value::Text("bert".into())), "bert"),
        (token("pre", Value::Text("poro".into())), "poro"),
        (token("tokens", Value::U32(3)), "not a list of strings"),
        (token("tokens", texts(&[])), "0 tokens but 259"),
        (token("tokens", texts(&["a", "b", "a"])), "\"a\" stands twice"),
        (token("merges", texts(&["ab"])), "does not join"),
        (token("merges", texts(&["a c"])), "does not join"),
        (token("eos_token_id", Value::U32(259)), "outside the vocabulary"),
        (
            token("padding_token_id", Value::U32(u32::MAX)),
            "outside the vocabulary",
        ),
        (
            spm.with("tokenizer.ggml.scores", Value::Floats(vec![0.0])),
            "265 tokens but 1 scores",
        ),
        (spm.without("tokenizer.ggml.scores"), "265 tokens but 0 scores"),
    ];
    for (file, expected) in cases {
        let error = import(&file)
            .err()
            .unwrap_or_else(|| panic!("{expected}: nothing was refused"));
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        assert!(error.contains("model.gguf"), "{error:?} does not name the file");
    }
}

#[test]
fn a_remote_file_is_read_by_windows_and_ranges() {
    let mut built = tiny_llama(false);
    let data: Vec<u8> = (0..34 * 6).map(|byte| (byte * 7) as u8 & 0x3F).collect();
    built.tensors.push(Tensor {
        name: "q".into(),
        dimensions: vec![64, 3],
        kind: 8,
        data,
        offset: None,
    });
    let file: Arc<dyn tributary_tensorfile::ReadAt> = Arc::new(built.bytes());
    let requests = Arc::new(AtomicUsize::new(0));
    let remote = Gguf::open(
        "remote",
        Arc::new(RemoteFile {
            file: file.clone(),
            requests: requests.clone(),
        }),
    )
    .unwrap();
    assert_eq!(requests.load(Ordering::Relaxed), 1);
    let local = Gguf::open("local", file).unwrap();
    assert_eq!(remote.metadata(), local.metadata());
    assert_eq!(
        remote.metadata().get("llama.block_count"),
        Some(&MetadataValue::Integer(1))
    );
    let (there, here) = (remote.get("q").unwrap(), local.get("q").unwrap());
    assert_eq!(
        (here.kind, &here.shape[..], here.elements()),
        (QuantType::Q8_0, &[3, 64][..], 192)
    );
    let whole = local.read_f32(here).unwrap();
    assert_eq!(remote.read_f32(there).unwrap(), whole);
    let mut part = vec![0.0; 64];
    remote.dequantize(there, 96..160, &mut part).unwrap();
    assert_eq!(part, whole[96..160]);
    for range in [0..63, 1..65, 160..224] {
        assert!(remote.dequantize(there, range, &mut part).is_err());
    }
}
