//! `adapter_config.json`: rank and scale of every module, and what an adapter must not be.

use regex::Regex;
use serde_json::{Map, Value};

use super::fault::AdapterFault;

/// Settings that make an adapter something else than W + s·(B·A), and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "fan_in_fan_out",
        "the base keeps its weights transposed (Conv1D of GPT-2)",
    ),
    ("use_dora", "DoRA scales every row of W + s·(B·A) anew"),
    ("use_qalora", "QALoRA pools the inputs"),
    ("use_bdlora", "its factors are block-diagonal"),
    ("kasa_config", "KaSA changes the base, too"),
    ("monteclora_config", "its factors are drawn"),
    (
        "alora_invocation_tokens",
        "an activated LoRA is switched on by tokens of the input",
    ),
    ("arrow_config", "Arrow routes between adapters"),
    ("layer_replication", "it repeats layers of the base"),
    ("target_parameters", "it adapts parameters that are no modules"),
    ("trainable_token_indices", "it holds rows of the embedding"),
    ("lora_bias", "it adds to biases"),
];

/// Beginnings of an adapter that take something out of the base's weights.
const CHANGE_THE_BASE: &[&str] = &["pissa", "olora", "corda", "loftq"];

/// What decides the products of an adapter.
#[derive(Debug)]
pub(crate) struct Configuration {
    rank: usize,
    alpha: f64,
    /// s = α/√r instead of α/r.
    is_rank_stabilised: bool,
    ranks: Vec<(Regex, f64)>,
    alphas: Vec<(Regex, f64)>,
    /// Does the head follow the embedding where they are tied?
    pub(crate) keeps_tie: bool,
}

impl Configuration {
    pub(crate) fn parse(text: &[u8]) -> Result<Configuration, AdapterFault> {
        let broken = |reason: String| AdapterFault::Configuration { reason };
        let fields = match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(broken("it is not an object".to_string())),
            Err(error) => return Err(broken(error.to_string())),
        };
        let kind = fields.get("peft_type").and_then(Value::as_str).unwrap_or("none");
        if kind != "LORA" {
            return Err(AdapterFault::Kind {
                found: kind.to_string(),
            });
        }
        if let Some((field, why)) = REFUSED.iter().find(|(field, _)| is_set(fields.get(*field))) {
            return Err(AdapterFault::Feature { field, why });
        }
        // These leave another base behind than the one that the adapter names.
        let started = fields
            .get("init_lora_weights")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if CHANGE_THE_BASE
            .iter()
            .any(|method| started.to_lowercase().starts_with(method))
        {
            return Err(AdapterFault::Feature {
                field: "init_lora_weights",
                why: "it was begun by a method that changes the base; convert it with PEFT first",
            });
        }
        let number = |field: &str| {
            let value = fields.get(field).and_then(Value::as_f64);
            value.ok_or_else(|| broken(format!("{field} is missing or no number")))
        };
        let rank = number("r")?;
        if !(rank >= 1.0 && rank.fract() == 0.0) {
            return Err(broken(format!("r is {rank}")));
        }
        Ok(Configuration {
            rank: rank as usize,
            alpha: number("lora_alpha")?,
            is_rank_stabilised: is_set(fields.get("use_rslora")),
            ranks: patterns(&fields, "rank_pattern")?,
            alphas: patterns(&fields, "alpha_pattern")?,
            keeps_tie: is_set(fields.get("ensure_weight_tying")),
        })
    }

    /// The rank of a module.
    pub(crate) fn rank(&self, module: &str) -> usize {
        first_match(&self.ranks, module).map_or(self.rank, |rank| rank as usize)
    }

    /// s of a module: α/r, or α/√r with `use_rslora`.
    pub(crate) fn scale(&self, module: &str) -> f64 {
        let alpha = first_match(&self.alphas, module).unwrap_or(self.alpha);
        let rank = self.rank(module) as f64;
        alpha
            / if self.is_rank_stabilised {
                rank.sqrt()
            } else {
                rank
            }
    }
}

/// Is it given, and not as nothing?
fn is_set(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    }
}

/// Numbers by patterns of module names. A pattern stands for a whole name or for its end after a dot, the first one
/// that matches counts.
fn patterns(fields: &Map<String, Value>, field: &str) -> Result<Vec<(Regex, f64)>, AdapterFault> {
    let broken = |reason: String| AdapterFault::Configuration { reason };
    let entries = match fields.get(field) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err(broken(format!("{field} is not an object"))),
    };
    let entry = |(key, value): (&String, &Value)| {
        let value = value.as_f64().filter(|value| *value > 0.0);
        let value = value.ok_or_else(|| broken(format!("{field}, {key}: not a number above 0")))?;
        let pattern = Regex::new(&format!(r"^(?:.*\.)?(?:{key})$"))
            .map_err(|error| broken(format!("{field}, {key}: not a pattern: {error}")))?;
        Ok((pattern, value))
    };
    entries.iter().map(entry).collect()
}

fn first_match(patterns: &[(Regex, f64)], module: &str) -> Option<f64> {
    let found = patterns.iter().find(|(pattern, _)| pattern.is_match(module));
    found.map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Result<Configuration, AdapterFault> {
        let text = format!(r#"{{"peft_type": "LORA", "r": 8, "lora_alpha": 16, {fields}}}"#);
        Configuration::parse(text.as_bytes())
    }

    #[test]
    fn patterns_match_whole_names_and_ends_after_a_dot() {
        let fields = r#""rank_pattern": {"q_proj": 4, "layers.1.mlp.(up|down)_proj": 2}, "alpha_pattern": {"q_proj": 2},
            "use_dora": false, "layer_replication": null, "trainable_token_indices": []"#;
        let configuration = parse(fields).unwrap();
        let of = |module: &str| (configuration.rank(module), configuration.scale(module));
        assert_eq!(of("model.layers.0.self_attn.q_proj"), (4, 0.5));
        assert_eq!(of("model.layers.0.self_attn.xq_proj"), (8, 2.0));
        assert_eq!(of("model.layers.1.mlp.down_proj"), (2, 8.0));
        assert_eq!(of("model.layers.11.mlp.down_proj"), (8, 2.0));
        let stabilised = parse(r#""use_rslora": true"#).unwrap();
        assert_eq!(stabilised.scale("x"), 16.0 / 8f64.sqrt());
    }

    #[test]
    fn what_is_no_plain_lora_is_refused() {
        let said: Vec<String> = [
            r#""use_dora": true"#,
            r#""fan_in_fan_out": true"#,
            r#""rank_pattern": {"q(": 2}"#,
            r#""alpha_pattern": 3"#,
            r#""rank_pattern": {"q": 0}"#,
        ]
        .map(|fields| parse(fields).unwrap_err().to_string())
        .into();
        insta::assert_snapshot!("refused", said.join("\n"));
        let other = Configuration::parse(br#"{"peft_type": "IA3"}"#).unwrap_err();
        assert_eq!(
            other,
            AdapterFault::Kind {
                found: "IA3".to_string()
            }
        );
    }
}
