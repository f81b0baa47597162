//! The chat template of the result.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::tokenizer::TOKENIZER_CONFIG;
use crate::error::{MergeError, Result};
use crate::source::Source;

/// The word for the template that most models have.
pub(crate) const AUTO_TEMPLATE: &str = "auto";
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// Templates by name. Each renders `messages` (role and content) and honours `add_generation_prompt`.
const TEMPLATES: &[(&str, &str)] = &[
    (
        "chatml",
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + \
         '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ),
    (
        "alpaca",
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}{% elif \
         message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}{% elif message['role'] == \
         'assistant' %}{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}{% endif %}{% endfor %}{% if \
         add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}",
    ),
    (
        "llama3",
        "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + \
         message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ \
         '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    ),
    (
        "mistral",
        "{{ bos_token }}{% set told = namespace(text='') %}{% for message in messages %}{% if message['role'] == 'system' \
         %}{% set told.text = message['content'] + '\\n\\n' %}{% elif message['role'] == 'user' %}{{ '[INST] ' + told.text + \
         message['content'] + ' [/INST]' }}{% set told.text = '' %}{% elif message['role'] == 'assistant' %}{{ ' ' + \
         message['content'] | trim + eos_token }}{% endif %}{% endfor %}",
    ),
    (
        "exaone",
        "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\\n' \
         }}{% endif %}{{ '[|' + message['role'] + '|]' + message['content'] }}{% if message['role'] == 'user' %}{{ '\\n' }}{% \
         else %}{{ '[|endofturn|]\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}",
    ),
];

/// The names that stand for a template.
pub(crate) fn template_names() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|(name, _)| *name)
}

/// Puts the template that a document asks for into the tokenizer's files (changed ones, by name), as far as one is
/// found; `owner` is the model that the others are of.
pub(crate) fn set_template(
    wanted: &str,
    models: &[(String, Source)],
    owner: &Source,
    files: &mut BTreeMap<String, Vec<u8>>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let named = TEMPLATES.iter().find(|(name, _)| *name == wanted);
    let template = match (wanted, named) {
        (AUTO_TEMPLATE, _) => most_common(models)?,
        (_, Some((_, template))) => Some((*template).to_string()),
        (template, None) => Some(template.to_string()),
    };
    let Some(template) = template else {
        warnings.push("no model has a chat template, so the result has none".to_string());
        return Ok(());
    };
    let config = match files.get(TOKENIZER_CONFIG) {
        Some(bytes) => Some(bytes.clone()),
        None => owner.small_file(TOKENIZER_CONFIG)?,
    };
    let mut config = parse(owner, config)?;
    config.insert("chat_template".to_string(), Value::from(template));
    let mut bytes = serde_json::to_vec_pretty(&Value::Object(config)).unwrap_or_default();
    bytes.push(b'\n');
    files.insert(TOKENIZER_CONFIG.to_string(), bytes);
    Ok(())
}

/// Files that would hide the template of [`set_template`].
pub(crate) fn is_hidden_by_template(file: &str) -> bool {
    matches!(file, TEMPLATE_FILE | "chat_template.json")
}

/// The template that most models have; the first one's of several that are level.
fn most_common(models: &[(String, Source)]) -> Result<Option<String>> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for (_, source) in models {
        let Some(template) = template_of(source)? else {
            continue;
        };
        match counts.iter_mut().find(|(known, _)| *known == template) {
            Some((_, count)) => *count += 1,
            None => counts.push((template, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max();
    Ok(counts
        .into_iter()
        .find(|(_, count)| Some(*count) == most)
        .map(|(template, _)| template))
}

fn template_of(source: &Source) -> Result<Option<String>> {
    if let Some(bytes) = source.small_file(TEMPLATE_FILE)? {
        return Ok(Some(String::from_utf8_lossy(&bytes).trim().to_string()));
    }
    let config = parse(source, source.small_file(TOKENIZER_CONFIG)?)?;
    let text = match config.get("chat_template") {
        Some(Value::String(text)) => Some(text.as_str()),
        // Several, by name.
        Some(Value::Array(named)) => named
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str()),
        Some(Value::Object(named)) => named.get("default").and_then(Value::as_str),
        _ => None,
    };
    Ok(text.map(|text| text.trim().to_string()))
}

fn parse(source: &Source, bytes: Option<Vec<u8>>) -> Result<Map<String, Value>> {
    let Some(bytes) = bytes else { return Ok(Map::new()) };
    serde_json::from_slice(&bytes).map_err(|error| MergeError::Model {
        model: tributary_store::mask(source.reference()),
        reason: format!("{TOKENIZER_CONFIG}: {error}"),
    })
}
