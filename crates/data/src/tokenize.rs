//! Records to documents: token ids, and for each token whether predicting it counts.
//!
//! Work runs on all threads in blocks of bounded size; the result has the order of the records and does not depend on the
//! number of threads.
//!
//! How each form becomes tokens:
//! * `text`: the tokenizer's prefix (a BOS, if it adds one), the text, the end token. Everything is scored.
//! * `prompt` + `completion`: the two are tokenised **separately** and joined, so that the boundary is exact: a completion's
//!   first token never contains the end of the prompt, which is also how generation meets it. With `completion_only`, only
//!   the completion and its end token are scored.
//! * `messages`: the conversation is rendered with the model's chat template and tokenised in one go with nothing added (the
//!   template writes its own special tokens), as transformers does. With `completion_only`, tokens that begin inside an
//!   assistant's turn are scored; see [`crate::chat`].
//!
//! A first token has nothing before it to be predicted from; batches never score it (see [`crate::batch`]).

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::record::{Message, Record};
use crate::tokenizer::Tokenizer;

/// Text tokenised at a time.
const BLOCK_BYTES: usize = 16 << 20;
const BLOCK_RECORDS: usize = 16_384;

/// One document as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Of the same length: whether the prediction *of* this token is scored.
    pub loss: Vec<bool>,
    /// [`Record::id`] of the record it was made from; its pieces share it.
    pub id: String,
    /// Which piece of its record, from 0; see [`Overlong::Split`].
    pub part: u32,
}

/// What happens to documents longer than `max_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// Cut into consecutive documents; each piece after the first begins with the last token of the one before, so that every
    /// token is still predicted once.
    #[default]
    Split,
    /// Cut off at the end.
    Truncate,
    /// Left out.
    Drop,
}

/// How records become documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizeOptions {
    /// Put the tokenizer's end token after every document that does not end with it.
    pub add_eos: bool,
    /// Score completions and assistant turns only; running text is scored whole either way.
    pub completion_only: bool,
    /// Longest document in tokens; `None` for no limit.
    pub max_tokens: Option<usize>,
    /// What happens to longer ones.
    pub overlong: Overlong,
}

impl Default for TokenizeOptions {
    fn default() -> Self {
        Self {
            add_eos: true,
            completion_only: false,
            max_tokens: None,
            overlong: Overlong::Split,
        }
    }
}

/// Tokenises all records, in order. Records that give no token are left out.
///
/// # Errors
/// The first error of the stream or of a record, the latter with the record's position; an option that cannot work.
pub fn tokenize(
    records: impl Iterator<Item = Result<Record>>,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for block in tokenize_blocks(records, tokenizer, options)? {
        documents.append(&mut block?);
    }
    Ok(documents)
}

/// [`tokenize`] a block at a time, for corpora whose tokens are not to be held all at once.
pub fn tokenize_blocks<'a>(
    mut records: impl Iterator<Item = Result<Record>> + 'a,
    tokenizer: &'a Tokenizer,
    options: &'a TokenizeOptions,
) -> Result<impl Iterator<Item = Result<Vec<Document>>> + 'a> {
    if options.max_tokens.is_some_and(|most| most < 2) {
        let problem = "a document needs at least 2 tokens for one prediction".to_owned();
        return Err(Error::Option {
            option: "max_tokens",
            problem,
        });
    }
    if options.add_eos && tokenizer.eos().is_none() {
        let problem = format!(
            "{} names no end token (`eos_token`); set `add_eos: false` to go without",
            tokenizer.name()
        );
        return Err(Error::Option {
            option: "add_eos",
            problem,
        });
    }
    let mut done = 0;
    Ok(std::iter::from_fn(move || {
        let mut block = Vec::new();
        let mut bytes = 0;
        while bytes < BLOCK_BYTES && block.len() < BLOCK_RECORDS {
            match records.next() {
                Some(Ok(record)) => {
                    bytes += record.text_bytes();
                    block.push(record);
                }
                Some(Err(err)) => return Some(Err(err)),
                None => break,
            }
        }
        if block.is_empty() {
            return None;
        }
        let first = done;
        done += block.len();
        let pieces: Result<Vec<Vec<Document>>> = block
            .into_par_iter()
            .enumerate()
            .map(|(index, record)| {
                let document = tokenize_one(&record, tokenizer, options).map_err(|source| Error::Record {
                    index: first + index,
                    source: Box::new(source),
                })?;
                Ok(cut(document, options))
            })
            .collect();
        Some(pieces.map(|pieces| pieces.into_iter().flatten().collect()))
    }))
}

/// The whole document of one record, however long.
pub fn tokenize_one(record: &Record, tokenizer: &Tokenizer, options: &TokenizeOptions) -> Result<Document> {
    let (mut tokens, mut loss) = match record {
        Record::Text(text) => {
            let tokens = tokenizer.encode(text)?;
            let loss = vec![true; tokens.len()];
            (tokens, loss)
        }
        Record::Completion { prompt, completion } => {
            completion_tokens(prompt, completion, tokenizer, options)?
        }
        Record::Messages(messages) => message_tokens(messages, tokenizer, options)?,
    };
    let eos = tokenizer
        .eos()
        .filter(|eos| options.add_eos && tokens.last() != Some(eos));
    if let Some(eos) = eos.filter(|_| !tokens.is_empty()) {
        tokens.push(eos);
        // The end of a conversation is scored if its last turn is: a model must learn to stop after answers, not after questions.
        loss.push(match record {
            Record::Messages(_) => loss.last().copied().unwrap_or(true),
            _ => true,
        });
    }
    Ok(Document {
        tokens,
        loss,
        id: record.id(),
        part: 0,
    })
}

fn completion_tokens(
    prompt: &str,
    completion: &str,
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<(Vec<u32>, Vec<bool>)> {
    let mut tokens = tokenizer.prefix().to_vec();
    tokens.extend(tokenizer.encode_plain(prompt)?);
    let mut loss = vec![!options.completion_only; tokens.len()];
    let rest = if prompt.is_empty() {
        tokenizer.encode_plain(completion)?
    } else {
        tokenizer.encode_continuation(completion)?
    };
    tokens.extend(rest);
    tokens.extend(tokenizer.suffix());
    loss.resize(tokens.len(), true);
    Ok((tokens, loss))
}

fn message_tokens(
    messages: &[Message],
    tokenizer: &Tokenizer,
    options: &TokenizeOptions,
) -> Result<(Vec<u32>, Vec<bool>)> {
    let Some(template) = tokenizer.chat_template() else {
        let problem = format!(
            "{} has none, and the data are `messages`; give the tokenizer a `chat_template`",
            tokenizer.name()
        );
        return Err(Error::ChatTemplate { problem });
    };
    if !options.completion_only {
        let tokens = tokenizer.encode_plain(&template.render(messages, false)?)?;
        let loss = vec![true; tokens.len()];
        return Ok((tokens, loss));
    }
    let rendered = template.render_scored(messages)?;
    // Both lists ascend, so one pass over the ranges serves all tokens.
    let mut ranges = rendered.scored.iter().peekable();
    let scored = |(token, span): (u32, Range<usize>)| {
        while ranges.next_if(|range| range.end <= span.start).is_some() {}
        (
            token,
            ranges.peek().is_some_and(|range| range.contains(&span.start)),
        )
    };
    Ok(tokenizer
        .encode_with_spans(&rendered.text)?
        .into_iter()
        .map(scored)
        .unzip())
}

/// Applies `max_tokens`.
fn cut(document: Document, options: &TokenizeOptions) -> Vec<Document> {
    if document.tokens.is_empty() {
        return Vec::new();
    }
    let most = options.max_tokens.unwrap_or(usize::MAX);
    if document.tokens.len() <= most {
        return vec![document];
    }
    let piece = |begin: usize, part: usize| {
        let end = document.tokens.len().min(begin + most);
        let mut loss = document.loss[begin..end].to_vec();
        // The token shared with the piece before was scored there.
        loss[0] &= part == 0;
        Document {
            tokens: document.tokens[begin..end].to_vec(),
            loss,
            id: document.id.clone(),
            part: part as u32,
        }
    };
    match options.overlong {
        Overlong::Drop => Vec::new(),
        Overlong::Truncate => vec![piece(0, 0)],
        Overlong::Split => (0..document.tokens.len() - 1)
            .step_by(most - 1)
            .enumerate()
            .map(|(part, begin)| piece(begin, part))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        let texts = (0..50).map(|n| {
            format!("Question: What is {n} plus one?\nAnswer: it is a number. user assistant system")
        });
        Tokenizer::train_byte_bpe(texts, 320, &["<|endoftext|>", "<|im_start|>", "<|im_end|>"]).unwrap()
    }

    fn only_completions() -> TokenizeOptions {
        TokenizeOptions {
            completion_only: true,
            ..TokenizeOptions::default()
        }
    }

    /// The scored part of a document as text.
    fn scored(document: &Document, tokenizer: &Tokenizer) -> String {
        let ids: Vec<u32> = document
            .tokens
            .iter()
            .zip(&document.loss)
            .filter(|(_, scored)| **scored)
            .map(|(id, _)| *id)
            .collect();
        tokenizer.decode(&ids, false).unwrap()
    }

    #[test]
    fn the_boundary_of_prompt_and_completion_is_exact() {
        let tokenizer = tokenizer();
        let record = Record::Completion {
            prompt: "Question: What is 1 pl".into(),
            completion: "us one?\nAnswer: 2".into(),
        };
        let document = tokenize_one(&record, &tokenizer, &only_completions()).unwrap();
        assert_eq!(scored(&document, &tokenizer), "us one?\nAnswer: 2<|endoftext|>");
        let whole = tokenize_one(&record, &tokenizer, &TokenizeOptions::default()).unwrap();
        assert_eq!(whole.tokens, document.tokens);
        assert!(whole.loss.iter().all(|scored| *scored));
        assert_eq!(document.id, record.id());
    }

    #[test]
    fn assistant_turns_are_scored_with_their_ends() {
        let tokenizer = tokenizer();
        let turns = [
            ("system", "Be kind."),
            ("user", "What is 1?"),
            ("assistant", "a number"),
            ("user", "and?"),
            ("assistant", "it is"),
        ];
        let record = Record::Messages(turns.map(|(role, content)| Message::new(role, content)).to_vec());
        let document = tokenize_one(&record, &tokenizer, &only_completions()).unwrap();
        assert_eq!(
            scored(&document, &tokenizer),
            "a number<|im_end|>\nit is<|im_end|>\n<|endoftext|>"
        );
        let open = Record::Messages(
            turns[..4]
                .iter()
                .map(|(role, content)| Message::new(*role, *content))
                .collect(),
        );
        let document = tokenize_one(&open, &tokenizer, &only_completions()).unwrap();
        assert_eq!(
            scored(&document, &tokenizer),
            "a number<|im_end|>\n",
            "a question's end is not learned"
        );
    }

    #[test]
    fn long_documents_are_split_so_that_every_token_is_predicted_once() {
        let tokenizer = tokenizer();
        let record = || std::iter::once(Ok(Record::Text("a number ".repeat(30))));
        let whole = tokenize(record(), &tokenizer, &TokenizeOptions::default())
            .unwrap()
            .remove(0);
        for most in 2..20 {
            let options = TokenizeOptions {
                max_tokens: Some(most),
                ..TokenizeOptions::default()
            };
            let pieces = tokenize(record(), &tokenizer, &options).unwrap();
            assert!(
                pieces
                    .iter()
                    .all(|piece| (2..=most).contains(&piece.tokens.len()) && piece.id == whole.id)
            );
            let mut joined = vec![whole.tokens[0]];
            for piece in &pieces {
                assert_eq!(joined.last(), piece.tokens.first());
                assert_eq!(piece.loss[0], piece.part == 0);
                joined.extend(&piece.tokens[1..]);
            }
            assert_eq!(joined, whole.tokens);
            let cut = tokenize(
                record(),
                &tokenizer,
                &TokenizeOptions {
                    overlong: Overlong::Truncate,
                    ..options.clone()
                },
            )
            .unwrap();
            assert_eq!((cut.len(), &cut[0].tokens[..]), (1, &whole.tokens[..most]));
            assert!(
                tokenize(
                    record(),
                    &tokenizer,
                    &TokenizeOptions {
                        overlong: Overlong::Drop,
                        ..options
                    }
                )
                .unwrap()
                .is_empty()
            );
        }
    }

    #[test]
    fn the_order_is_that_of_the_records_on_any_number_of_threads() {
        let tokenizer = tokenizer();
        let records = || (0..3000).map(|n| Ok(Record::Text(format!("What is {n}?"))));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| tokenize(records(), &tokenizer, &TokenizeOptions::default()).unwrap())
        };
        let once = run(1);
        assert_eq!(once, run(4));
        assert_eq!(
            tokenizer.decode(&once[1234].tokens, true).unwrap(),
            "What is 1234?"
        );
    }

    #[test]
    fn errors_say_which_record() {
        let tokenizer =
            Tokenizer::train_byte_bpe(std::iter::once("a".to_owned()), 300, &["<|endoftext|>"]).unwrap();
        let records = [
            Record::Text("fine".into()),
            Record::Messages(vec![Message::new("user", "hi")]),
        ];
        let error = tokenize(
            records.into_iter().map(Ok),
            &tokenizer,
            &TokenizeOptions::default(),
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.starts_with("record 1: chat template: (trained) has none"),
            "{error}"
        );
        let options = TokenizeOptions {
            max_tokens: Some(1),
            ..TokenizeOptions::default()
        };
        assert!(
            tokenize(std::iter::empty(), &tokenizer, &options)
                .unwrap_err()
                .to_string()
                .contains("at least 2 tokens")
        );
    }
}
