//! What the name of an adapter's tensor says.

/// What PEFT puts before the names of the base.
pub(crate) const PREFIX: &str = "base_model.model.";

/// What a tensor of an adapter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// One of two factors of a module's update.
    Factor {
        module: &'a str,
        is_a: bool,
        is_embedding: bool,
    },
    /// A whole tensor of the base, by its name there.
    Full {
        target: String,
        /// The one that the update of its module is added to.
        is_base: bool,
    },
}

const FACTORS: [(&str, bool, bool); 6] = [
    (".lora_A.weight", true, false),
    (".lora_B.weight", false, false),
    (".lora_A.default.weight", true, false),
    (".lora_B.default.weight", false, false),
    (".lora_embedding_A", true, true),
    (".lora_embedding_B", false, true),
];

/// Reads a name; `None` if it belongs to no LoRA adapter.
pub(crate) fn parse(name: &str) -> Option<Part<'_>> {
    let inner = name.strip_prefix(PREFIX)?;
    for (ending, is_a, is_embedding) in FACTORS {
        if let Some(module) = inner.strip_suffix(ending) {
            return Some(Part::Factor {
                module,
                is_a,
                is_embedding,
            });
        }
    }
    if inner.contains("lora_") || inner.contains("trainable_tokens") {
        return None;
    }
    let target = inner
        .replace(".modules_to_save.default.", ".")
        .replace(".modules_to_save.", ".");
    let plain = target.replace(".base_layer.", ".");
    Some(Part::Full {
        is_base: plain != target,
        target: plain,
    })
}

/// Is the module one that turns hidden states into scores of tokens?
pub(crate) fn is_head(module: &str) -> bool {
    matches!(last_part(module), "lm_head" | "embed_out")
}

/// Is the module one that turns tokens into hidden states?
pub(crate) fn is_embedding(module: &str) -> bool {
    matches!(
        last_part(module),
        "embed_tokens" | "wte" | "embed_in" | "word_embeddings"
    )
}

/// The last part of a dotted name.
pub(crate) fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_tensor_is() {
        let factor = |module, is_a, is_embedding| Part::Factor {
            module,
            is_a,
            is_embedding,
        };
        let full = |target: &str, is_base| Part::Full {
            target: target.to_string(),
            is_base,
        };
        let known = [
            (
                "model.layers.0.q.lora_A.weight",
                factor("model.layers.0.q", true, false),
            ),
            (
                "model.layers.0.q.lora_B.default.weight",
                factor("model.layers.0.q", false, false),
            ),
            (
                "model.embed_tokens.lora_embedding_B",
                factor("model.embed_tokens", false, true),
            ),
            ("model.norm.weight", full("model.norm.weight", false)),
            ("lm_head.modules_to_save.weight", full("lm_head.weight", false)),
            (
                "lm_head.modules_to_save.default.weight",
                full("lm_head.weight", false),
            ),
            (
                "model.layers.0.q.base_layer.bias",
                full("model.layers.0.q.bias", true),
            ),
        ];
        for (name, part) in known {
            assert_eq!(parse(&format!("{PREFIX}{name}")), Some(part), "{name}");
        }
        assert_eq!(parse("base_model.model.q.lora_magnitude_vector"), None);
        assert_eq!(parse("q.lora_A.weight"), None);
    }
}
