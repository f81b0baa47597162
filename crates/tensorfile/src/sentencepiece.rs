//! A SentencePiece vocabulary with scores as a Hugging Face `tokenizer.json`.
//!
//! Merging the adjacent pair whose union has the best score is byte-pair encoding with the merges ranked
//! by that score, so the fast BPE model reproduces it; bytes of unknown characters fall back to `<0xNN>`.
//! Transformers converts such vocabularies the same way. One difference is left: of two overlapping pairs with the same
//! union (`aa` + `a` and `a` + `aa`), SentencePiece merges the first in the text, a ranked list always the same one.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::tokenizer_files::{SpecialTokens, added_token};

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

/// Kinds of entries, as SentencePiece tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Byte,
}

impl PieceKind {
    /// Whether the tokenizer finds it in a text as a whole, before anything is merged.
    pub(crate) fn is_added(self) -> bool {
        matches!(self, Self::Control | Self::Unknown | Self::UserDefined)
    }

    /// Whether decoding may leave it out.
    pub(crate) fn is_special(self) -> bool {
        matches!(self, Self::Control | Self::Unknown)
    }
}

/// Longest piece, in bytes, that is looked at as a union of two: real ones have a few dozen, and the work grows with the
/// square.
const LONGEST_MERGED: usize = 1024;

/// All merges `(left, right)` whose union is a piece, best first. Of equal scores, the longer left part comes first, as
/// transformers orders them.
fn merges(pieces: &[Piece]) -> Vec<(&str, &str)> {
    let mergeable = |piece: &&Piece| matches!(piece.kind, PieceKind::Normal | PieceKind::UserDefined);
    let ids: HashMap<&str, usize> = pieces
        .iter()
        .enumerate()
        .filter(|(_, piece)| mergeable(piece))
        .map(|(id, piece)| (&piece.text[..], id))
        .collect();
    let mut merges = Vec::new();
    let splittable = |piece: &&Piece| mergeable(piece) && piece.text.len() <= LONGEST_MERGED;
    for piece in pieces.iter().filter(splittable) {
        for (at, _) in piece.text.char_indices().skip(1) {
            let (left, right) = piece.text.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((piece.score, left.chars().count(), left, right));
            }
        }
    }
    merges.sort_by(|a, b| {
        let order = b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
        order.then((ids[a.2], ids[a.3]).cmp(&(ids[b.2], ids[b.3])))
    });
    merges
        .into_iter()
        .map(|(_, _, left, right)| (left, right))
        .collect()
}

/// The files of this tokenizer. `space_first`: whether a space is put before a text, and taken away again by
/// decoding. `stop` are the tokens that end a generated text.
pub(crate) fn tokenizer_files(
    pieces: &[Piece],
    special: &SpecialTokens,
    space_first: bool,
    stop: &[usize],
    chat_template: Option<&str>,
) -> Vec<(String, Vec<u8>)> {
    let text = |id: usize| pieces.get(id).map(|piece| piece.text.clone()).unwrap_or_default();
    let vocab: Map<String, Value> = pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (piece.text.clone(), json!(id)))
        .collect();
    let added: Vec<Value> = pieces
        .iter()
        .enumerate()
        .filter(|(_, piece)| piece.kind.is_added())
        .map(|(id, piece)| added_token(id, &piece.text, piece.kind.is_special()))
        .collect();
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let mut normalizers = vec![json!({"type": "Prepend", "prepend": "\u{2581}"}), spaces];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
        json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}),
    ];
    if !space_first {
        normalizers.remove(0);
        decoders.truncate(3);
    }
    let merges: Vec<Value> = merges(pieces)
        .into_iter()
        .map(|(left, right)| json!([left, right]))
        .collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null,
        "post_processor": special.post_processor(&text),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": special.unknown.map(text), "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    });
    special.files(&tokenizer, &text, stop, chat_template)
}
