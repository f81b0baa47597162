//! What a task's rows ask, whatever the kind of the task.

use std::ops::Range;

use tributary_data::Tokenizer;
use tributary_model::Decoder;

use super::answer::Answer;
use super::choice::{Question, choose};
use super::reading::{Text, read};
use super::writing::{Generation, Prompt};
use crate::error::{EvaluateError, Result};
use crate::likelihood::LikelihoodOptions;

/// Prompts that are continued together.
const TOGETHER: usize = 16;
/// Questions and texts that are answered in one go.
const PORTION: usize = 512;

/// What the rows of a task ask.
#[derive(Clone, Debug)]
pub struct Exercise(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Choices(Vec<Question>),
    Writing(Box<Generation>, Vec<Prompt>),
    Reading(Vec<String>, Vec<Text>),
}

/// How it is answered.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// Windows and batches.
    pub likelihood: LikelihoodOptions,
    /// Is a prompt what a user says in the model's chat template? For tasks that are answered in writing.
    pub chat: bool,
}

impl Exercise {
    pub(super) fn choices(questions: Vec<Question>) -> Self {
        Self(Kind::Choices(questions))
    }

    pub(super) fn writing(generation: Generation, prompts: Vec<Prompt>) -> Self {
        Self(Kind::Writing(Box::new(generation), prompts))
    }

    pub(super) fn reading(metrics: Vec<String>, texts: Vec<Text>) -> Self {
        Self(Kind::Reading(metrics, texts))
    }

    /// Of multiple choice.
    #[cfg(test)]
    pub(super) fn questions(&self) -> &[Question] {
        match &self.0 {
            Kind::Choices(questions) => questions,
            Kind::Writing(..) | Kind::Reading(..) => &[],
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Choices(questions) => questions.len(),
            Kind::Writing(_, prompts) => prompts.len(),
            Kind::Reading(_, texts) => texts.len(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is it answered in writing?
    pub fn is_written(&self) -> bool {
        matches!(self.0, Kind::Writing(..))
    }

    /// Can a model of so many tokens answer, and be asked as a chat if that is wanted?
    ///
    /// # Errors
    /// [`EvaluateError::NoRoom`], [`EvaluateError::NoChatTemplate`], [`EvaluateError::NotWritten`].
    pub fn check(&self, context: usize, tokenizer: &Tokenizer, is_chat: bool) -> Result<()> {
        match &self.0 {
            Kind::Writing(generation, _) => generation.check(context, tokenizer, is_chat),
            _ if is_chat => Err(EvaluateError::NotWritten),
            _ => Ok(()),
        }
    }

    /// The rows in portions, each of which is answered in one go: what a caller may keep and need not ask again.
    pub fn portions(&self) -> Vec<Range<usize>> {
        let size = if self.is_written() { TOGETHER } else { PORTION };
        let starts = (0..self.len()).step_by(size);
        starts
            .map(|start| start..(start + size).min(self.len()))
            .collect()
    }

    /// A model's answers to a portion. `progress` hears of rows answered and says whether to go on.
    ///
    /// # Errors
    /// [`EvaluateError::NotFinite`], [`EvaluateError::Cancelled`], [`EvaluateError::NoChatTemplate`]; [`EvaluateError::NotWritten`]
    /// if a chat is asked for and the task is not answered in writing; what the model and the tokenizer give.
    pub fn answer(
        &self,
        portion: Range<usize>,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        options: &AnswerOptions,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<Answer>> {
        self.check(decoder.config().max_positions, tokenizer, options.chat)?;
        let (rows, mut known) = (portion.len() as u64, 0);
        // Rows as far as tokens were read.
        let mut by_tokens = |done: u64, all: u64| {
            let now = (rows * done).checked_div(all).unwrap_or(rows).min(rows);
            let more = now - known.min(now);
            known = now;
            progress(more)
        };
        match &self.0 {
            Kind::Choices(questions) => choose(
                decoder,
                tokenizer,
                &questions[portion],
                &options.likelihood,
                &mut by_tokens,
            ),
            Kind::Reading(metrics, texts) => read(
                decoder,
                tokenizer,
                &texts[portion],
                metrics,
                &options.likelihood,
                &mut by_tokens,
            ),
            Kind::Writing(generation, prompts) => {
                generation.answer(decoder, tokenizer, &prompts[portion], options.chat, progress)
            }
        }
    }
}
