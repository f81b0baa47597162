//! Which tokens have a role (beginning, end, padding, unknown), from the JSON files beside `tokenizer.json`.
//!
//! Precedence as in transformers: where `tokenizer_config.json` has an `added_tokens_decoder` it alone counts; else
//! `special_tokens_map.json` goes before it. Where neither has a word on a role (`null` is a word), the ids of
//! `generation_config.json` and `config.json` count. A named token that is not in the vocabulary has no id and is left out
//! (transformers would append it, which no embedding table has a row for).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Special tokens that end an assistant's turn in widespread chat formats: generation stops at them as at `eos`.
const TURN_ENDS: [&str; 6] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|eom_id|>",
    "<|end_of_text|>",
];

/// The tokens with a role, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Beginning of a sequence.
    pub bos: Option<u32>,
    /// End of a sequence.
    pub eos: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Unknown text.
    pub unk: Option<u32>,
    /// All tokens at which generation should stop, ascending: `eos`, further end tokens of the model's configuration, and
    /// the turn ends of well-known chat formats that the vocabulary has as special tokens.
    pub stop: Vec<u32>,
    /// Role names and texts (`bos_token` and so on), as a chat template sees them.
    pub texts: Vec<(String, String)>,
}

/// What the files beside `tokenizer.json` say, parsed.
#[derive(Debug, Default)]
pub(super) struct SideFiles {
    pub(super) tokenizer_config: Map<String, Value>,
    pub(super) special_tokens_map: Map<String, Value>,
    pub(super) generation_config: Map<String, Value>,
    pub(super) config: Map<String, Value>,
    pub(super) chat_template_file: Option<String>,
}

impl SideFiles {
    /// Resolves roles against a vocabulary. `id` maps a token's text to its id, `text` back, `special` tells special tokens.
    pub(super) fn resolve(
        &self,
        id: &dyn Fn(&str) -> Option<u32>,
        text: &dyn Fn(u32) -> Option<String>,
        special: &dyn Fn(&str) -> bool,
    ) -> SpecialTokens {
        let naming: &[_] = if self.tokenizer_config.contains_key("added_tokens_decoder") {
            &[&self.tokenizer_config]
        } else {
            &[&self.special_tokens_map, &self.tokenizer_config]
        };
        let role = |name: &str| -> Option<u32> {
            let token = format!("{name}_token");
            match naming.iter().find_map(|file| file.get(&token)) {
                Some(named) => id(&token_text(named)?),
                None => [&self.generation_config, &self.config]
                    .into_iter()
                    .find_map(|file| token_ids(file.get(&format!("{token}_id"))).first().copied())
                    .filter(|&found| text(found).is_some()),
            }
        };
        let (bos, eos, pad, unk) = (role("bos"), role("eos"), role("pad"), role("unk"));
        let mut stop: BTreeSet<u32> = eos.into_iter().collect();
        for file in [&self.generation_config, &self.config] {
            stop.extend(
                token_ids(file.get("eos_token_id"))
                    .into_iter()
                    .filter(|&found| text(found).is_some()),
            );
        }
        stop.extend(
            TURN_ENDS
                .iter()
                .filter(|name| special(name))
                .filter_map(|name| id(name)),
        );
        let texts = [
            ("bos_token", bos),
            ("eos_token", eos),
            ("pad_token", pad),
            ("unk_token", unk),
        ]
        .into_iter()
        .filter_map(|(name, found)| Some((name.to_owned(), text(found?)?)))
        .collect();
        SpecialTokens {
            bos,
            eos,
            pad,
            unk,
            stop: stop.into_iter().collect(),
            texts,
        }
    }

    /// Whether `tokenizer_config.json` asks for `add_bos_token` or `add_eos_token`.
    pub(super) fn asks_for(&self, option: &str) -> bool {
        self.tokenizer_config
            .get(option)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// The chat template: the file `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`, which is a text
    /// or a list of named texts of which `default` counts.
    pub(super) fn chat_template(&self) -> Option<String> {
        if let Some(file) = &self.chat_template_file {
            return Some(file.clone());
        }
        match self.tokenizer_config.get("chat_template")? {
            Value::String(template) => Some(template.clone()),
            Value::Array(named) => named
                .iter()
                .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
                .and_then(|entry| entry.get("template")?.as_str().map(str::to_owned)),
            _ => None,
        }
    }
}

/// A token in JSON: its text, or an object with its text as `content`.
fn token_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(token) => token.get("content")?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// One id or a list of ids.
fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: [&str; 4] = ["<s>", "</s>", "<|im_end|>", "a"];

    fn resolve(files: &SideFiles) -> SpecialTokens {
        files.resolve(
            &|token| {
                VOCABULARY
                    .iter()
                    .position(|entry| *entry == token)
                    .map(|id| id as u32)
            },
            &|id| VOCABULARY.get(id as usize).map(|token| (*token).to_owned()),
            &|token| token != "a",
        )
    }

    fn map(json: Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn the_map_goes_before_the_configuration_unless_that_lists_its_tokens() {
        let mut files = SideFiles {
            tokenizer_config: map(
                serde_json::json!({"eos_token": {"content": "</s>", "lstrip": false}, "bos_token": null}),
            ),
            special_tokens_map: map(
                serde_json::json!({"eos_token": "a", "bos_token": "<s>", "pad_token": "[PAD]"}),
            ),
            generation_config: map(
                serde_json::json!({"eos_token_id": [1, 3, 99], "pad_token_id": 3, "bos_token_id": 1}),
            ),
            ..SideFiles::default()
        };
        let special = resolve(&files);
        assert_eq!((special.bos, special.eos), (Some(0), Some(3)));
        assert_eq!(special.pad, None, "[PAD] is named but not in the vocabulary");
        files
            .tokenizer_config
            .insert("added_tokens_decoder".to_owned(), serde_json::json!({}));
        let special = resolve(&files);
        assert_eq!(
            (special.bos, special.eos, special.pad),
            (None, Some(1), Some(3)),
            "null is a word on the role"
        );
        assert_eq!(
            special.stop,
            [1, 2, 3],
            "ids outside the vocabulary are no stop tokens"
        );
        assert_eq!(special.texts[0], ("eos_token".to_owned(), "</s>".to_owned()));
    }

    #[test]
    fn ids_of_the_model_configuration_fill_the_gaps() {
        let files = SideFiles {
            config: map(serde_json::json!({"bos_token_id": 0, "eos_token_id": 1})),
            ..SideFiles::default()
        };
        assert_eq!((resolve(&files).bos, resolve(&files).eos), (Some(0), Some(1)));
    }
}
