//! Tasks that are answered in writing: lm-evaluation-harness's `generate_until`.
//!
//! A prompt is continued until one of the texts of `until`, a token that ends texts, or the limit; what came before is filtered and
//! scored. What the prompts of a portion begin with, examples say, is read once, the rest one by one; they are continued together, since a
//! step of many costs little more than a step of one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tributary_data::{Message, Tokenizer};
use tributary_model::{Continuation, Decoder, Finish, GenerationOptions, SamplingOptions, continue_all, mix};

use super::answer::{Answer, Given};
use super::filter::Filter;
use super::metric::Metric;
use crate::error::{EvaluateError, Result};
use crate::instruction::Instruction;

/// Tokens of an answer at most, unless the file says otherwise.
const MOST: usize = 256;

/// How prompts are continued, and what is made of it. Sums of a step of many prompts are rounded otherwise than those of few, so where
/// two tokens are all but equally probable the other prompts of a portion may decide.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) until: Vec<String>,
    pub(super) most: usize,
    pub(super) sampling: SamplingOptions,
    pub(super) filters: Vec<Filter>,
    pub(super) metrics: Vec<Metric>,
}

/// A prompt and what answers are held against.
#[derive(Clone, Debug)]
pub(super) struct Prompt {
    pub(super) row: usize,
    /// `description`: what a chat's system says.
    pub(super) description: String,
    pub(super) text: String,
    pub(super) targets: Vec<String>,
    pub(super) instructions: Vec<Instruction>,
}

impl Generation {
    /// `generation_kwargs`; texts end at `delimiter` unless it says where.
    pub(super) fn new(
        keys: Option<Value>,
        delimiter: &str,
        filters: Vec<Filter>,
        metrics: Vec<Metric>,
    ) -> std::result::Result<Generation, String> {
        let keys = match keys {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(keys)) => keys,
            Some(other) => return Err(format!("`generation_kwargs` is {other}, no mapping")),
        };
        let mut generation = Generation {
            until: vec![delimiter.to_owned()],
            most: MOST,
            sampling: SamplingOptions::default(),
            filters,
            metrics,
        };
        let (mut samples, mut temperature, mut most) = (None, None, None);
        for (key, value) in &keys {
            let wrong = || format!("`generation_kwargs.{key}` cannot be {value}");
            let number = || value.as_f64().map(|number| number as f32).ok_or_else(wrong);
            let count = || {
                value
                    .as_u64()
                    .and_then(|count| usize::try_from(count).ok())
                    .ok_or_else(wrong)
            };
            match key.as_str() {
                "until" => generation.until = texts(value).ok_or_else(wrong)?,
                "max_gen_toks" | "max_new_tokens" | "max_tokens" | "max_completion_tokens" => {
                    let given = count()?;
                    if given == 0 || most.replace(given).is_some() {
                        return Err(format!("{}, or the length is given twice", wrong()));
                    }
                }
                "do_sample" => samples = Some(value.as_bool().ok_or_else(wrong)?),
                "temperature" if number()? >= 0.0 => temperature = Some(number()?),
                "top_k" => generation.sampling.top_k = count()?,
                "top_p" if number()? > 0.0 && number()? <= 1.0 => generation.sampling.top_p = number()?,
                "temperature" | "top_p" => return Err(wrong()),
                _ => return Err(format!("`generation_kwargs.{key}` is not understood")),
            }
        }
        generation.most = most.unwrap_or(MOST);
        // As in the harness: who gives a temperature wants to sample, unless it says otherwise.
        if samples.unwrap_or(temperature.is_some_and(|temperature| temperature > 0.0)) {
            generation.sampling.temperature = temperature.unwrap_or(1.0);
        }
        Ok(generation)
    }

    /// Is an answer held against instructions of its row?
    pub(super) fn follows_instructions(&self) -> bool {
        self.metrics
            .iter()
            .any(|metric| matches!(metric, Metric::Instructions))
    }

    /// Can a model of so many tokens answer, and be asked as a chat if that is wanted?
    pub(super) fn check(&self, context: usize, tokenizer: &Tokenizer, is_chat: bool) -> Result<()> {
        if context <= self.most {
            let answer = self.most;
            return Err(EvaluateError::NoRoom { context, answer });
        }
        match is_chat && tokenizer.chat_template().is_none() {
            true => Err(EvaluateError::NoChatTemplate),
            false => Ok(()),
        }
    }

    /// Answers some prompts together. `progress` hears of the answers that are complete, and says whether to go on.
    pub(super) fn answer(
        &self,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        prompts: &[Prompt],
        is_chat: bool,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<Answer>> {
        let asked = prompts
            .iter()
            .map(|prompt| self.asked(decoder, tokenizer, prompt, is_chat))
            .collect::<Result<Vec<_>>>()?;
        let mut open = Continuation::begin_all(decoder, asked)?;
        let mut known = 0;
        loop {
            for continuation in open.iter_mut().filter(|open| open.finish().is_none()) {
                if self.is_over(tokenizer, continuation.tokens())? {
                    continuation.end();
                }
            }
            let done = open.iter().filter(|open| open.finish().is_some()).count();
            if !progress((done - known) as u64) {
                return Err(EvaluateError::Cancelled);
            }
            known = done;
            if done == open.len() {
                break;
            }
            continue_all(decoder, &mut open)?;
        }
        let answers = prompts.iter().zip(&open);
        answers
            .map(|(prompt, written)| self.score(tokenizer, prompt, written))
            .collect()
    }

    /// A prompt as tokens, and how it is continued.
    fn asked(
        &self,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        prompt: &Prompt,
        is_chat: bool,
    ) -> Result<(Vec<u32>, GenerationOptions)> {
        let mut tokens = prompt.tokens(tokenizer, is_chat)?;
        // As in the harness, a prompt that is too long loses its beginning.
        let room = decoder.config().max_positions.saturating_sub(self.most);
        tokens.drain(..tokens.len().saturating_sub(room));
        let options = GenerationOptions {
            max_new_tokens: self.most,
            sampling: SamplingOptions {
                seed: mix(prompt.row as u64),
                ..self.sampling.clone()
            },
            stop: [&tokenizer.special().stop[..], &decoder.config().eos].concat(),
        };
        Ok((tokens, options))
    }

    /// Is there a text in what was written that ends it? Looks at the end alone: each token adds at least a byte or nothing.
    fn is_over(&self, tokenizer: &Tokenizer, tokens: &[u32]) -> Result<bool> {
        let longest = self.until.iter().map(String::len).max().unwrap_or(0);
        let end = tokenizer.decode(&tokens[tokens.len().saturating_sub(longest + 8)..], true)?;
        Ok(self.ends().any(|until| end.contains(until)))
    }

    fn ends(&self) -> impl Iterator<Item = &str> {
        self.until
            .iter()
            .map(String::as_str)
            .filter(|until| !until.is_empty())
    }

    fn score(&self, tokenizer: &Tokenizer, prompt: &Prompt, written: &Continuation) -> Result<Answer> {
        let mut text = tokenizer.decode(written.tokens(), true)?;
        let mut has_end = false;
        for until in self.ends() {
            if let Some(at) = text.find(until) {
                text.truncate(at);
                has_end = true;
            }
        }
        let (mut scores, mut filtered) = (BTreeMap::new(), BTreeMap::new());
        for filter in &self.filters {
            let answer = filter.apply(&text);
            for metric in &self.metrics {
                let parts = metric.of(&answer, &prompt.targets, &prompt.instructions);
                scores.extend(parts.into_iter().map(|(name, part)| (filter.score(name), part)));
            }
            if !filter.name.is_empty() {
                filtered.insert(filter.name.clone(), answer);
            }
        }
        Ok(Answer {
            row: prompt.row,
            scores,
            given: Given::Written {
                text,
                filtered,
                targets: prompt.targets.clone(),
                cut: written.finish() == Some(Finish::Length) && !has_end,
            },
        })
    }
}

impl Prompt {
    fn tokens(&self, tokenizer: &Tokenizer, is_chat: bool) -> Result<Vec<u32>> {
        if !is_chat {
            return Ok(tokenizer.encode(&format!("{}{}", self.description, self.text))?);
        }
        let template = tokenizer.chat_template().ok_or(EvaluateError::NoChatTemplate)?;
        let mut messages = Vec::new();
        if !self.description.is_empty() {
            messages.push(Message::new("system", &self.description));
        }
        messages.push(Message::new("user", &self.text));
        // The template writes the tokens that begin a text itself.
        Ok(tokenizer.encode_plain(&template.render(&messages, true)?)?)
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(texts) => texts
            .iter()
            .map(|text| text.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}
