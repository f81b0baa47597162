//! How a byte-level tokenizer cuts text before merging, by llama.cpp's name for it (`tokenizer.ggml.pre`).
//!
//! The regular expressions are those of the models' own `tokenizer.json` files. Llama.cpp's name also settles two things
//! the metadata may leave out: whether a word that is a token as a whole skips merging, and whether a text begins
//! with the beginning-of-text token.

use serde_json::{Value, json};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Every name this program reads, for messages.
pub(super) const NAMES: &str = "default, gpt-2, smollm and its kin (starcoder, refact, command-r, exaone, minerva-7b), \
     llama-bpe and its kin (llama3, llama-v3, falcon3, dbrx, smaug-bpe), qwen2, deepseek-r1-qwen, tekken";

/// One way of cutting.
pub(super) struct Split {
    /// The `pre_tokenizer` of a `tokenizer.json`.
    pub(super) pre_tokenizer: Value,
    /// Whether a word that is a token as a whole is not merged.
    pub(super) ignore_merges: bool,
    /// Whether a text begins with the beginning-of-text token where the metadata does not say.
    pub(super) add_bos: bool,
}

/// The way llama.cpp calls `name`, or `None` if it is not read.
pub(super) fn find(name: &str) -> Option<Split> {
    let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let after =
        |first: Value, regex: bool| json!({"type": "Sequence", "pretokenizers": [first, byte_level(regex)]});
    let pattern = |regex: &str| {
        let split =
            json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
        after(split, false)
    };
    let (pre_tokenizer, whole_words) = match name {
        "default" | "gpt-2" => (byte_level(true), false),
        "smollm" | "starcoder" | "refact" | "command-r" | "exaone" | "minerva-7b" => (
            after(json!({"type": "Digits", "individual_digits": true}), true),
            false,
        ),
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" => (pattern(LLAMA3), true),
        "dbrx" | "smaug-bpe" => (pattern(LLAMA3), false),
        "qwen2" | "deepseek-r1-qwen" => (pattern(QWEN2), false),
        "tekken" => (pattern(TEKKEN), true),
        _ => return None,
    };
    Some(Split {
        pre_tokenizer,
        ignore_merges: whole_words,
        add_bos: whole_words,
    })
}
