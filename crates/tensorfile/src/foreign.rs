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
    /// Opens a GGUF file, or a llama2.c checkpoint (`.bin`) with its tokenizer beside it: of all `tok*.bin`, the
    /// one with as many tokens as the model.
    ///
    /// # Errors
    /// [`TensorFileError`] naming the file and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &mut || tokenizers_beside(path))
    }

    /// Like [`Self::open`] with a given llama2.c tokenizer; a GGUF file brings its own, and this one is not looked at.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with_tokenizer(path: &Path, tokenizer: &Path) -> Result<Self> {
        Self::open_with(path, &mut || Ok(vec![read_tokenizer(tokenizer)?]))
    }

    fn open_with(path: &Path, tokenizers: &mut dyn FnMut() -> Result<Vec<Tokenizer>>) -> Result<Self> {
        let file: Arc<dyn ReadAt> = Arc::new(MappedFile::open(path)?);
        let name = path.display().to_string();
        let mut magic = [0; 4];
        let is_gguf = file.read_at(0, &mut magic).is_ok() && &magic == b"GGUF";
        let (format, parts) = if is_gguf {
            ("GGUF", GgufModel::open(&name, file)?)
        } else if path.extension().is_some_and(|extension| extension == "bin") {
            ("llama2.c", Llama2cModel::open(&name, file, &tokenizers()?)?)
        } else {
            let reason = "neither GGUF (by its first bytes) nor a llama2.c .bin file".to_owned();
            return Err(TensorFileError::Unsupported { file: name, reason });
        };
        let Parts {
            config,
            files,
            tensors,
            reader,
        } = parts;
        Ok(Self {
            config,
            files,
            tensors,
            format,
            reader,
        })
    }

    /// All elements of `tensors[index]`.
    ///
    /// # Errors
    /// [`TensorFileError::Tensor`] if the index is out of range; otherwise what reading gives.
    pub fn read_f32(&self, index: usize) -> Result<Vec<f32>> {
        if index >= self.tensors.len() {
            return Err(TensorFileError::tensor(
                self.format,
                &index.to_string(),
                "no such tensor",
            ));
        }
        self.reader.read_f32(index)
    }
}

/// Name and bytes of a llama2.c tokenizer.
type Tokenizer = (String, Vec<u8>);

/// The largest tokenizer looked at; one of 32,000 tokens has 424 kB.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

fn read_tokenizer(path: &Path) -> Result<Tokenizer> {
    let file = MappedFile::open(path)?;
    let name = path.display().to_string();
    if file.len() > MAX_TOKENIZER_BYTES {
        let reason = format!(
            "{} bytes, more than {MAX_TOKENIZER_BYTES}: not a tokenizer",
            file.len()
        );
        return Err(TensorFileError::malformed(&name, reason));
    }
    let bytes = ReadAt::as_slice(&file).unwrap_or_default().to_vec();
    Ok((name, bytes))
}

/// All `tok*.bin` in the folder of `path`, sorted.
fn tokenizers_beside(path: &Path) -> Result<Vec<Tokenizer>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let read = |source| TensorFileError::Read {
        file: folder.display().to_string(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let candidate = entry.map_err(read)?.path();
        let name = candidate
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with("tok") && name.ends_with(".bin") && candidate != path {
            found.push(candidate);
        }
    }
    found.sort();
    found.iter().map(|path| read_tokenizer(path)).collect()
}

/// Reorders the rows of a query or key projection from adjacent-pair rotation (llama2.c, GGUF) to
/// half rotation (Hugging Face): within a head, the even rows come first, then the odd ones. The rows
/// divide into `heads` heads of an even number of rows, which both readers check before.
pub(crate) fn halves_from_pairs(values: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let head = values.len() / heads.max(1);
    let mut out = Vec::with_capacity(values.len());
    for rows in values.chunks_exact(head.max(1)) {
        for parity in 0..2 {
            for row in rows.chunks_exact(columns.max(1)).skip(parity).step_by(2) {
                out.extend_from_slice(row);
            }
        }
    }
    out
}

/// Hugging Face's name of a part of a layer.
pub(crate) fn llama_part(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_rows_of_a_head_come_first() {
        // Two heads of four rows of two columns; a row holds its number twice.
        let values: Vec<f32> = (0..8).flat_map(|row| [row as f32; 2]).collect();
        let rows: Vec<f32> = halves_from_pairs(&values, 2, 2).into_iter().step_by(2).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    }
}
