//! llama2.c: Andrej Karpathy's one-file format of small Llamas, in its first version, with its tokenizer beside it.
//!
//! Model: seven little-endian `i32` (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; a negative
//! vocabulary means an output head of its own), then f32 weights: token embedding; of each kind all layers: attention
//! norm, wq, wk, wv, wo, ffn norm, w1, w2, w3; final norm; two rotary tables, which are skipped; the head if it is
//! untied. The rotation is of adjacent pairs, so the rows of queries and keys are reordered to halves.

use std::sync::Arc;

use serde_json::json;

use crate::convert::to_f32;
use crate::dtype::DType;
use crate::error::{Result, TensorFileError};
use crate::foreign::{ForeignTensors, Parts, halves_from_pairs, llama_part};
use crate::layout::TensorSpec;
use crate::read_at::ReadAt;
use crate::sentencepiece::{Piece, PieceKind, tokenizer_files};
use crate::tokenizer_files::SpecialTokens;

const HEADER_BYTES: u64 = 28;
/// First bytes of the format's later versions ("ak42", little-endian).
const LATER_MAGIC: i32 = 0x616B_3432;
/// Bounds on what the header can make us do; far above any model of this format.
const MAX_SIZE: i32 = 1 << 20;
const MAX_LAYERS: usize = 1024;

/// Ids of the special tokens, fixed by the format.
const UNKNOWN: usize = 0;
const BOS: usize = 1;
const EOS: usize = 2;
/// Tokens 3 to 258 are the bytes.
const FIRST_BYTE: usize = 3;
const FIRST_PIECE: usize = FIRST_BYTE + 256;

/// Reader of the tensors of one checkpoint.
pub(crate) struct Llama2cModel {
    name: String,
    file: Arc<dyn ReadAt>,
    /// First byte and, for queries and keys, heads.
    places: Vec<(u64, Option<usize>)>,
    tensors: Vec<TensorSpec>,
}

/// The header, checked.
struct Sizes {
    dim: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    context: usize,
    tied: bool,
}

impl Sizes {
    fn read(name: &str, file: &dyn ReadAt) -> Result<Self> {
        let mut header = [0; HEADER_BYTES as usize];
        if file.len() < HEADER_BYTES {
            let reason = format!("{} bytes cannot hold a llama2.c header", file.len());
            return Err(TensorFileError::malformed_at(name, 0, reason));
        }
        file.read_at(0, &mut header)
            .map_err(|source| TensorFileError::Read {
                file: name.to_owned(),
                source,
            })?;
        let field = |at: usize| i32::from_le_bytes([0, 1, 2, 3].map(|byte| header[4 * at + byte]));
        if field(0) == LATER_MAGIC {
            let reason =
                "a later version of llama2.c's format; read is the first, without a magic number".to_owned();
            return Err(TensorFileError::Unsupported {
                file: name.to_owned(),
                reason,
            });
        }
        let size = |at: usize, what: &str| match field(at) {
            value @ 1..=MAX_SIZE => Ok(value as usize),
            value => {
                let reason = format!("{what} is {value}: not a llama2.c checkpoint");
                Err(TensorFileError::malformed_at(name, 4 * at as u64, reason))
            }
        };
        let vocab = field(5).unsigned_abs() as usize;
        let (dim, layers) = (size(0, "dim")?, size(2, "n_layers")?);
        let (heads, kv_heads) = (size(3, "n_heads")?, size(4, "n_kv_heads")?);
        let fits = layers <= MAX_LAYERS && dim.is_multiple_of(heads) && heads.is_multiple_of(kv_heads);
        if !fits || !(dim / heads).is_multiple_of(2) {
            let reason = format!(
                "{layers} layers, width {dim}, {heads} heads, {kv_heads} key-value heads do not make a Llama"
            );
            return Err(TensorFileError::malformed_at(name, 0, reason));
        }
        if !(FIRST_PIECE..=MAX_SIZE as usize).contains(&vocab) {
            let reason = format!(
                "vocab_size is {}: special tokens and bytes alone are {FIRST_PIECE}",
                field(5)
            );
            return Err(TensorFileError::malformed_at(name, 20, reason));
        }
        let (hidden, context, tied) = (size(1, "hidden_dim")?, size(6, "seq_len")?, field(5) > 0);
        Ok(Self {
            dim,
            hidden,
            layers,
            heads,
            kv_heads,
            vocab,
            context,
            tied,
        })
    }
}

impl Llama2cModel {
    /// Opens a checkpoint; of the `tokenizers` (name and bytes), the one whose vocabulary fits is its own.
    pub(crate) fn open(name: &str, file: Arc<dyn ReadAt>, tokenizers: &[(String, Vec<u8>)]) -> Result<Parts> {
        let sizes = Sizes::read(name, &*file)?;
        let mut model = Self {
            name: name.to_owned(),
            file,
            places: Vec::new(),
            tensors: Vec::new(),
        };
        model.place_all(&sizes)?;
        let Sizes {
            dim,
            hidden,
            layers,
            heads,
            kv_heads,
            vocab,
            context,
            tied,
        } = sizes;
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": dim, "intermediate_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": dim / heads,
            "vocab_size": vocab, "max_position_embeddings": context, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": tied,
            "attention_bias": false, "mlp_bias": false, "bos_token_id": BOS, "eos_token_id": EOS,
            "torch_dtype": "float32",
        });
        let special = SpecialTokens {
            bos: Some(BOS),
            eos: Some(EOS),
            unknown: Some(UNKNOWN),
            add_bos: true,
            ..SpecialTokens::default()
        };
        let pieces = own_vocabulary(name, tokenizers, vocab)?;
        // The program ends a text at the token that begins the next one.
        let files = tokenizer_files(&pieces, &special, true, &[BOS, EOS], None);
        Ok(Parts {
            config,
            files,
            tensors: model.tensors.clone(),
            reader: Box::new(model),
        })
    }

    fn place_all(&mut self, sizes: &Sizes) -> Result<()> {
        let &Sizes {
            dim,
            hidden,
            layers,
            heads,
            kv_heads,
            vocab,
            context,
            tied,
        } = sizes;
        let head = dim / heads;
        let kv = head * kv_heads;
        let mut at = HEADER_BYTES;
        self.place("model.embed_tokens.weight".into(), &[vocab, dim], None, &mut at)?;
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
                self.place(llama_part(layer, part), shape, rotated, &mut at)?;
            }
        }
        self.place("model.norm.weight".into(), &[dim], None, &mut at)?;
        at += 4 * (context * head) as u64;
        if !tied {
            self.place("lm_head.weight".into(), &[vocab, dim], None, &mut at)?;
        }
        if at != self.file.len() {
            let reason = format!(
                "its header asks for {at} bytes but the file has {}",
                self.file.len()
            );
            return Err(TensorFileError::malformed(&self.name, reason));
        }
        Ok(())
    }

    fn place(&mut self, name: String, shape: &[usize], rotated: Option<usize>, at: &mut u64) -> Result<()> {
        let spec = TensorSpec {
            name,
            dtype: DType::F32,
            shape: shape.to_vec(),
        };
        let end = at.checked_add(spec.bytes()).filter(|end| *end <= self.file.len());
        let Some(end) = end else {
            let reason = format!(
                "its {} bytes end behind the file's {}",
                spec.bytes(),
                self.file.len()
            );
            return Err(TensorFileError::tensor_at(&self.name, &spec.name, *at, reason));
        };
        self.places.push((*at, rotated));
        *at = end;
        self.tensors.push(spec);
        Ok(())
    }
}

impl ForeignTensors for Llama2cModel {
    fn read_f32(&self, index: usize) -> Result<Vec<f32>> {
        let (offset, rotated) = self.places[index];
        let spec = &self.tensors[index];
        let mut bytes = vec![0; spec.bytes() as usize];
        let read = |source| TensorFileError::Read {
            file: self.name.clone(),
            source,
        };
        self.file.read_at(offset, &mut bytes).map_err(read)?;
        let mut values = vec![0.0f32; spec.elements()];
        to_f32(DType::F32, &bytes, &mut values)?;
        Ok(match rotated {
            Some(heads) => halves_from_pairs(&values, heads, spec.shape[1]),
            None => values,
        })
    }
}

/// The vocabulary that has exactly `vocab` tokens. A single one that does not fit is named with its fault.
fn own_vocabulary(name: &str, tokenizers: &[(String, Vec<u8>)], vocab: usize) -> Result<Vec<Piece>> {
    let unsupported = |reason: String| TensorFileError::Unsupported {
        file: name.to_owned(),
        reason,
    };
    let mut fitting = Vec::new();
    for (file, bytes) in tokenizers {
        match pieces(file, bytes, vocab) {
            Ok(pieces) => fitting.push(pieces),
            Err(error) if tokenizers.len() == 1 => return Err(error),
            Err(_) => {}
        }
    }
    match (fitting.pop(), fitting.is_empty()) {
        (Some(pieces), true) => Ok(pieces),
        (Some(_), false) => Err(unsupported(format!(
            "several tokenizers beside it have {vocab} tokens; name one"
        ))),
        (None, _) => Err(unsupported(format!(
            "no tokenizer (tok*.bin) beside it has {vocab} tokens"
        ))),
    }
}

/// Reads the tokenizer: `i32` longest token, then of each token an f32 score, an `i32` length and the bytes. Special
/// tokens come first, then the bytes, then pieces.
fn pieces(name: &str, bytes: &[u8], vocab: usize) -> Result<Vec<Piece>> {
    let fault = |at: usize, reason: String| Err(TensorFileError::malformed_at(name, at as u64, reason));
    let word = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
    let mut pieces = Vec::new();
    let mut at = 4;
    for id in 0..vocab {
        let (Some(score), Some(length)) = (word(at), word(at + 4)) else {
            return fault(at, format!("it ends before token {id} of {vocab}"));
        };
        let length = i32::from_le_bytes(length);
        let text = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.get(at + 8..)?.get(..length));
        let Some(text) = text else {
            return fault(at + 4, format!("token {id} has a length of {length}"));
        };
        let next = at + 8 + text.len();
        let (text, kind) = match id {
            UNKNOWN => ("<unk>".to_owned(), PieceKind::Unknown),
            BOS => ("<s>".to_owned(), PieceKind::Control),
            EOS => ("</s>".to_owned(), PieceKind::Control),
            FIRST_BYTE..FIRST_PIECE => (format!("<0x{:02X}>", id - FIRST_BYTE), PieceKind::Byte),
            _ => match std::str::from_utf8(text) {
                Ok(text) => (text.replace(' ', "\u{2581}"), PieceKind::Normal),
                Err(_) => return fault(at + 8, format!("token {id} is not UTF-8")),
            },
        };
        pieces.push(Piece {
            text,
            score: f32::from_le_bytes(score),
            kind,
        });
        at = next;
    }
    if at != bytes.len() {
        return fault(
            at,
            format!("{} bytes after token {vocab}, the last", bytes.len() - at),
        );
    }
    Ok(pieces)
}
