//! A model chooses: the choice whose tokens it finds most probable after the context.
//!
//! As in lm-evaluation-harness: blanks at the end of the context count as the beginning of the choice; context and choice are
//! tokenised together, and the choice's tokens are what goes beyond the context's own. `acc` takes the largest Σ log p, `acc_norm` the
//! largest Σ log p per letter (Unicode scalar values) of the choice; of equals the first.

use serde::{Deserialize, Serialize};
use tributary_data::{Document, Tokenizer};
use tributary_model::Decoder;

use super::file::Question;
use crate::error::Result;
use crate::likelihood::LikelihoodOptions;
use crate::measure::{Wanted, measure};

/// What a model made of one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceRecord {
    /// Number of the row, from 0.
    pub row: usize,
    /// The right choice.
    pub gold: usize,
    /// Σ log p of each choice, nats.
    pub log_likelihoods: Vec<f64>,
    /// Letters of each choice.
    pub letters: Vec<usize>,
    /// Is the right choice the most probable one?
    pub acc: bool,
    /// Is it per letter?
    pub acc_norm: bool,
}

/// Shares over all questions, with binomial standard errors (none for a single question).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChoiceScores {
    /// Questions.
    pub questions: u64,
    /// Share answered right.
    pub acc: f64,
    /// Its standard error.
    pub acc_stderr: Option<f64>,
    /// Share answered right by probability per letter.
    pub acc_norm: f64,
    /// Its standard error.
    pub acc_norm_stderr: Option<f64>,
}

/// Asks a model every question. `progress` hears of tokens read and all tokens, and says whether to go on.
///
/// # Errors
/// As [`measure`]; what the tokenizer gives.
pub fn choose(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    questions: &[Question],
    options: &LikelihoodOptions,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Vec<ChoiceRecord>> {
    let mut documents = Vec::new();
    for question in questions {
        for choice in &question.choices {
            documents.push(document(tokenizer, question, choice, options.context)?);
        }
    }
    // One of a question's choices may have no token of its own.
    let scores = match documents.iter().any(|document| document.loss.contains(&true)) {
        true => {
            measure(decoder, &documents, options, &Wanted::default(), progress)?
                .scored
                .documents
        }
        false => Vec::new(),
    };
    let mut scores = scores.into_iter().map(|score| -score.nll);
    let record = |question: &Question| {
        let log_likelihoods: Vec<f64> = scores.by_ref().take(question.choices.len()).collect();
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
        ChoiceRecord {
            row: question.row,
            gold: question.gold,
            acc: largest(&log_likelihoods) == Some(question.gold),
            acc_norm: largest(&by_letter) == Some(question.gold),
            log_likelihoods,
            letters,
        }
    };
    Ok(questions.iter().map(record).collect())
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

/// Context and choice as one document, of which the choice's tokens are scored; at most `context` tokens, the last ones.
fn document(tokenizer: &Tokenizer, question: &Question, choice: &str, context: usize) -> Result<Document> {
    let before = question.context.trim_end();
    let blanks = &question.context[before.len()..];
    let continuation = format!("{blanks}{}{choice}", question.delimiter);
    let plain = |text: &str| tokenizer.encode(text);
    let (mut tokens, mut first) = match before.is_empty() {
        // Something must stand before the first token.
        true => {
            let start = tokenizer.bos().or(tokenizer.eos()).unwrap_or(0);
            let mut tokens = vec![start];
            tokens.extend(tokenizer.encode_plain(&continuation)?);
            (tokens, 1)
        }
        false => {
            let whole = plain(&format!("{before}{continuation}"))?;
            let first = plain(before)?.len().min(whole.len());
            (whole, first)
        }
    };
    let over = tokens.len().saturating_sub(context);
    tokens.drain(..over);
    first = first.saturating_sub(over);
    Ok(Document {
        loss: (0..tokens.len()).map(|at| at >= first).collect(),
        tokens,
        id: question.row.to_string(),
        part: 0,
    })
}

/// The shares; none without a question.
pub fn summarise_choices(records: &[ChoiceRecord]) -> Option<ChoiceScores> {
    let count = records.len() as f64;
    let share = |right: &dyn Fn(&ChoiceRecord) -> bool| {
        let share = records.iter().filter(|record| right(record)).count() as f64 / count;
        // The harness divides by n − 1.
        let stderr = (records.len() > 1).then(|| (share * (1.0 - share) / (count - 1.0)).sqrt());
        (share, stderr)
    };
    let (acc, acc_stderr) = share(&|record| record.acc);
    let (acc_norm, acc_norm_stderr) = share(&|record| record.acc_norm);
    (!records.is_empty()).then_some(ChoiceScores {
        questions: records.len() as u64,
        acc,
        acc_stderr,
        acc_norm,
        acc_norm_stderr,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_errors() {
        let record = |acc, acc_norm| ChoiceRecord {
            row: 0,
            gold: 0,
            log_likelihoods: Vec::new(),
            letters: Vec::new(),
            acc,
            acc_norm,
        };
        let found = summarise_choices(&[
            record(true, false),
            record(true, true),
            record(false, true),
            record(false, true),
        ]);
        let found = found.unwrap();
        assert_eq!((found.acc, found.acc_norm), (0.5, 0.75));
        assert!((found.acc_stderr.unwrap() - (0.25f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(summarise_choices(&[record(true, true)]).unwrap().acc_stderr, None);
        assert_eq!(summarise_choices(&[]), None);
        assert_eq!(largest(&[-2.0, -1.0, -1.0]), Some(1));
    }
}
