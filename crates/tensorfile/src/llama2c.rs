//! llama2.c's checkpoint and tokenizer.
//!
//! Checkpoint: seven little-endian i32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size,
//! seq_len; a negative vocab_size says that the head is not tied), then f32: the embedding; per kind, all
//! layers: attention norm, wq, wk, wv, wo, ffn norm, w1, w2, w3; the final norm; two rotary tables; the
//! head if it is not tied. Tokenizer: i32 longest token, then per token f32 score, i32 length, bytes.

use std::sync::Arc;

use serde_json::json;

use crate::dtype::DType;
use crate::error::{Result, TensorFileError};
use crate::foreign::{ForeignTensors, Parts, halves_from_pairs, llama_part};
use crate::layout::TensorSpec;
use crate::read_at::ReadAt;
use crate::sentencepiece::{Piece, PieceKind, tokenizer_files};

const HEADER: u64 = 28;

/// Reader of the tensors of one checkpoint.
pub(crate) struct Llama2cModel {
    name: String,
    file: Arc<dyn ReadAt>,
    /// First byte and, for queries and keys, heads.
    places: Vec<(u64, Option<usize>)>,
    tensors: Vec<TensorSpec>,
}

impl Llama2cModel {
    pub(crate) fn open(name: &str, file: Arc<dyn ReadAt>, tokenizer: &[u8]) -> Result<Parts> {
        let mut header = [0; HEADER as usize];
        file.read_at(0, &mut header)
            .map_err(|_| TensorFileError::malformed_at(name, 0, "shorter than a llama2.c header"))?;
        let field = |at: usize| i32::from_le_bytes([header[4 * at], header[4 * at + 1], header[4 * at + 2], header[4 * at + 3]]);
        let size = |at: usize, what: &str| match field(at) {
            value @ 1..=16_777_216 => Ok(value as usize),
            value => Err(TensorFileError::malformed_at(name, 4 * at as u64, format!("{what} is {value}: not a llama2.c checkpoint"))),
        };
        let (dim, hidden, layers) = (size(0, "dim")?, size(1, "hidden_dim")?, size(2, "n_layers")?);
        let (heads, kv_heads, context) = (size(3, "n_heads")?, size(4, "n_kv_heads")?, size(6, "seq_len")?);
        let vocab = field(5).unsigned_abs() as usize;
        let tied = field(5) > 0;
        if layers > 4096 || !dim.is_multiple_of(heads) || !heads.is_multiple_of(kv_heads) || !(dim / heads).is_multiple_of(2) {
            let reason = format!("{layers} layers, width {dim}, {heads} heads, {kv_heads} key-value heads do not make a Llama");
            return Err(TensorFileError::malformed_at(name, 0, reason));
        }
        let (head, kv) = (dim / heads, dim / heads * kv_heads);
        let mut model = Self { name: name.to_owned(), file, places: Vec::new(), tensors: Vec::new() };
        let mut at = HEADER;
        model.place("model.embed_tokens.weight".into(), &[vocab, dim], None, &mut at);
        let kinds: [(&str, &[usize], Option<usize>); 9] = [
            ("input_layernorm", &[dim], None),
            ("self_attn.q_proj", &[dim, dim], Some(heads)),
            ("self_attn.k_proj", &[kv, dim], Some(kv_heads)),
            ("self_attn.v_proj", &[kv, dim], None),
            ("self_attn.o_proj", &[dim, dim], None),
            ("post_attention_layernorm", &[dim], None),
            ("mlp.gate_proj", &[hidden, dim], None),
            ("mlp.down_proj", &[dim, hidden], None),
            ("mlp.up_proj", &[hidden, dim], None),
        ];
        for (part, shape, rotated) in kinds {
            for layer in 0..layers {
                model.place(llama_part(layer, part), shape, rotated, &mut at);
            }
        }
        model.place("model.norm.weight".into(), &[dim], None, &mut at);
        at += 2 * 4 * context as u64 * (head / 2) as u64;
        if !tied {
            model.place("lm_head.weight".into(), &[vocab, dim], None, &mut at);
        }
        if at != model.file.len() {
            let reason = format!("its header asks for {at} bytes but the file has {}", model.file.len());
            return Err(TensorFileError::malformed(name, reason));
        }
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": dim, "intermediate_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head,
            "vocab_size": vocab, "max_position_embeddings": context, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": tied,
            "attention_bias": false, "mlp_bias": false, "bos_token_id": 1, "eos_token_id": 2,
            "torch_dtype": "float32",
        });
        let files = tokenizer_files(&pieces(name, tokenizer, vocab)?, 1, 2, true, None);
        Ok(Parts { config, files, tensors: model.tensors.clone(), reader: Box::new(model) })
    }

    fn place(&mut self, name: String, shape: &[usize], rotated: Option<usize>, at: &mut u64) {
        let spec = TensorSpec { name, dtype: DType::F32, shape: shape.to_vec() };
        self.places.push((*at, rotated));
        *at += spec.bytes();
        self.tensors.push(spec);
    }
}

impl ForeignTensors for Llama2cModel {
    fn read_f32(&self, index: usize) -> Result<Vec<f32>> {
        let (offset, rotated) = self.places[index];
        let spec = &self.tensors[index];
        let mut values = vec![0.0f32; spec.elements()];
        self.file
            .read_at(offset, bytemuck::cast_slice_mut(&mut values))
            .map_err(|source| TensorFileError::Read { file: self.name.clone(), source })?;
        Ok(match rotated {
            Some(heads) => halves_from_pairs(&values, heads, spec.shape[1]),
            None => values,
        })
    }
}

/// Reads the tokenizer: special tokens at 0 to 2, bytes at 3 to 258, then pieces with their scores.
fn pieces(name: &str, bytes: &[u8], vocab: usize) -> Result<Vec<Piece>> {
    let fault = |at: usize, reason: &str| TensorFileError::malformed_at(&format!("the tokenizer of {name}"), at as u64, reason);
    let mut pieces = Vec::new();
    let mut at = 4;
    for id in 0..vocab {
        let word = |at: usize| bytes.get(at..at + 4).map(|word| [word[0], word[1], word[2], word[3]]);
        let (Some(score), Some(length)) = (word(at), word(at + 4)) else {
            return Err(fault(at, &format!("it ends before token {id} of {vocab}")));
        };
        let length = usize::try_from(i32::from_le_bytes(length)).map_err(|_| fault(at + 4, "a token of negative length"))?;
        let text = bytes.get(at + 8..at + 8 + length).ok_or_else(|| fault(at + 8, "a token longer than the file"))?;
        let text = std::str::from_utf8(text).map_err(|_| fault(at + 8, "a token that is not UTF-8"))?;
        let (text, kind) = match id {
            0 => ("<unk>".to_owned(), PieceKind::Unknown),
            1 => ("<s>".to_owned(), PieceKind::Control),
            2 => ("</s>".to_owned(), PieceKind::Control),
            3..=258 => (format!("<0x{:02X}>", id - 3), PieceKind::Byte),
            _ => (text.replace(' ', "\u{2581}"), PieceKind::Normal),
        };
        pieces.push(Piece { text, score: f32::from_le_bytes(score), kind });
        at += 8 + length;
    }
    Ok(pieces)
}
