//! Building files byte by byte, well-formed and otherwise, and writing models.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tributary_tensorfile::{Directory, Foreign, LocalDirectory, ModelLayout, ReadAt, Result, write_model};

/// A file or folder beside the repository, if it is there.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let found = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("../../../shared")
        .join(path);
    if found.exists() {
        return Some(found);
    }
    eprintln!("skipped: {} is not there", found.display());
    None
}

/// Writes an imported model as a Hugging Face directory.
pub(crate) fn write_directory(foreign: &Foreign, folder: &Path, shard_bytes: u64) {
    std::fs::write(folder.join("config.json"), foreign.config.to_string()).unwrap();
    for (name, bytes) in &foreign.files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let layout = ModelLayout::plan(&foreign.tensors, shard_bytes, &[]).unwrap();
    let mut index = 0;
    write_model(
        &layout,
        &mut |name| Ok(Box::new(std::fs::File::create(folder.join(name))?) as Box<dyn Write>),
        &mut |_, sink| {
            let values = foreign.read_f32(index).map_err(io::Error::other)?;
            index += 1;
            sink.write_all(bytemuck::cast_slice(&values))
        },
    )
    .unwrap();
}

/// A local directory whose files cannot be mapped, as remote ones cannot, and which counts the requests.
pub(crate) struct Remote {
    pub(crate) local: LocalDirectory,
    pub(crate) requests: Arc<AtomicUsize>,
}

/// Bytes behind requests.
pub(crate) struct RemoteFile {
    pub(crate) file: Arc<dyn ReadAt>,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Directory for Remote {
    fn open(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(RemoteFile {
            file: self.local.open(name)?,
            requests: self.requests.clone(),
        }))
    }

    fn list(&self) -> Result<Vec<String>> {
        self.local.list()
    }

    fn describe(&self) -> String {
        "remote".to_owned()
    }
}

impl ReadAt for RemoteFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.file.read_at(offset, buffer)
    }
}

/// A value of GGUF metadata, by its number in the file.
#[derive(Clone)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Integers(Vec<i32>),
    /// A type number and whatever bytes follow it.
    Raw(u32, Vec<u8>),
}

/// A tensor of a GGUF file under construction; the first dimension is the fastest.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dimensions: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
    /// Written instead of the true place in the data.
    pub(crate) offset: Option<u64>,
}

/// A GGUF file under construction. The counts and the version can be made to lie.
#[derive(Clone)]
pub(crate) struct GgufFile {
    pub(crate) version: u32,
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) tensor_count: Option<u64>,
    pub(crate) entry_count: Option<u64>,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        let list = |out: &mut Vec<u8>, kind: u32, count: usize| {
            out.extend(9u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((count as u64).to_le_bytes());
        };
        match self {
            Self::U32(value) => out.extend([4u32.to_le_bytes(), value.to_le_bytes()].concat()),
            Self::F32(value) => out.extend([6u32.to_le_bytes(), value.to_le_bytes()].concat()),
            Self::Bool(value) => out.extend([&7u32.to_le_bytes()[..], &[u8::from(*value)]].concat()),
            Self::Text(value) => {
                out.extend(8u32.to_le_bytes());
                text(out, value);
            }
            Self::Texts(values) => {
                list(out, 8, values.len());
                values.iter().for_each(|value| text(out, value));
            }
            Self::Floats(values) => {
                list(out, 6, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::Integers(values) => {
                list(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::Raw(kind, bytes) => {
                out.extend(kind.to_le_bytes());
                out.extend(bytes);
            }
        }
    }
}

impl GgufFile {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(
            self.tensor_count
                .unwrap_or(self.tensors.len() as u64)
                .to_le_bytes(),
        );
        out.extend(
            self.entry_count
                .unwrap_or(self.metadata.len() as u64)
                .to_le_bytes(),
        );
        for (key, value) in &self.metadata {
            text(&mut out, key);
            value.write(&mut out);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0u8);
            text(&mut out, &tensor.name);
            out.extend((tensor.dimensions.len() as u32).to_le_bytes());
            tensor
                .dimensions
                .iter()
                .for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(&tensor.data);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }

    /// The same file with `key` left out.
    pub(crate) fn without(&self, key: &str) -> Self {
        let mut file = self.clone();
        file.metadata.retain(|(present, _)| present != key);
        file
    }

    /// The same file with `key` set to another value.
    pub(crate) fn with(&self, key: &str, value: Value) -> Self {
        let mut file = self.without(key);
        file.metadata.push((key.to_owned(), value));
        file
    }

    /// The same file with one tensor changed.
    pub(crate) fn changed(&self, name: &str, change: impl FnOnce(&mut Tensor)) -> Self {
        let mut file = self.clone();
        change(
            file.tensors
                .iter_mut()
                .find(|tensor| tensor.name == name)
                .unwrap(),
        );
        file
    }
}

/// The printable alphabet byte-level tokenizers write bytes in, in the order of the bytes.
fn byte_alphabet() -> Vec<String> {
    let printable = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 255;
    let mut spell = |byte: u32| {
        if printable(byte) {
            return byte;
        }
        next += 1;
        next
    };
    (0..256)
        .map(|byte| char::from_u32(spell(byte)).unwrap().to_string())
        .collect()
}

/// A Llama of one layer: width 32, two heads of 16, one key-value head, inner width 64. Value number
/// `n` of tensor `t` is `t + n / 4096`.
pub(crate) fn tiny_llama(sentence_piece: bool) -> GgufFile {
    let (tokens, kinds, tokenizer) = if sentence_piece {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let pieces = ["\u{2581}", "a", "b", "\u{2581}a", "ab", "\u{2581}ab"].map(str::to_owned);
        let tokens: Vec<String> = ["<unk>", "<s>", "</s>"]
            .map(str::to_owned)
            .into_iter()
            .chain(bytes)
            .chain(pieces)
            .collect();
        let kind = |id: usize| [2, 3, 3].get(id).copied().unwrap_or(if id < 259 { 6 } else { 1 });
        let kinds: Vec<i32> = (0..tokens.len()).map(kind).collect();
        let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
        let special = [("bos", 1), ("eos", 2), ("unknown", 0)];
        let mut entries = vec![
            ("model".to_owned(), Value::Text("llama".into())),
            ("scores".into(), Value::Floats(scores)),
        ];
        entries.extend(special.map(|(name, id)| (format!("{name}_token_id"), Value::U32(id))));
        (tokens, kinds, entries)
    } else {
        let mut tokens = vec!["<|end|>".to_owned()];
        tokens.extend(byte_alphabet());
        tokens.extend(["ab".to_owned(), "\u{120}ab".to_owned()]);
        let kinds = (0..tokens.len()).map(|id| if id == 0 { 3 } else { 1 }).collect();
        let merges = Value::Texts(vec!["a b".into(), "\u{120} ab".into()]);
        let entries = vec![
            ("model".to_owned(), Value::Text("gpt2".into())),
            ("pre".into(), Value::Text("smollm".into())),
            ("merges".into(), merges),
            ("eos_token_id".into(), Value::U32(0)),
        ];
        (tokens, kinds, entries)
    };
    let vocab = tokens.len() as u64;
    let mut metadata = vec![("general.architecture".to_owned(), Value::Text("llama".into()))];
    let sizes = [
        ("block_count", 1),
        ("context_length", 128),
        ("embedding_length", 32),
        ("feed_forward_length", 64),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", 16),
    ];
    metadata.extend(sizes.map(|(key, value)| (format!("llama.{key}"), Value::U32(value))));
    metadata.push(("llama.attention.layer_norm_rms_epsilon".into(), Value::F32(1e-5)));
    metadata.push(("llama.rope.freq_base".into(), Value::F32(10_000.0)));
    metadata.extend(
        tokenizer
            .into_iter()
            .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)),
    );
    metadata.push(("tokenizer.ggml.tokens".into(), Value::Texts(tokens)));
    metadata.push(("tokenizer.ggml.token_type".into(), Value::Integers(kinds)));
    let shapes: [(&str, Vec<u64>); 12] = [
        ("token_embd", vec![32, vocab]),
        ("blk.0.attn_norm", vec![32]),
        ("blk.0.attn_q", vec![32, 32]),
        ("blk.0.attn_k", vec![32, 16]),
        ("blk.0.attn_v", vec![32, 16]),
        ("blk.0.attn_output", vec![32, 32]),
        ("blk.0.ffn_norm", vec![32]),
        ("blk.0.ffn_gate", vec![32, 64]),
        ("blk.0.ffn_up", vec![32, 64]),
        ("blk.0.ffn_down", vec![64, 32]),
        ("output_norm", vec![32]),
        ("output", vec![32, vocab]),
    ];
    let tensor = |(number, (name, dimensions)): (usize, (&str, Vec<u64>))| {
        let count: u64 = dimensions.iter().product();
        let data = (0..count)
            .flat_map(|at| (number as f32 + at as f32 / 4096.0).to_le_bytes())
            .collect();
        Tensor {
            name: format!("{name}.weight"),
            dimensions,
            kind: 0,
            data,
            offset: None,
        }
    };
    let tensors = shapes.into_iter().enumerate().map(tensor).collect();
    GgufFile {
        version: 3,
        metadata,
        tensors,
        tensor_count: None,
        entry_count: None,
    }
}

/// A llama2.c checkpoint of one layer (dim 8, hidden 12, two heads, one key-value head, context 4) and its tokenizer.
pub(crate) fn tiny_llama2c(tied: bool) -> (Vec<u8>, Vec<u8>) {
    let vocab: i32 = 262;
    let header = [8, 12, 1, 2, 1, if tied { vocab } else { -vocab }, 4];
    let mut model: Vec<u8> = header.into_iter().flat_map(i32::to_le_bytes).collect();
    let head = if tied { 0 } else { vocab * 8 };
    let floats = vocab * 8 + 8 + 64 + 32 + 32 + 64 + 8 + 3 * 96 + 8 + 16 + head;
    model.extend((0..floats).flat_map(|at| (at as f32 / 1024.0).to_le_bytes()));
    let mut pieces: Vec<String> = ["<unk>", "\n<s>\n", "\n</s>\n"].map(str::to_owned).to_vec();
    pieces.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend([" ", "a", " a"].map(str::to_owned));
    let mut tokenizer = 7i32.to_le_bytes().to_vec();
    for (id, piece) in pieces.iter().enumerate() {
        tokenizer.extend((-(id as f32)).to_le_bytes());
        tokenizer.extend((piece.len() as i32).to_le_bytes());
        tokenizer.extend(piece.as_bytes());
    }
    (model, tokenizer)
}
