//! The small files of the result: configuration and tokenizer.

use serde_json::{Map, Value};
use tributary_tensorfile::DType;

use crate::config::FloatType;
use crate::engine::Work;

/// Files that make up a tokenizer in Hugging Face's layout.
pub(crate) const TOKENIZER_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// `config.json` of the result: that of the leading model, with the type of the tensors as they are written and
/// without the path it was once loaded from.
pub(crate) fn configuration(
    lead: &Map<String, Value>,
    output: Option<FloatType>,
    tensors: &[Work],
) -> Vec<u8> {
    let mut fields = lead.clone();
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
    for tensor in tensors.iter().filter(|tensor| tensor.copied_from.is_none()) {
        match counts.iter_mut().find(|(dtype, _)| *dtype == tensor.spec.dtype) {
            Some((_, count)) => *count += tensor.spec.elements(),
            None => counts.push((tensor.spec.dtype, tensor.spec.elements())),
        }
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.name().cmp(b.0.name())));
    counts.first().map(|(dtype, _)| *dtype)
}
