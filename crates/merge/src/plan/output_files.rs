//! The small files of the result: configuration and tokenizer.

use serde_json::{Map, Value};
use tributary_tensorfile::DType;

use crate::config::FloatType;
use crate::engine::Work;

/// Fields of a configuration that number tokens.
const TOKEN_FIELDS: &[&str] = &["bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"];

/// `fields` with what depends on the tokenizer: the number of rows, and the special tokens of the model that it is from.
pub(crate) fn set_vocabulary(
    fields: &mut Map<String, Value>,
    rows: Option<usize>,
    owner: &Map<String, Value>,
) {
    for key in TOKEN_FIELDS {
        if let Some(value) = owner.get(*key) {
            fields.insert((*key).to_string(), value.clone());
        }
    }
    if let Some(rows) = rows {
        fields.insert("vocab_size".to_string(), Value::from(rows));
    }
}

/// `config.json` of the result: these fields, with the type of the tensors as they are written and without the path they
/// were once loaded from.
pub(crate) fn configuration(
    mut fields: Map<String, Value>,
    output: Option<FloatType>,
    tensors: &[Work],
) -> Vec<u8> {
    fields.shift_remove("_name_or_path");
    let name = output
        .map(FloatType::name)
        .or_else(|| most_common(tensors).and_then(DType::torch_name));
    if let Some(name) = name {
        let old = fields.contains_key("torch_dtype") || !fields.contains_key("dtype");
        for key in ["torch_dtype", "dtype"] {
            if fields.contains_key(key) || (key == "torch_dtype" && old) {
                fields.insert(key.to_string(), Value::from(name));
            }
        }
    }
    let mut bytes = serde_json::to_vec_pretty(&Value::Object(fields)).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// The type of most merged elements; of the first type in name order if two are level.
fn most_common(tensors: &[Work]) -> Option<DType> {
    let mut counts: Vec<(DType, usize)> = Vec::new();
    for tensor in tensors.iter().filter(|tensor| !tensor.is_copied) {
        match counts.iter_mut().find(|(dtype, _)| *dtype == tensor.spec.dtype) {
            Some((_, count)) => *count += tensor.spec.elements(),
            None => counts.push((tensor.spec.dtype, tensor.spec.elements())),
        }
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.name().cmp(b.0.name())));
    counts.first().map(|(dtype, _)| *dtype)
}
