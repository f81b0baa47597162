//! The tokenizer of a model: text to ids as transformers does it, ids to text, special tokens and chat template.
//!
//! Stands between the files of a Hugging Face model directory and everything that needs ids. The files it was loaded from
//! are kept byte for byte, so that a model made from this one carries the very same tokenizer ([`Tokenizer::to_files`]).
//!
//! What `tokenizer(text)` of transformers adds around a text is worked out once, at loading: the post-processor of
//! `tokenizer.json` is applied to a probe and what it puts before and after becomes a prefix and a suffix. Where
//! `tokenizer.json` has no post-processor, `add_bos_token` and `add_eos_token` of `tokenizer_config.json` say what to add.
//! Padding and truncation written into `tokenizer.json` are switched off, as transformers does by default.

use std::ops::Range;

use serde_json::{Map, Value};
use tokenizers::PostProcessor as _;
use tributary_store::Store;

use super::special::{SideFiles, SpecialTokens};
use crate::chat::ChatTemplate;
use crate::error::{Error, Result};

/// The file every tokenizer has; the others beside it are optional.
/// Largest tokenizer file that is read; one of 250,000 tokens has 20 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// Converts between text and token ids; cheap to share by reference between threads.
#[derive(Debug)]
pub struct Tokenizer {
    name: String,
    inner: tokenizers::Tokenizer,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    special: SpecialTokens,
    chat_template: Option<ChatTemplate>,
    vocab_size: usize,
    /// A SentencePiece-style tokenizer puts a space before every text; see [`Tokenizer::encode_continuation`].
    prepends_space: bool,
    files: Vec<(String, Vec<u8>)>,
}

impl Tokenizer {
    /// A tokenizer from the bytes of a `tokenizer.json` alone. Without the files beside it no token has a role.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        Self::from_files(TOKENIZER, &mut |file| {
            Ok((file == TOKENIZER).then(|| json.to_vec()))
        })
    }

    /// The tokenizer of a model directory: `tokenizer.json` and, where they exist, `tokenizer_config.json`,
    /// `special_tokens_map.json`, `chat_template.jinja`, `generation_config.json` and `config.json`.
    pub fn load(store: &Store) -> Result<Self> {
        Self::from_files(&store.url(), &mut |file| match store.head(file)? {
            Some(found) if found.size > MAX_FILE_BYTES => Err(Error::Format {
                path: store.describe(file),
                problem: format!(
                    "{} bytes are more than a tokenizer's {MAX_FILE_BYTES}",
                    found.size
                ),
            }),
            Some(_) => Ok(Some(store.get(file)?.to_vec())),
            None => Ok(None),
        })
    }

    /// A tokenizer from files that `fetch` returns by name, or `None` where there is no such file. `name` is for messages.
    pub fn from_files(name: &str, fetch: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>) -> Result<Self> {
        let fail = |problem: String| Error::Tokenizer {
            name: name.to_owned(),
            problem,
        };
        let Some(json) = fetch(TOKENIZER)? else {
            let hint = "; a vocabulary in another format (`tokenizer.model`, `vocab.json`) can be converted with transformers: \
                        `AutoTokenizer.from_pretrained(dir).save_pretrained(dir)`";
            return Err(Error::Missing {
                path: format!("{name}/{TOKENIZER}"),
                hint: hint.to_owned(),
            });
        };
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&json).map_err(|err| fail(format!("{TOKENIZER}: {err}")))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|err| fail(err.to_string()))?;
        let mut files = vec![(TOKENIZER.to_owned(), json)];
        let mut object = |file: &str, keep: bool| -> Result<Map<String, Value>> {
            let Some(bytes) = fetch(file)? else {
                return Ok(Map::new());
            };
            let parsed = serde_json::from_slice(&bytes).map_err(|err| fail(format!("{file}: {err}")))?;
            if keep {
                files.push((file.to_owned(), bytes));
            }
            Ok(parsed)
        };
        let mut side = SideFiles {
            tokenizer_config: object(TOKENIZER_CONFIG, true)?,
            special_tokens_map: object(SPECIAL_TOKENS_MAP, true)?,
            generation_config: object("generation_config.json", false)?,
            config: object("config.json", false)?,
            chat_template_file: None,
        };
        if let Some(bytes) = fetch(CHAT_TEMPLATE)? {
            let text =
                String::from_utf8(bytes.clone()).map_err(|err| fail(format!("{CHAT_TEMPLATE}: {err}")))?;
            side.chat_template_file = Some(text);
            files.push((CHAT_TEMPLATE.to_owned(), bytes));
        }
        Self::assemble(name, inner, &side, files)
    }

    fn assemble(
        name: &str,
        inner: tokenizers::Tokenizer,
        side: &SideFiles,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<Self> {
        let special = {
            let added = inner.get_added_vocabulary();
            side.resolve(
                &|token| inner.token_to_id(token),
                &|id| inner.id_to_token(id),
                &|token| added.is_special_token(token),
            )
        };
        let vocab_size = inner
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |&id| id as usize + 1);
        let mut tokenizer = Self {
            name: name.to_owned(),
            inner,
            prefix: Vec::new(),
            suffix: Vec::new(),
            chat_template: None,
            special,
            vocab_size,
            prepends_space: false,
            files,
        };
        if tokenizer.inner.get_post_processor().is_some() {
            (tokenizer.prefix, tokenizer.suffix) = tokenizer.probe_additions()?;
        } else {
            tokenizer
                .prefix
                .extend(tokenizer.special.bos.filter(|_| side.asks_for("add_bos_token")));
            tokenizer
                .suffix
                .extend(tokenizer.special.eos.filter(|_| side.asks_for("add_eos_token")));
        }
        tokenizer.prepends_space = tokenizer.encode_plain("a")? != tokenizer.encode_after_line_break("a")?;
        if let Some(source) = side.chat_template() {
            tokenizer.chat_template = Some(ChatTemplate::new(&source, &tokenizer.special.texts)?);
        }
        Ok(tokenizer)
    }

    /// What the post-processor puts before and after a text.
    fn probe_additions(&self) -> Result<(Vec<u32>, Vec<u32>)> {
        let added = self
            .inner
            .get_post_processor()
            .map_or(0, |post| post.added_tokens(false));
        if added == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        let plain = self.encode_plain("a")?;
        let with = self
            .inner
            .encode_fast("a", true)
            .map_err(|err| self.fail(err.to_string()))?;
        let with = with.get_ids();
        let before = (0..=with.len().saturating_sub(plain.len())).find(|&at| with[at..].starts_with(&plain));
        match before {
            Some(before) => Ok((with[..before].to_vec(), with[before + plain.len()..].to_vec())),
            None => Err(self.fail(
                "its post-processor changes the tokens of the text itself, which is not supported".into(),
            )),
        }
    }

    fn fail(&self, problem: String) -> Error {
        Error::Tokenizer {
            name: self.name.clone(),
            problem,
        }
    }

    /// Ids of `text` with what the tokenizer itself adds around it, as `tokenizer(text)` of transformers gives them.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.prefix.clone();
        ids.extend(self.encode_plain(text)?);
        ids.extend(&self.suffix);
        Ok(ids)
    }

    /// Ids of `text` alone, nothing added. Special tokens written out in the text are recognised, as in transformers.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|err| self.fail(err.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of `text` as the continuation of other text. The same as [`Tokenizer::encode_plain`] except for tokenizers that
    /// put a space before every text (SentencePiece style): they would put one into the middle, so here they do not.
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>> {
        if self.prepends_space {
            self.encode_after_line_break(text)
        } else {
            self.encode_plain(text)
        }
    }

    /// Encodes a line break and `text`, and takes the line break's ids off again (the way transformers does it).
    fn encode_after_line_break(&self, text: &str) -> Result<Vec<u32>> {
        let line_break = self.encode_plain("\n")?;
        let mut ids = self.encode_plain(&format!("\n{text}"))?;
        if !ids.starts_with(&line_break) {
            return self.encode_plain(text);
        }
        Ok(ids.split_off(line_break.len()))
    }

    /// Ids of `text` alone, each with the bytes of `text` it stands for.
    pub fn encode_with_spans(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|err| self.fail(err.to_string()))?;
        let spans = encoding.get_offsets().iter().map(|&(begin, end)| begin..end);
        Ok(encoding.get_ids().iter().copied().zip(spans).collect())
    }

    /// Text of `ids`; special tokens are left out if `skip_special`. Ids outside the vocabulary are an error.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(self.fail(format!(
                "id {id} is outside the vocabulary of {}",
                self.vocab_size
            )));
        }
        self.inner
            .decode(ids, skip_special)
            .map_err(|err| self.fail(err.to_string()))
    }

    /// What [`Tokenizer::encode`] puts before a text.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// What [`Tokenizer::encode`] puts after a text.
    pub fn suffix(&self) -> &[u32] {
        &self.suffix
    }

    /// Beginning of a sequence, if the tokenizer names one (whether or not it adds it by itself).
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// End of a sequence.
    pub fn eos(&self) -> Option<u32> {
        self.special.eos
    }

    /// Padding; where the tokenizer names none, the end token, else 0. What stands in padding is never read.
    pub fn pad(&self) -> u32 {
        self.special.pad.or(self.special.eos).unwrap_or(0)
    }

    /// All tokens with a role, and those that end a generation.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Id of a token by its text.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Text of a token as it stands in the vocabulary (byte-level tokenizers spell bytes as letters).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One more than the largest id, so that all ids lie in `0..vocab_size`. An embedding table may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The chat template, if the model has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// Where the tokenizer was loaded from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// BLAKE3 (hexadecimal) of what decides ids and roles: `tokenizer.json` in canonical form, what is added around a text,
    /// roles and the chat template. Equal digests mean interchangeable tokenizers, however their files are laid out.
    pub fn digest(&self) -> Result<String> {
        let canonical = self
            .inner
            .to_string(false)
            .map_err(|err| self.fail(err.to_string()))?;
        let template = self.chat_template.as_ref().map(ChatTemplate::source);
        let rest = format!("{:?}{:?}{:?}{template:?}", self.prefix, self.suffix, self.special);
        Ok(blake3::Hasher::new()
            .update(canonical.as_bytes())
            .update(rest.as_bytes())
            .finalize()
            .to_hex()
            .to_string())
    }

    /// The files to put into the directory of a model that uses this tokenizer, as they were loaded.
    pub fn to_files(&self) -> Vec<(String, Vec<u8>)> {
        self.files.clone()
    }
}
