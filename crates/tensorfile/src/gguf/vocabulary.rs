//! The tokenizer in a GGUF file's metadata (`tokenizer.ggml.*`) as Hugging Face's files.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::file::Gguf;
use super::metadata::MetadataValue;
use super::split;
use crate::error::{Result, TensorFileError, quoted};
use crate::sentencepiece::{self, Piece, PieceKind};
use crate::tokenizer_files::{SpecialTokens, added_token};

/// The recovered tokenizer.
pub(super) struct Vocabulary {
    /// Number of tokens.
    pub(super) len: usize,
    pub(super) bos: Option<usize>,
    pub(super) eos: Option<usize>,
    pub(super) padding: Option<usize>,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// Reads byte-level BPE (`gpt2`) or SentencePiece BPE (`llama`).
///
/// # Errors
/// [`TensorFileError::Malformed`] for a vocabulary that contradicts itself, [`TensorFileError::Unsupported`] for
/// another kind of tokenizer.
pub(super) fn read(file: &Gguf) -> Result<Vocabulary> {
    let metadata = file.metadata();
    let tokens = texts(file, "tokenizer.ggml.tokens")?;
    let mut seen = HashSet::new();
    if let Some(twice) = tokens.iter().find(|token| !seen.insert(**token)) {
        return Err(fault(
            file,
            format!("token {} stands twice in tokenizer.ggml.tokens", quoted(twice)),
        ));
    }
    let kinds: Vec<PieceKind> = match metadata.list("tokenizer.ggml.token_type") {
        Some(kinds) => kinds.iter().map(kind).collect(),
        None => vec![PieceKind::Normal; tokens.len()],
    };
    if kinds.len() != tokens.len() {
        return Err(fault(
            file,
            format!("{} tokens but {} token types", tokens.len(), kinds.len()),
        ));
    }
    let special = |add_bos: bool| special_tokens(file, tokens.len(), &kinds, add_bos);
    let files = match metadata.text("tokenizer.ggml.model") {
        Some("gpt2") => byte_level(file, &tokens, &kinds, &special)?,
        Some("llama") => sentence_piece(file, &tokens, &kinds, &special(true)?)?,
        other => {
            let reason = format!(
                "tokenizer {}; read are gpt2 and llama",
                quoted(other.unwrap_or_default())
            );
            return Err(TensorFileError::Unsupported {
                file: file.name().to_owned(),
                reason,
            });
        }
    };
    let SpecialTokens {
        bos, eos, padding, ..
    } = special(false)?;
    Ok(Vocabulary {
        len: tokens.len(),
        bos,
        eos,
        padding,
        files,
    })
}

fn fault(file: &Gguf, reason: String) -> TensorFileError {
    TensorFileError::malformed(file.name(), reason)
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
    let wrong = || fault(file, format!("{key} is not a list of strings"));
    let text = |value: &'a MetadataValue| match value {
        MetadataValue::Text(text) => Ok(text.as_str()),
        _ => Err(wrong()),
    };
    file.metadata()
        .list(key)
        .ok_or_else(wrong)?
        .iter()
        .map(text)
        .collect()
}

/// The special tokens; `add_bos` is what holds where the metadata does not say.
fn special_tokens(
    file: &Gguf,
    vocabulary: usize,
    kinds: &[PieceKind],
    add_bos: bool,
) -> Result<SpecialTokens> {
    let metadata = file.metadata();
    let id = |name: &str| match metadata.get(&format!("tokenizer.ggml.{name}_token_id")) {
        Some(MetadataValue::Integer(id)) => usize::try_from(*id).ok(),
        _ => None,
    };
    let special = SpecialTokens {
        bos: id("bos"),
        eos: id("eos"),
        unknown: id("unknown").or_else(|| kinds.iter().position(|kind| *kind == PieceKind::Unknown)),
        padding: id("padding"),
        add_bos: metadata.flag("tokenizer.ggml.add_bos_token").unwrap_or(add_bos),
        add_eos: metadata.flag("tokenizer.ggml.add_eos_token").unwrap_or(false),
    };
    match special.first_outside(vocabulary) {
        Some(id) => Err(fault(
            file,
            format!("special token {id} is outside the vocabulary of {vocabulary}"),
        )),
        None => Ok(special),
    }
}

/// The tokens that end a generated text: end of text, of turn, of message, each where the file names it.
fn stops(file: &Gguf, special: &SpecialTokens, vocabulary: usize) -> Vec<usize> {
    let named = ["eot", "eom"].into_iter().filter_map(|name| {
        match file.metadata().get(&format!("tokenizer.ggml.{name}_token_id")) {
            Some(MetadataValue::Integer(id)) => usize::try_from(*id).ok().filter(|id| *id < vocabulary),
            _ => None,
        }
    });
    let mut stops: Vec<usize> = special.eos.into_iter().chain(named).collect();
    stops.sort_unstable();
    stops.dedup();
    stops
}

fn sentence_piece(
    file: &Gguf,
    tokens: &[&str],
    kinds: &[PieceKind],
    special: &SpecialTokens,
) -> Result<Vec<(String, Vec<u8>)>> {
    let metadata = file.metadata();
    let scores = metadata.list("tokenizer.ggml.scores").unwrap_or_default();
    if scores.len() != tokens.len() {
        return Err(fault(
            file,
            format!("{} tokens but {} scores", tokens.len(), scores.len()),
        ));
    }
    let mut pieces = Vec::with_capacity(tokens.len());
    for ((text, kind), score) in tokens.iter().zip(kinds).zip(scores) {
        let MetadataValue::Float(score) = score else {
            return Err(fault(
                file,
                "tokenizer.ggml.scores is not a list of floats".into(),
            ));
        };
        pieces.push(Piece {
            text: (*text).to_owned(),
            score: *score as f32,
            kind: *kind,
        });
    }
    let space_first = metadata.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let template = metadata.text("tokenizer.chat_template");
    let stop = stops(file, special, tokens.len());
    Ok(sentencepiece::tokenizer_files(
        &pieces,
        special,
        space_first,
        &stop,
        template,
    ))
}

fn byte_level(
    file: &Gguf,
    tokens: &[&str],
    kinds: &[PieceKind],
    special: &dyn Fn(bool) -> Result<SpecialTokens>,
) -> Result<Vec<(String, Vec<u8>)>> {
    let metadata = file.metadata();
    let name = metadata.text("tokenizer.ggml.pre").unwrap_or("default");
    let Some(split) = split::find(name) else {
        let reason = format!("pre-tokenizer {}; read are {}", quoted(name), split::NAMES);
        return Err(TensorFileError::Unsupported {
            file: file.name().to_owned(),
            reason,
        });
    };
    let special = special(split.add_bos)?;
    let vocab: Map<String, Value> = tokens
        .iter()
        .enumerate()
        .map(|(id, text)| ((*text).to_owned(), json!(id)))
        .collect();
    let added: Vec<Value> = (0..tokens.len())
        .filter(|&id| kinds[id].is_added())
        .map(|id| added_token(id, tokens[id], kinds[id].is_special()))
        .collect();
    let mut pairs = Vec::new();
    for merge in texts(file, "tokenizer.ggml.merges")? {
        let parts = merge.split_once(' ').filter(|(left, right)| {
            // The tokenizer would be refused later, without the file's name, if a part or the whole were no token.
            let whole = format!("{left}{right}");
            [*left, *right, &whole]
                .into_iter()
                .all(|part| vocab.contains_key(part))
        });
        match parts {
            Some((left, right)) => pairs.push(json!([left, right])),
            None => {
                return Err(fault(
                    file,
                    format!("merge {} does not join two tokens to a third", quoted(merge)),
                ));
            }
        }
    }
    let text = |id: usize| tokens.get(id).copied().unwrap_or_default().to_owned();
    let byte_level = |prefix: bool, trim: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": true});
    let post_processor = match special.post_processor(&text) {
        Value::Null => byte_level(true, false),
        template => template,
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": split.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": byte_level(true, true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": split.ignore_merges, "vocab": vocab, "merges": pairs,
        },
    });
    let stop = stops(file, &special, tokens.len());
    Ok(special.files(&tokenizer, &text, &stop, metadata.text("tokenizer.chat_template")))
}
