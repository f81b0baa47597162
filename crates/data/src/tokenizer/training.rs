//! Learning a byte-level BPE tokenizer from text, the same from the same text on any machine.
//!
//! The shape is SmolLM2's: digits stand alone, then GPT-2's splitting and byte alphabet; special tokens come first (ids from
//! 0), then the 256 bytes, then the merges in order of learning. Counting runs on all threads; see `merges` for learning.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::json;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

use super::merges::{self, Word};
use super::model::Tokenizer;
use crate::chat::CHATML;
use crate::error::{Error, Result};

/// Text counted at a time, so that a corpus need not be held.
const BLOCK_BYTES: usize = 8 << 20;
/// A pair must occur this often to become a token.
const MIN_COUNT: u64 = 2;

impl Tokenizer {
    /// Learns a byte-level BPE of at most `vocab_size` tokens (fewer where the text runs out of pairs that occur twice).
    ///
    /// `special` tokens get the first ids; the first of them serves as beginning, end, padding and unknown. With
    /// `<|im_start|>` and `<|im_end|>` among them the tokenizer carries the ChatML chat template. Occurrences of special
    /// tokens in the texts are left out of the counts.
    ///
    /// # Errors
    /// If `vocab_size` has no room for the special tokens and the 256 bytes, or a special token is empty or given twice.
    pub fn train_byte_bpe(
        texts: impl Iterator<Item = String>,
        vocab_size: usize,
        special: &[&str],
    ) -> Result<Self> {
        let mut spellings: Vec<String> = special.iter().map(|&token| token.to_owned()).collect();
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let first_letter = spellings.len();
        spellings.extend(alphabet.iter().map(char::to_string));
        check(special, spellings.len(), vocab_size)?;

        let mut words: Vec<Word> = count_words(texts, special)?
            .into_iter()
            .map(|(word, count)| Word {
                // Every letter of a byte-level word is in the alphabet.
                tokens: word
                    .chars()
                    .filter_map(|letter| alphabet.binary_search(&letter).ok())
                    .map(|index| (first_letter + index) as u32)
                    .collect(),
                count,
            })
            .collect();
        let room = vocab_size - spellings.len();
        let merges = merges::learn(&mut words, &mut spellings, room, MIN_COUNT);
        let files = files(&spellings, &merges, special)?;
        Self::from_files("(trained)", &mut |file| {
            Ok(files
                .iter()
                .find(|(name, _)| name == file)
                .map(|(_, bytes)| bytes.clone()))
        })
    }
}

fn check(special: &[&str], fixed: usize, vocab_size: usize) -> Result<()> {
    for (index, token) in special.iter().enumerate() {
        if token.is_empty() || special[..index].contains(token) || token.chars().count() == 1 {
            let problem = format!("special token {token:?} is empty, a single letter, or given twice");
            return Err(Error::Option {
                option: "special",
                problem,
            });
        }
    }
    if vocab_size < fixed || u32::try_from(vocab_size).is_err() {
        let problem = format!(
            "{vocab_size} has no room for {} special tokens and 256 bytes: at least {fixed}",
            special.len()
        );
        return Err(Error::Option {
            option: "vocab_size",
            problem,
        });
    }
    Ok(())
}

/// How often each byte-level word occurs, in order of spelling.
fn count_words(texts: impl Iterator<Item = String>, special: &[&str]) -> Result<BTreeMap<String, u64>> {
    let mut totals = BTreeMap::new();
    let mut block: Vec<String> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        bytes += text.len();
        block.push(text);
        if bytes >= BLOCK_BYTES {
            count_block(&block, special, &mut totals)?;
            block.clear();
            bytes = 0;
        }
    }
    count_block(&block, special, &mut totals)?;
    Ok(totals)
}

fn count_block(block: &[String], special: &[&str], totals: &mut BTreeMap<String, u64>) -> Result<()> {
    let splitter = Sequence::new(vec![
        Digits::new(true).into(),
        ByteLevel::new(false, true, true).into(),
    ]);
    let count = |text: &String| -> tokenizers::Result<BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        for part in without_special(text, special) {
            let mut split = PreTokenizedString::from(part);
            splitter.pre_tokenize(&mut split)?;
            for (word, _, _) in split.get_splits(OffsetReferential::Original, OffsetType::None) {
                *counts.entry(word.to_owned()).or_default() += 1;
            }
        }
        Ok(counts)
    };
    let add = |mut left: BTreeMap<String, u64>, right: BTreeMap<String, u64>| {
        for (word, count) in right {
            *left.entry(word).or_default() += count;
        }
        left
    };
    let counts = block
        .par_iter()
        .map(count)
        .try_reduce(BTreeMap::new, |left, right| Ok(add(left, right)))
        .map_err(|err| Error::Tokenizer {
            name: "(training)".to_owned(),
            problem: err.to_string(),
        })?;
    *totals = add(std::mem::take(totals), counts);
    Ok(())
}

/// The stretches of `text` between special tokens.
fn without_special<'a>(text: &'a str, special: &[&str]) -> Vec<&'a str> {
    special.iter().fold(vec![text], |parts, token| {
        parts.into_iter().flat_map(|part| part.split(token)).collect()
    })
}

/// `tokenizer.json` and the files beside it.
fn files(spellings: &[String], merges: &[(u32, u32)], special: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let added: Vec<_> = special
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let vocab: serde_json::Map<String, serde_json::Value> = spellings
        .iter()
        .enumerate()
        .map(|(id, token)| (token.clone(), json!(id)))
        .collect();
    let merges: Vec<_> = merges
        .iter()
        .map(|&(left, right)| json!([spellings[left as usize], spellings[right as usize]]))
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level]},
        "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocab, "merges": merges},
    });
    let mut roles = serde_json::Map::new();
    if let Some(end) = special.first() {
        for role in ["bos_token", "eos_token", "pad_token", "unk_token"] {
            roles.insert(role.to_owned(), json!(end));
        }
    }
    let mut config = roles.clone();
    config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    if ["<|im_start|>", "<|im_end|>"]
        .iter()
        .all(|token| special.contains(token))
    {
        config.insert("chat_template".to_owned(), json!(CHATML));
    }
    let bytes = |name: &str, value: serde_json::Value| {
        serde_json::to_vec_pretty(&value)
            .map(|bytes| (name.to_owned(), bytes))
            .map_err(|err| Error::Tokenizer {
                name: name.to_owned(),
                problem: err.to_string(),
            })
    };
    Ok(vec![
        bytes("tokenizer.json", tokenizer)?,
        bytes("tokenizer_config.json", config.into())?,
        bytes("special_tokens_map.json", roles.into())?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

    fn texts() -> impl Iterator<Item = String> {
        (0..400).map(|n| {
            format!(
                "The {} fox number {n} said: \"it's {} o'clock<|endoftext|>\" 🦊\n",
                ["red", "quick"][n % 2],
                n % 13
            )
        })
    }

    #[test]
    fn training_is_the_same_on_any_number_of_threads() {
        let train = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                Tokenizer::train_byte_bpe(texts(), 400, &SPECIAL)
                    .unwrap()
                    .to_files()
            })
        };
        let once = train(1);
        assert!((2..=5).all(|threads| train(threads) == once));
    }

    #[test]
    fn a_trained_tokenizer_reads_back_what_it_wrote() {
        let tokenizer = Tokenizer::train_byte_bpe(texts(), 290, &SPECIAL).unwrap();
        assert_eq!(tokenizer.vocab_size(), 290);
        assert_eq!(
            (tokenizer.bos(), tokenizer.eos(), tokenizer.id("<|im_end|>")),
            (Some(0), Some(0), Some(2))
        );
        assert_eq!(tokenizer.special().stop, [0, 2]);
        let text = "  The fox\n\n said 2025 times: ünïcødé 🦊 \u{0} <|im_start|>";
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        assert_eq!(ids.last(), Some(&1));
        assert!(!tokenizer.decode(&ids, true).unwrap().contains("im_start"));
        assert_eq!(
            tokenizer.encode_plain("13").unwrap().len(),
            2,
            "digits stand alone"
        );
        assert_eq!(
            tokenizer.encode_plain(" fox").unwrap().len(),
            1,
            "a frequent word is one token"
        );
        assert!(tokenizer.chat_template().is_some());
        assert!(tokenizer.decode(&[290], false).is_err());
    }

    #[test]
    fn a_vocabulary_without_room_for_the_bytes_is_refused() {
        let error = Tokenizer::train_byte_bpe(texts(), 200, &SPECIAL)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "option `vocab_size`: 200 has no room for 3 special tokens and 256 bytes: at least 259"
        );
        assert!(Tokenizer::train_byte_bpe(texts(), 400, &["<x>", "<x>"]).is_err());
    }

    #[test]
    fn little_text_gives_a_small_vocabulary() {
        let tokenizer =
            Tokenizer::train_byte_bpe(std::iter::once("abab".to_owned()), 5000, &SPECIAL).unwrap();
        assert_eq!(tokenizer.vocab_size(), 3 + 256 + 1);
    }
}
