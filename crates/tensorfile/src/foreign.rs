//! A model in another program's format, on its way to a Hugging Face directory.
//!
//! Stands between the format readers ([`crate::gguf`], [`crate::llama2c`]) and whoever writes the
//! directory: configuration and tokenizer files whole, tensors one at a time.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Result, TensorFileError};
use crate::gguf::GgufModel;
use crate::layout::TensorSpec;
use crate::llama2c::Llama2cModel;
use crate::read_at::{MappedFile, ReadAt};

/// An opened foreign model.
pub struct Foreign {
    /// `config.json`.
    pub config: Value,
    /// Tokenizer and generation files by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// The tensors under Hugging Face's names; what [`Self::read_f32`] gives is f32.
    pub tensors: Vec<TensorSpec>,
    /// "GGUF" or "llama2.c".
    pub format: &'static str,
    reader: Box<dyn ForeignTensors>,
}

/// Tensors of a foreign file by index.
pub(crate) trait ForeignTensors: Send + Sync {
    /// All elements of tensor `index`, rows already in Hugging Face's order.
    fn read_f32(&self, index: usize) -> Result<Vec<f32>>;
}

/// The parts a format reader gives.
pub(crate) struct Parts {
    pub(crate) config: Value,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) tensors: Vec<TensorSpec>,
    pub(crate) reader: Box<dyn ForeignTensors>,
}

impl Foreign {
    /// Opens a GGUF file, or a llama2.c checkpoint with its tokenizer beside it (`tok*.bin`, or
    /// `tokenizer.bin`).
    ///
    /// # Errors
    /// [`TensorFileError`] naming the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self> {
        let file: Arc<dyn ReadAt> = Arc::new(MappedFile::open(path)?);
        let name = path.display().to_string();
        let bytes = file.as_slice().unwrap_or_default();
        let (format, parts) = if bytes.starts_with(b"GGUF") {
            ("GGUF", GgufModel::open(&name, file)?)
        } else if path.extension().is_some_and(|extension| extension == "bin") {
            ("llama2.c", Llama2cModel::open(&name, file, &tokenizer_beside(path)?)?)
        } else {
            let reason = "neither GGUF (by its first bytes) nor a llama2.c .bin file".to_owned();
            return Err(TensorFileError::Unsupported { file: name, reason });
        };
        let Parts { config, files, tensors, reader } = parts;
        Ok(Self { config, files, tensors, format, reader })
    }

    /// All elements of `tensors[index]`.
    ///
    /// # Errors
    /// [`TensorFileError::Tensor`] if the index is out of range; otherwise what reading gives.
    pub fn read_f32(&self, index: usize) -> Result<Vec<f32>> {
        if index >= self.tensors.len() {
            return Err(TensorFileError::tensor(self.format, &index.to_string(), "no such tensor"));
        }
        self.reader.read_f32(index)
    }
}

fn tokenizer_beside(path: &Path) -> Result<Vec<u8>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let read = |source| TensorFileError::Read { file: folder.display().to_string(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).map_err(read)? {
        let candidate = entry.map_err(read)?.path();
        let name = candidate.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("tok") && name.ends_with(".bin") {
            found.push(candidate);
        }
    }
    found.sort();
    match &found[..] {
        [one] => std::fs::read(one).map_err(|source| TensorFileError::Read { file: one.display().to_string(), source }),
        [] => Err(TensorFileError::Unsupported {
            file: path.display().to_string(),
            reason: "a llama2.c checkpoint needs its tokenizer beside it, as tok*.bin".into(),
        }),
        _ => Err(TensorFileError::Unsupported {
            file: path.display().to_string(),
            reason: format!("{} tokenizers (tok*.bin) lie beside it; keep one", found.len()),
        }),
    }
}

/// Reorders the rows of a query or key projection from adjacent-pair rotation (llama2.c, GGUF) to
/// half rotation (Hugging Face): within a head, the even rows come first, then the odd ones.
pub(crate) fn halves_from_pairs(values: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    let head = rows / heads.max(1);
    let mut out = Vec::with_capacity(values.len());
    for start in (0..rows).step_by(head.max(1)) {
        for parity in 0..2 {
            for pair in 0..head / 2 {
                let row = start + 2 * pair + parity;
                out.extend_from_slice(&values[row * columns..][..columns]);
            }
        }
    }
    out
}

/// Name and shape of every tensor of a Llama in Hugging Face's layout, in file order of the layers.
pub(crate) fn llama_part(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}
