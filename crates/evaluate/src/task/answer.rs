//! What models answer, row by row, and what it counts for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::likelihood::ratio;

/// A row's share of a score: the score of all rows is Σ value / Σ weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What the row adds above the line: 1 for a right answer; nats for a perplexity.
    pub value: f64,
    /// What it adds below it: 1, or the instructions, words or bytes of the row.
    pub weight: u64,
}

/// What a model made of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the row, from 0.
    pub row: usize,
    /// What it counts for, by the name of the score.
    pub scores: BTreeMap<String, Part>,
    /// What the model gave.
    #[serde(flatten)]
    pub given: Given,
}

/// What a model gave, by the kind of the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Given {
    /// Of multiple choice.
    Choice {
        /// The right choice.
        gold: usize,
        /// Σ log p of each choice, nats.
        log_likelihoods: Vec<f64>,
        /// Letters (Unicode scalar values) of each choice.
        letters: Vec<usize>,
        /// Was the beginning of the question left out because it is longer than the window?
        #[serde(default)]
        cut: bool,
    },
    /// Of a task that is answered in writing.
    Written {
        /// What was written, up to the text that ends an answer.
        text: String,
        /// What each filter made of it; none for tasks without filters.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        filtered: BTreeMap<String, String>,
        /// The right answers.
        targets: Vec<String>,
        /// Was writing ended by the limit of tokens?
        cut: bool,
    },
    /// Of a text whose likelihood is measured.
    Read {
        /// Tokens.
        tokens: u64,
        /// Σ log p, nats.
        log_likelihood: f64,
    },
}

/// A score over all rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// As lm-evaluation-harness names it: `acc`, `exact_match,strict-match`.
    pub name: String,
    /// The score.
    pub value: f64,
    /// Its standard error over rows; none for a single one.
    pub stderr: Option<f64>,
    /// Rows.
    pub rows: u64,
    /// Is less better?
    pub lower_is_better: bool,
}

/// What a reader of the scores should know: how many questions or answers were cut. None if none were.
pub fn remark_on(answers: &[Answer]) -> Option<String> {
    let count = |is_cut: fn(&Given) -> bool| answers.iter().filter(|answer| is_cut(&answer.given)).count();
    let of = answers.len();
    let questions = count(|given| matches!(given, Given::Choice { cut: true, .. }));
    let written = count(|given| matches!(given, Given::Written { cut: true, .. }));
    match (questions, written) {
        (0, 0) => None,
        (0, written) => Some(format!(
            "{written} of {of} answers were ended by the limit of tokens"
        )),
        (questions, _) => Some(format!(
            "{questions} of {of} questions are longer than the window: their beginning was left out"
        )),
    }
}

/// The scores over all rows: ratio estimates with linearised errors over rows, which for shares is the harness's
/// `√(p(1 − p)/(n − 1))`; perplexities are exponentials of theirs, with first-order errors.
pub fn summarise_answers(answers: &[Answer]) -> Vec<TaskScore> {
    let mut parts: BTreeMap<&str, Vec<(f64, u64)>> = BTreeMap::new();
    for (name, part) in answers.iter().flat_map(|answer| &answer.scores) {
        parts.entry(name).or_default().push((part.value, part.weight));
    }
    let score = |(name, parts): (&str, Vec<(f64, u64)>)| {
        let (ratio, error) = ratio(&parts)?;
        let (value, stderr) = match is_exponential(name) {
            true => (ratio.exp(), error.map(|error| error * ratio.exp())),
            false => (ratio, error),
        };
        Some(TaskScore {
            name: name.to_owned(),
            value,
            stderr,
            rows: parts.len() as u64,
            lower_is_better: is_exponential(name) || name == "bits_per_byte",
        })
    };
    parts.into_iter().filter_map(score).collect()
}

/// Is a score the exponential of its parts' ratio?
pub fn is_exponential(name: &str) -> bool {
    name.ends_with("_perplexity")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(scores: &[(&str, f64, u64)]) -> Answer {
        let part = |(name, value, weight): &(&str, f64, u64)| {
            let (value, weight) = (*value, *weight);
            ((*name).to_owned(), Part { value, weight })
        };
        Answer {
            row: 0,
            scores: scores.iter().map(part).collect(),
            given: Given::Read {
                tokens: 0,
                log_likelihood: 0.0,
            },
        }
    }

    #[test]
    fn shares_have_binomial_errors() {
        let right = [1.0, 1.0, 1.0, 0.0].map(|value| answer(&[("acc", value, 1)]));
        let found = summarise_answers(&right).remove(0);
        assert_eq!((found.value, found.rows, found.lower_is_better), (0.75, 4, false));
        assert!((found.stderr.unwrap() - (0.75f64 * 0.25 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(summarise_answers(&right[..1])[0].stderr, None);
        assert_eq!(summarise_answers(&[]), []);
    }

    #[test]
    fn perplexities_weigh_rows_by_their_words() {
        let rows = [
            answer(&[("word_perplexity", 6.0, 2)]),
            answer(&[("word_perplexity", 2.0, 2)]),
        ];
        let found = summarise_answers(&rows).remove(0);
        assert!((found.value - 2.0f64.exp()).abs() < 1e-12 && found.lower_is_better);
    }

    #[test]
    fn answers_keep_their_form() {
        let answer = Answer {
            given: Given::Written {
                text: "4".into(),
                filtered: BTreeMap::new(),
                targets: vec!["4".into()],
                cut: false,
            },
            ..answer(&[("exact_match", 1.0, 1)])
        };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
    }
}
