//! A model chooses: the choice whose tokens it finds most probable after the context.
//!
//! As in lm-evaluation-harness: blanks at the end of the context count as the beginning of the choice; context and choice are
//! tokenised together, and the choice's tokens are what goes beyond the context's own. `acc` takes the largest Σ log p, `acc_norm` the
//! largest Σ log p per letter (Unicode scalar values) of the choice; of equals the first. What the choices of a question have in
//! common is read once ([`Tree`]).

use std::collections::BTreeMap;

use tributary_data::Tokenizer;
use tributary_model::{Branch, Decoder, Tree};

use super::answer::{Answer, Given, Part};
use crate::error::{EvaluateError, Result};
use crate::likelihood::LikelihoodOptions;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Number of its row, from 0.
    pub(super) row: usize,
    /// What stands before each choice.
    pub(super) context: String,
    /// The choices, without the delimiter.
    pub(super) choices: Vec<String>,
    /// What stands between the context and a choice.
    pub(super) delimiter: String,
    /// The right choice.
    pub(super) gold: usize,
}

/// Asks a model every question. `progress` hears of tokens read and all tokens, and says whether to go on.
///
/// # Errors
/// [`EvaluateError::NotFinite`], [`EvaluateError::Cancelled`]; what the model and the tokenizer give.
pub(super) fn choose(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    questions: &[Question],
    options: &LikelihoodOptions,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Vec<Answer>> {
    let trees = questions
        .iter()
        .map(|question| tree(tokenizer, question, options.context))
        .collect::<Result<Vec<(Tree, bool)>>>()?;
    let (trees, cut): (Vec<Tree>, Vec<bool>) = trees.into_iter().unzip();
    let all: usize = trees.iter().map(Tree::tokens).sum();
    let (mut scores, mut done) = (Vec::with_capacity(trees.len()), 0);
    let mut rest = trees.as_slice();
    while !rest.is_empty() {
        // As many as fit, at least one.
        let mut tokens = 0;
        let fit = rest.iter().take_while(|tree| {
            tokens += tree.tokens();
            tokens <= options.batch_tokens
        });
        let (batch, after) = rest.split_at(fit.count().max(1));
        scores.extend(decoder.tree_nll(batch)?);
        done += batch.iter().map(Tree::tokens).sum::<usize>();
        rest = after;
        if !progress(done as u64, all as u64) {
            return Err(EvaluateError::Cancelled);
        }
    }
    let mut scores = scores.into_iter();
    let record = |(question, cut): (&Question, bool)| {
        let sums = scores.next().unwrap_or_default();
        if sums.iter().any(|sum| !sum.is_finite()) {
            let (document, token) = (format!("of row {}", question.row + 1), 0);
            return Err(EvaluateError::NotFinite { document, token });
        }
        let log_likelihoods: Vec<f64> = sums.into_iter().map(|sum| -sum).collect();
        let letters: Vec<usize> = question
            .choices
            .iter()
            .map(|choice| choice.chars().count())
            .collect();
        let by_letter: Vec<f64> = log_likelihoods
            .iter()
            .zip(&letters)
            .map(|(sum, letters)| sum / *letters as f64)
            .collect();
        let right = |values: &[f64]| Part {
            value: f64::from(u8::from(largest(values) == Some(question.gold))),
            weight: 1,
        };
        Ok(Answer {
            row: question.row,
            scores: BTreeMap::from([
                ("acc".to_owned(), right(&log_likelihoods)),
                ("acc_norm".to_owned(), right(&by_letter)),
            ]),
            given: Given::Choice {
                gold: question.gold,
                log_likelihoods,
                letters,
                cut,
            },
        })
    };
    questions.iter().zip(cut).map(record).collect()
}

/// Number of the largest, the first of equals.
fn largest(values: &[f64]) -> Option<usize> {
    let mut largest: Option<usize> = None;
    for (at, value) in values.iter().enumerate() {
        if largest.is_none_or(|largest| *value > values[largest]) {
            largest = Some(at);
        }
    }
    largest
}

/// The texts of a question, context and choice, with what they share up to the first choice's token apart; and whether any of them was
/// longer than the window.
fn tree(tokenizer: &Tokenizer, question: &Question, context: usize) -> Result<(Tree, bool)> {
    let mut is_cut = false;
    let mut texts = Vec::new();
    for choice in &question.choices {
        let (mut tokens, first) = text(tokenizer, question, choice)?;
        // The last ones stay.
        let over = tokens.len().saturating_sub(context);
        tokens.drain(..over);
        texts.push((tokens, first.saturating_sub(over)));
        is_cut |= over > 0;
    }
    let Some((first, others)) = texts.split_first() else {
        return Ok((Tree::default(), is_cut));
    };
    let common =
        |(tokens, _): &(Vec<u32>, usize)| tokens.iter().zip(&first.0).take_while(|(a, b)| a == b).count();
    let common = others.iter().map(common).min().unwrap_or(first.0.len());
    // Each branch predicts its first token from the last one before it.
    let scored = texts.iter().map(|(_, scored)| *scored).min().unwrap_or(0);
    let trunk = common.min(scored).saturating_sub(1);
    let branch = |(tokens, scored): &(Vec<u32>, usize)| {
        let target = |at: usize| match tokens.get(at + 1) {
            Some(next) if at + 1 >= *scored => i64::from(*next),
            _ => -1,
        };
        Branch {
            targets: (trunk..tokens.len()).map(target).collect(),
            tokens: tokens[trunk..].to_vec(),
        }
    };
    let tree = Tree {
        trunk: first.0[..trunk].to_vec(),
        branches: texts.iter().map(branch).collect(),
    };
    Ok((tree, is_cut))
}

/// Refuses a choice that has no token or no letter: no likelihood can tell it from the others.
fn check(question: &Question, choice: &str, tokens: usize) -> Result<()> {
    match tokens == 0 || choice.is_empty() {
        true => Err(EvaluateError::NoChoice {
            row: question.row + 1,
            choice: choice.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Context and choice as tokens, and where the choice's begin.
fn text(tokenizer: &Tokenizer, question: &Question, choice: &str) -> Result<(Vec<u32>, usize)> {
    let before = question.context.trim_end();
    let blanks = &question.context[before.len()..];
    let continuation = format!("{blanks}{}{choice}", question.delimiter);
    let (tokens, first) = match before.is_empty() {
        // Something must stand before the first token.
        true => {
            let start = tokenizer.bos().or(tokenizer.eos()).unwrap_or(0);
            let mut tokens = vec![start];
            tokens.extend(tokenizer.encode_plain(&continuation)?);
            (tokens, 1)
        }
        false => {
            let whole = tokenizer.encode(&format!("{before}{continuation}"))?;
            let first = tokenizer.encode(before)?.len().min(whole.len());
            (whole, first)
        }
    };
    check(question, choice, tokens.len() - first)?;
    Ok((tokens, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equals_the_first_is_largest() {
        assert_eq!(largest(&[-2.0, -1.0, -1.0]), Some(1));
        assert_eq!(largest(&[]), None);
    }
}
