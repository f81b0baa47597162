//! A SentencePiece vocabulary with scores as a Hugging Face `tokenizer.json`.
//!
//! Merging the adjacent pair whose union has the best score is byte-pair encoding with the merges ranked
//! by that score, so the fast BPE model reproduces it; bytes of unknown characters fall back to `<0xNN>`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// One entry of the vocabulary.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Text with `▁` for a space.
    pub(crate) text: String,
    /// Log-probability or negative rank: the larger, the earlier it is merged.
    pub(crate) score: f32,
    /// Kind.
    pub(crate) kind: PieceKind,
}

/// Kinds of entries, as SentencePiece numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Byte,
}

/// All merges `(left, right)` whose union is a piece, best first.
fn merges(pieces: &[Piece]) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> = pieces.iter().enumerate().map(|(id, piece)| (piece.text.as_str(), id)).collect();
    let mut merges = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.kind == PieceKind::Normal) {
        for (at, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(at);
            if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                merges.push((piece.score, *left_id, *right_id, left.to_owned(), right.to_owned()));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    merges.into_iter().map(|(_, _, _, left, right)| (left, right)).collect()
}

/// `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.
pub(crate) fn tokenizer_files(
    pieces: &[Piece],
    bos: usize,
    eos: usize,
    add_bos: bool,
    chat_template: Option<&str>,
) -> Vec<(String, Vec<u8>)> {
    let text = |id: usize| pieces.get(id).map_or("", |piece| piece.text.as_str());
    let vocab: Map<String, Value> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.text.clone(), json!(id))).collect();
    let special = |piece: &Piece| matches!(piece.kind, PieceKind::Control | PieceKind::Unknown | PieceKind::UserDefined);
    let added: Vec<Value> = pieces
        .iter()
        .enumerate()
        .filter(|(_, piece)| special(piece))
        .map(|(id, piece)| added_token(id, &piece.text, piece.kind != PieceKind::UserDefined))
        .collect();
    let unknown = pieces.iter().find(|piece| piece.kind == PieceKind::Unknown).map(|piece| piece.text.clone());
    let template = if add_bos {
        let first = json!({"SpecialToken": {"id": text(bos), "type_id": 0}});
        json!({
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [first, {"Sequence": {"id": "A", "type_id": 0}}, first, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {text(bos): {"id": text(bos), "ids": [bos], "tokens": [text(bos)]}},
        })
    } else {
        Value::Null
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        ]},
        "pre_tokenizer": null,
        "post_processor": template,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab,
            "merges": merges(pieces).into_iter().map(|(left, right)| json!([left, right])).collect::<Vec<_>>(),
        },
    });
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1_000_000_000u64,
        "bos_token": text(bos), "eos_token": text(eos), "unk_token": unknown,
        "add_bos_token": add_bos, "add_eos_token": false, "clean_up_tokenization_spaces": false,
    });
    if let Some(template) = chat_template {
        config["chat_template"] = json!(template);
    }
    let map = json!({"bos_token": text(bos), "eos_token": text(eos), "unk_token": unknown});
    vec![
        ("tokenizer.json".into(), pretty(&tokenizer)),
        ("tokenizer_config.json".into(), pretty(&config)),
        ("special_tokens_map.json".into(), pretty(&map)),
    ]
}

/// An entry of `added_tokens`.
pub(crate) fn added_token(id: usize, text: &str, special: bool) -> Value {
    json!({
        "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": special,
    })
}

/// Indented JSON with a final newline.
pub(crate) fn pretty(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
