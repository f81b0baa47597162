//! The parts that all recovered tokenizers' files share: special tokens, what is put around a text, and the two
//! files beside `tokenizer.json`.
//!
//! Stands between the vocabularies of foreign formats ([`crate::sentencepiece`], [`crate::gguf`]) and Hugging Face's
//! files.

use serde_json::{Map, Value, json};

/// The ids of special tokens, and where they are put.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpecialTokens {
    pub(crate) bos: Option<usize>,
    pub(crate) eos: Option<usize>,
    pub(crate) unknown: Option<usize>,
    pub(crate) padding: Option<usize>,
    /// Whether `bos` is put before a text.
    pub(crate) add_bos: bool,
    /// Whether `eos` is put after a text.
    pub(crate) add_eos: bool,
}

impl SpecialTokens {
    /// Ids a file names must lie in the vocabulary; this is the first that does not.
    pub(crate) fn first_outside(&self, vocabulary: usize) -> Option<usize> {
        [self.bos, self.eos, self.unknown, self.padding]
            .into_iter()
            .flatten()
            .find(|id| *id >= vocabulary)
    }

    /// The `post_processor` that adds what is to be added; `text` gives the text of a token.
    pub(crate) fn post_processor(&self, text: &dyn Fn(usize) -> String) -> Value {
        let before = self.bos.filter(|_| self.add_bos);
        let after = self.eos.filter(|_| self.add_eos);
        if before.is_none() && after.is_none() {
            return Value::Null;
        }
        let part = |sequence: &str, kind: usize| {
            let token = |id: usize| json!({"SpecialToken": {"id": text(id), "type_id": kind}});
            let sequence = json!({"Sequence": {"id": sequence, "type_id": kind}});
            before
                .map(token)
                .into_iter()
                .chain([sequence])
                .chain(after.map(token))
                .collect::<Vec<Value>>()
        };
        let tokens: Map<String, Value> = [before, after]
            .into_iter()
            .flatten()
            .map(|id| {
                (
                    text(id),
                    json!({"id": text(id), "ids": [id], "tokens": [text(id)]}),
                )
            })
            .collect();
        let pair: Vec<Value> = part("A", 0).into_iter().chain(part("B", 1)).collect();
        json!({"type": "TemplateProcessing", "single": part("A", 0), "pair": pair, "special_tokens": tokens})
    }

    /// `tokenizer.json` as given, `tokenizer_config.json`, `special_tokens_map.json` and `generation_config.json`.
    /// `stop` are the tokens that end a generated text.
    pub(crate) fn files(
        &self,
        tokenizer: &Value,
        text: &dyn Fn(usize) -> String,
        stop: &[usize],
        chat_template: Option<&str>,
    ) -> Vec<(String, Vec<u8>)> {
        let names = [
            ("bos_token", self.bos),
            ("eos_token", self.eos),
            ("unk_token", self.unknown),
            ("pad_token", self.padding),
        ];
        let named: Map<String, Value> = names
            .iter()
            .filter_map(|(name, id)| Some(((*name).to_owned(), json!(text((*id)?)))))
            .collect();
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1_000_000_000u64,
            "add_bos_token": self.add_bos, "add_eos_token": self.add_eos,
            "add_prefix_space": false, "clean_up_tokenization_spaces": false,
        });
        for (name, value) in &named {
            config[name] = value.clone();
        }
        if let Some(template) = chat_template {
            config["chat_template"] = json!(template);
        }
        let mut generation = json!({"bos_token_id": self.bos});
        generation["eos_token_id"] = match stop {
            [one] => json!(one),
            [] => Value::Null,
            several => json!(several),
        };
        if self.padding.is_some() {
            generation["pad_token_id"] = json!(self.padding);
        }
        vec![
            ("tokenizer.json".into(), pretty(tokenizer)),
            ("tokenizer_config.json".into(), pretty(&config)),
            ("special_tokens_map.json".into(), pretty(&Value::Object(named))),
            ("generation_config.json".into(), pretty(&generation)),
        ]
    }
}

/// An entry of `added_tokens`: found in a text before anything else is done to it.
pub(crate) fn added_token(id: usize, text: &str, special: bool) -> Value {
    json!({
        "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": special,
    })
}

/// Indented JSON with a final newline.
pub(crate) fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
