//! Tasks that measure how likely whole texts are: lm-evaluation-harness's `loglikelihood_rolling`.
//!
//! A text is read in windows after one another, each token predicted from those before it in its window, the first from the token
//! that begins (or ends) texts. The units are the text's own, so tokenizers can be compared: words (what blanks separate) and bytes.

use std::collections::BTreeMap;

use tributary_data::{Document, Tokenizer};
use tributary_model::Decoder;

use super::answer::{Answer, Given, Part};
use crate::error::Result;
use crate::likelihood::LikelihoodOptions;
use crate::measure::{Wanted, measure};

/// The scores that a file may name.
pub(super) const METRICS: [&str; 3] = ["word_perplexity", "byte_perplexity", "bits_per_byte"];

/// A text whose likelihood is measured.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) row: usize,
    pub(super) text: String,
}

pub(super) fn read(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    texts: &[Text],
    metrics: &[String],
    options: &LikelihoodOptions,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Vec<Answer>> {
    let start = tokenizer.bos().or(tokenizer.eos()).unwrap_or(0);
    let mut documents = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let mut tokens = vec![start];
        tokens.extend(tokenizer.encode(&text.text)?);
        documents.extend(windowed(at, tokens, options.context));
    }
    let mut scores = vec![(0u64, 0.0f64); texts.len()];
    // Texts without a token have nothing to measure.
    if documents.iter().any(|document| document.loss.contains(&true)) {
        let measured = measure(decoder, &documents, options, &Wanted::default(), progress)?;
        for score in measured.scored.documents {
            let at: usize = score.id.parse().unwrap_or(0);
            scores[at].0 += score.tokens;
            scores[at].1 += score.nll;
        }
    }
    let answer = |(text, (tokens, nll)): (&Text, (u64, f64))| {
        let part = |metric: &String| {
            let (bytes, words) = (text.text.len() as u64, words(&text.text));
            let (value, weight) = match metric.as_str() {
                "word_perplexity" => (nll, words),
                "bits_per_byte" => (nll / std::f64::consts::LN_2, bytes),
                _ => (nll, bytes),
            };
            (metric.clone(), Part { value, weight })
        };
        Answer {
            row: text.row,
            scores: metrics.iter().map(part).collect::<BTreeMap<_, _>>(),
            given: Given::Read {
                tokens,
                log_likelihood: -nll,
            },
        }
    };
    Ok(texts.iter().zip(scores).map(answer).collect())
}

/// A text cut as the harness does it: windows after one another, but the last one, where it is not full, reaches back to be as long as
/// the others. `tokens` begin with one that is not scored.
fn windowed(at: usize, mut tokens: Vec<u32>, context: usize) -> Vec<Document> {
    let document = |tokens: Vec<u32>, known: usize| Document {
        loss: (0..tokens.len()).map(|place| place >= known).collect(),
        tokens,
        id: at.to_string(),
        part: 0,
    };
    let scored = tokens.len() - 1;
    let rest = scored % context;
    if rest == 0 || scored < context {
        return vec![document(tokens, 1)];
    }
    let last = tokens[scored - context..].to_vec();
    tokens.truncate(tokens.len() - rest);
    vec![document(tokens, 1), document(last, context + 1 - rest)]
}

/// Pieces between runs of blanks, those at both ends among them even if they are empty, as the harness counts.
fn words(text: &str) -> u64 {
    let blank = |letter: char| letter.is_whitespace();
    let inner = text.split(blank).filter(|word| !word.is_empty()).count();
    let at_ends = usize::from(text.starts_with(blank)) + usize::from(text.ends_with(blank));
    match inner {
        0 if text.is_empty() => 1,
        0 => 2,
        _ => (inner + at_ends) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_scored_once_and_the_last_window_is_full() {
        for count in [1, 9, 10, 11, 25, 30] {
            let tokens: Vec<u32> = (0..=count).collect();
            let found = windowed(7, tokens, 10);
            let scored: Vec<u32> = found
                .iter()
                .flat_map(|document| document.tokens.iter().zip(&document.loss))
                .filter_map(|(token, scored)| scored.then_some(*token))
                .collect();
            assert_eq!(scored, (1..=count).collect::<Vec<u32>>());
            assert!(
                found
                    .iter()
                    .all(|document| document.id == "7" && document.tokens.len() == document.loss.len())
            );
        }
        // 25 tokens: 10, 10, and the last 5 after five more that are known.
        let last = windowed(0, (0..=25).collect(), 10).remove(1);
        assert_eq!(last.tokens, (15..=25).collect::<Vec<u32>>());
        assert_eq!(last.loss.iter().filter(|scored| **scored).count(), 5);
    }

    #[test]
    fn words_are_counted_as_pythons_split_at_blanks_gives_them() {
        // len(re.split(r"\s+", text))
        for (text, count) in [
            ("", 1),
            (" ", 2),
            ("a", 1),
            ("a b", 2),
            (" a\n\n b ", 4),
            ("a ", 2),
        ] {
            assert_eq!(words(text), count, "{text:?}");
        }
    }
}
