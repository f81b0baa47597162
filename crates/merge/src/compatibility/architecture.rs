//! Configurations: fields that decide which function the weights are part of.

use serde_json::Value;

use super::Incompatibility;

pub(crate) const LAYERS: &str = "num_hidden_layers";
/// Fields that must be equal. Shapes are compared tensor by tensor, so widths that only show in shapes are not here.
const MUST_AGREE: &[&str] = &[
    "model_type",
    LAYERS,
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "tie_word_embeddings",
];
/// Fields whose difference is worth a word.
const SHOULD_AGREE: &[&str] = &[
    "rope_theta",
    "rope_scaling",
    "architectures",
    "rms_norm_eps",
    "max_position_embeddings",
    "sliding_window",
    "bos_token_id",
    "eos_token_id",
];

/// Compares `config.json` of all models (name, content) with that of the first. Where only `some_layers` are taken, their
/// numbers need not agree.
pub(crate) fn compare_configurations(
    models: &[(&str, &Value)],
    some_layers: bool,
) -> (Vec<Incompatibility>, Vec<String>) {
    let mut refusals = Vec::new();
    let mut warnings = Vec::new();
    for (name, config) in models {
        if config
            .get("quantization_config")
            .is_some_and(|value| !value.is_null())
        {
            let found = [(name.to_string(), "quantised weights".to_string())];
            refusals.push(Incompatibility::new(
                "config.json",
                "quantised weights cannot be merged; dequantise first",
                found,
            ));
        }
    }
    let must_agree = MUST_AGREE
        .iter()
        .filter(|field| !some_layers || **field != LAYERS);
    for field in must_agree {
        let values = models
            .iter()
            .map(|(name, config)| (name.to_string(), effective(config, field).to_string()));
        let difference = Incompatibility::new(format!("config.json, {field}"), "differs", values);
        if difference.found.len() > 1 {
            refusals.push(difference);
        }
    }
    for field in SHOULD_AGREE {
        let values = models
            .iter()
            .map(|(name, config)| (name.to_string(), effective(config, field).to_string()));
        let difference = Incompatibility::new(format!("config.json, {field}"), "differs", values);
        if difference.found.len() > 1 {
            warnings.push(difference.to_string());
        }
    }
    (refusals, warnings)
}

/// The value of a field, with the default that transformers would put in its place, so that an absent field equals
/// its default, and one form for the two ways a rotary embedding is written down.
fn effective(config: &Value, field: &str) -> Value {
    let get = |field: &str| config.get(field).filter(|value| !value.is_null());
    let rotary = get("rope_parameters");
    match field {
        "num_key_value_heads" => get(field)
            .or_else(|| get("num_attention_heads"))
            .cloned()
            .unwrap_or(Value::Null),
        "tie_word_embeddings" => Value::Bool(is_tied(config)),
        "rope_theta" => {
            let theta = get(field)
                .or_else(|| rotary.and_then(|rotary| rotary.get(field)))
                .and_then(Value::as_f64);
            Value::from(theta.unwrap_or(10_000.0))
        }
        "rope_scaling" => rotary_scaling(get(field).or(rotary)),
        "head_dim" => get(field).cloned().unwrap_or_else(|| {
            let number = |field| get(field).and_then(Value::as_u64);
            match (number("hidden_size"), number("num_attention_heads")) {
                (Some(width), Some(heads)) if heads > 0 => Value::from(width / heads),
                _ => Value::Null,
            }
        }),
        _ => get(field).cloned().unwrap_or(Value::Null),
    }
}

fn rotary_scaling(value: Option<&Value>) -> Value {
    let Some(Value::Object(fields)) = value else {
        return Value::Null;
    };
    let kind = fields.get("rope_type").or_else(|| fields.get("type"));
    let mut rest: Vec<(&String, &Value)> = fields
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "rope_type" | "type" | "rope_theta"))
        .collect();
    rest.sort_by_key(|(key, _)| *key);
    match kind.and_then(Value::as_str) {
        None | Some("default") => Value::Null,
        Some(kind) => serde_json::json!({ "type": kind, "with": rest }),
    }
}

/// Is the head the embedding?
pub(crate) fn is_tied(config: &Value) -> bool {
    config
        .get("tie_word_embeddings")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// Number of layers: what the configuration says, else one more than the highest number in the tensors' names.
pub(crate) fn layer_count<'a>(config: &Value, tensors: impl IntoIterator<Item = &'a str>) -> usize {
    let said = config
        .get(LAYERS)
        .and_then(Value::as_u64)
        .and_then(|count| usize::try_from(count).ok());
    said.unwrap_or_else(|| {
        let numbers = tensors
            .into_iter()
            .filter_map(|name| crate::method::layer_of(name).map(|(layer, _)| layer));
        numbers.max().map_or(0, |last| last.saturating_add(1))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_count_as_written() {
        let old = json!({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 10000.0});
        let new = json!({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4,
            "head_dim": 16, "tie_word_embeddings": false, "rope_scaling": null,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000}});
        assert_eq!(
            compare_configurations(&[("a", &old), ("b", &new)], false),
            (vec![], vec![])
        );
    }

    #[test]
    fn differences_name_field_and_models() {
        let a = json!({"num_hidden_layers": 2, "rope_theta": 1e4, "rms_norm_eps": 1e-5});
        let b = json!({"num_hidden_layers": 3, "rope_theta": 1e6, "rms_norm_eps": 1e-6});
        let (refusals, warnings) = compare_configurations(&[("base", &a), ("x", &a), ("y", &b)], false);
        let refusals: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        assert_eq!(
            refusals,
            ["config.json, num_hidden_layers: differs: 2 in base, x; 3 in y"]
        );
        assert_eq!(warnings.len(), 2, "rms_norm_eps and rope_theta: {warnings:?}");
    }
}
