//! The tokenizer in a GGUF file's metadata as Hugging Face's files.

use serde_json::{Map, Value, json};

use super::file::{Gguf, MetadataValue};
use crate::error::{Result, TensorFileError};
use crate::sentencepiece::{Piece, PieceKind, added_token, pretty, tokenizer_files};

/// The recovered tokenizer.
pub(super) struct Vocabulary {
    pub(super) bos: Option<usize>,
    pub(super) eos: Option<usize>,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// Reads `tokenizer.ggml.*`: byte-level BPE (`gpt2`) or SentencePiece BPE (`llama`).
pub(super) fn read(file: &Gguf) -> Result<Vocabulary> {
    let fault = |reason: String| TensorFileError::malformed(file.name(), reason);
    let text = |key: &str| match file.metadata.get(key) {
        Some(MetadataValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let integer = |key: &str| match file.metadata.get(key) {
        Some(MetadataValue::Integer(value)) => usize::try_from(*value).ok(),
        _ => None,
    };
    let flag = |key: &str| matches!(file.metadata.get(key), Some(MetadataValue::Bool(true)));
    let tokens = texts(file, "tokenizer.ggml.tokens")?;
    let kinds: Vec<PieceKind> = match file.metadata.get("tokenizer.ggml.token_type") {
        Some(MetadataValue::List(kinds)) => kinds.iter().map(kind).collect(),
        _ => vec![PieceKind::Normal; tokens.len()],
    };
    if kinds.len() != tokens.len() {
        return Err(fault(format!("{} tokens but {} token types", tokens.len(), kinds.len())));
    }
    let (bos, eos) = (integer("tokenizer.ggml.bos_token_id"), integer("tokenizer.ggml.eos_token_id"));
    for id in [bos, eos].into_iter().flatten() {
        if id >= tokens.len() {
            return Err(fault(format!("special token {id} is outside the vocabulary of {}", tokens.len())));
        }
    }
    let template = text("tokenizer.chat_template");
    let files = match text("tokenizer.ggml.model") {
        Some("gpt2") => {
            let merges = texts(file, "tokenizer.ggml.merges")?;
            let split = text("tokenizer.ggml.pre").unwrap_or("default");
            let add_bos = flag("tokenizer.ggml.add_bos_token");
            let ids = Ids { bos, eos, unknown: integer("tokenizer.ggml.unknown_token_id"), padding: integer("tokenizer.ggml.padding_token_id") };
            byte_level_files(file, &tokens, &kinds, &merges, split, &ids, add_bos, template)?
        }
        Some("llama") => {
            let scores: Vec<f32> = match file.metadata.get("tokenizer.ggml.scores") {
                Some(MetadataValue::List(scores)) => scores
                    .iter()
                    .map(|score| if let MetadataValue::Float(score) = score { *score as f32 } else { 0.0 })
                    .collect(),
                _ => return Err(fault("a SentencePiece vocabulary without tokenizer.ggml.scores".into())),
            };
            let pieces: Vec<Piece> = tokens
                .iter()
                .zip(&kinds)
                .zip(&scores)
                .map(|((text, kind), score)| Piece { text: (*text).to_owned(), score: *score, kind: *kind })
                .collect();
            let add_bos = !matches!(file.metadata.get("tokenizer.ggml.add_bos_token"), Some(MetadataValue::Bool(false)));
            tokenizer_files(&pieces, bos.unwrap_or(1), eos.unwrap_or(2), add_bos, template)
        }
        other => {
            let reason = format!("tokenizer {other:?}; `gpt2` and `llama` are read");
            return Err(TensorFileError::Unsupported { file: file.name().to_owned(), reason });
        }
    };
    Ok(Vocabulary { bos, eos, files })
}

fn kind(value: &MetadataValue) -> PieceKind {
    match value {
        MetadataValue::Integer(2) => PieceKind::Unknown,
        MetadataValue::Integer(3) => PieceKind::Control,
        MetadataValue::Integer(4) => PieceKind::UserDefined,
        MetadataValue::Integer(6) => PieceKind::Byte,
        _ => PieceKind::Normal,
    }
}

fn texts<'a>(file: &'a Gguf, key: &str) -> Result<Vec<&'a str>> {
    let wrong = || TensorFileError::malformed(file.name(), format!("{key} is not a list of strings"));
    let Some(MetadataValue::List(list)) = file.metadata.get(key) else { return Err(wrong()) };
    list.iter().map(|value| if let MetadataValue::Text(text) = value { Ok(text.as_str()) } else { Err(wrong()) }).collect()
}

struct Ids {
    bos: Option<usize>,
    eos: Option<usize>,
    unknown: Option<usize>,
    padding: Option<usize>,
}

#[expect(clippy::too_many_arguments)]
fn byte_level_files(
    file: &Gguf,
    tokens: &[&str],
    kinds: &[PieceKind],
    merges: &[&str],
    split: &str,
    ids: &Ids,
    add_bos: bool,
    template: Option<&str>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let vocab: Map<String, Value> = tokens.iter().enumerate().map(|(id, text)| ((*text).to_owned(), json!(id))).collect();
    let added: Vec<Value> = (0..tokens.len())
        .filter(|&id| matches!(kinds[id], PieceKind::Control | PieceKind::UserDefined | PieceKind::Unknown))
        .map(|id| added_token(id, tokens[id], kinds[id] != PieceKind::UserDefined))
        .collect();
    let pairs: Vec<Value> = merges
        .iter()
        .map(|merge| merge.split_once(' ').map(|(left, right)| json!([left, right])))
        .collect::<Option<_>>()
        .ok_or_else(|| TensorFileError::malformed(file.name(), "a merge without a space"))?;
    let name = |id: Option<usize>| id.map(|id| tokens[id.min(tokens.len() - 1)]);
    let template_processing = match (add_bos, ids.bos) {
        (true, Some(bos)) => {
            let first = json!({"SpecialToken": {"id": tokens[bos], "type_id": 0}});
            json!({
                "type": "TemplateProcessing",
                "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, first, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {tokens[bos]: {"id": tokens[bos], "ids": [bos], "tokens": [tokens[bos]]}},
            })
        }
        _ => json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}),
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre_tokenizer(file, split)?,
        "post_processor": template_processing,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split == "llama-bpe", "vocab": vocab, "merges": pairs,
        },
    });
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1_000_000_000u64,
        "bos_token": name(ids.bos), "eos_token": name(ids.eos), "unk_token": name(ids.unknown),
        "pad_token": name(ids.padding), "add_bos_token": add_bos, "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
    });
    if let Some(template) = template {
        config["chat_template"] = json!(template);
    }
    let map = json!({
        "bos_token": name(ids.bos), "eos_token": name(ids.eos),
        "unk_token": name(ids.unknown), "pad_token": name(ids.padding),
    });
    Ok(vec![
        ("tokenizer.json".into(), pretty(&tokenizer)),
        ("tokenizer_config.json".into(), pretty(&config)),
        ("special_tokens_map.json".into(), pretty(&map)),
    ])
}

/// How text is cut before merging, by llama.cpp's name for it.
fn pre_tokenizer(file: &Gguf, split: &str) -> Result<Value> {
    let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let with = |first: Value, regex: bool| json!({"type": "Sequence", "pretokenizers": [first, byte_level(regex)]});
    let pattern = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    match split {
        "default" | "gpt-2" => Ok(byte_level(true)),
        "smollm" => Ok(with(json!({"type": "Digits", "individual_digits": true}), true)),
        "llama-bpe" | "llama3" => Ok(with(
            pattern(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
            false,
        )),
        "qwen2" => Ok(with(
            pattern(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
            false,
        )),
        other => Err(TensorFileError::Unsupported {
            file: file.name().to_owned(),
            reason: format!("pre-tokenizer {other:?}; read are default, gpt-2, smollm, llama-bpe, qwen2"),
        }),
    }
}
