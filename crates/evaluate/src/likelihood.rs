//! Negative log-likelihood a token, with its standard error over documents.

use serde::{Deserialize, Serialize};
use tributary_data::{Document, EvaluationBatches, EvaluationOptions};
use tributary_model::{Decoder, TokenBatch};

use crate::error::{EvaluateError, Result};

/// How an evaluation is run. None of it changes a figure beyond rounding, but `context`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LikelihoodOptions {
    /// The most tokens a prediction may look back on; longer documents are read in windows that share one token.
    pub context: usize,
    /// Tokens of a batch.
    pub batch_tokens: usize,
}

impl Default for LikelihoodOptions {
    fn default() -> Self {
        Self {
            context: 2048,
            batch_tokens: 2048,
        }
    }
}

/// Scores of one document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentScore {
    /// The document's id.
    pub id: String,
    /// Tokens scored.
    pub tokens: u64,
    /// Σ negative log-likelihood, nats.
    pub nll: f64,
}

/// Likelihood of a data set under a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// Documents with a scored token.
    pub documents: u64,
    /// Tokens scored.
    pub tokens: u64,
    /// Mean negative log-likelihood a token, nats.
    pub nll: f64,
    /// Standard error of `nll` over documents; none for a single document.
    pub nll_stderr: Option<f64>,
    /// `exp(nll)`.
    pub perplexity: f64,
    /// `perplexity · nll_stderr`, the first-order error.
    pub perplexity_stderr: Option<f64>,
}

/// A likelihood with what it was made from.
#[derive(Clone, Debug)]
pub struct ScoredDocuments {
    /// The figures.
    pub total: Likelihood,
    /// A document each, in the order given; documents without a scored token have 0 tokens.
    pub documents: Vec<DocumentScore>,
    /// For each document the negative log-likelihood of each of its tokens in nats; NaN where not scored.
    pub tokens: Vec<Vec<f32>>,
}

/// Scores every token of every document that counts. `progress` hears of tokens read and all tokens, and says
/// whether to go on.
///
/// # Errors
/// [`EvaluateError::NothingToScore`]; [`EvaluateError::NotFinite`] for a model whose numbers overflow;
/// [`EvaluateError::Model`] for tokens outside the vocabulary.
pub fn likelihood(
    decoder: &Decoder,
    documents: &[Document],
    options: &LikelihoodOptions,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<ScoredDocuments> {
    let mut tokens: Vec<Vec<f32>> = documents
        .iter()
        .map(|document| vec![f32::NAN; document.tokens.len()])
        .collect();
    let cut = EvaluationOptions {
        rows: options.batch_tokens.max(1),
        context: options.context,
        stride: None,
        max_positions: Some(options.batch_tokens),
        pad: 0,
    };
    let batches = EvaluationBatches::new(documents, cut)?;
    let all = batches.positions();
    let mut done = 0;
    for batch in batches {
        done += batch.tokens.len() as u64;
        let scored: Vec<_> = batch.scored_tokens().collect();
        let input = TokenBatch::packed(
            batch.rows,
            batch.len,
            batch.tokens,
            &batch.segments,
            batch.targets,
        )?;
        let nll = decoder.nll(&input)?;
        for token in scored {
            let score = nll[token.index];
            if !score.is_finite() {
                return Err(EvaluateError::NotFinite {
                    document: documents[token.document as usize].id.clone(),
                    token: token.token as usize,
                });
            }
            tokens[token.document as usize][token.token as usize] = score;
        }
        if !progress(done, all) {
            return Err(EvaluateError::Cancelled);
        }
    }
    let scores: Vec<DocumentScore> = documents
        .iter()
        .zip(&tokens)
        .map(|(document, tokens)| {
            let scored = tokens.iter().filter(|score| !score.is_nan());
            DocumentScore {
                id: document.id.clone(),
                tokens: scored.clone().count() as u64,
                nll: scored.map(|score| f64::from(*score)).sum(),
            }
        })
        .collect();
    let total = summarise(&scores).ok_or(EvaluateError::NothingToScore {
        documents: documents.len(),
    })?;
    Ok(ScoredDocuments {
        total,
        documents: scores,
        tokens,
    })
}

/// The ratio estimate Σ nll / Σ tokens with its linearised error over documents (Cochran, *Sampling Techniques*,
/// §6.3): `√(n/(n−1)·Σ(sᵢ − r·tᵢ)²) / Σt`, documents being the sampled units since their tokens hang together.
fn summarise(documents: &[DocumentScore]) -> Option<Likelihood> {
    let scored: Vec<&DocumentScore> = documents.iter().filter(|document| document.tokens > 0).collect();
    let tokens: u64 = scored.iter().map(|document| document.tokens).sum();
    if tokens == 0 {
        return None;
    }
    let nll = scored.iter().map(|document| document.nll).sum::<f64>() / tokens as f64;
    let count = scored.len() as f64;
    let squares: f64 = scored
        .iter()
        .map(|document| (document.nll - nll * document.tokens as f64).powi(2))
        .sum();
    let nll_stderr = (scored.len() > 1).then(|| (count / (count - 1.0) * squares).sqrt() / tokens as f64);
    let perplexity = nll.exp();
    Some(Likelihood {
        documents: scored.len() as u64,
        tokens,
        nll,
        nll_stderr,
        perplexity,
        perplexity_stderr: nll_stderr.map(|error| perplexity * error),
    })
}

/// The difference of two models' mean negative log-likelihood on the same documents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// First minus second, nats a token; below 0 the first is better.
    pub nll: f64,
    /// Its standard error over documents; none for a single document.
    pub stderr: Option<f64>,
}

/// Compares two models document by document: the difference is a ratio estimate as in [`Likelihood`], of `aᵢ − bᵢ`,
/// whose error leaves out what makes a document hard for both. None unless both scored the same tokens of the same
/// documents.
pub fn paired_difference(first: &[DocumentScore], second: &[DocumentScore]) -> Option<PairedDifference> {
    let same = |(a, b): (&DocumentScore, &DocumentScore)| a.id == b.id && a.tokens == b.tokens;
    if first.len() != second.len() || !first.iter().zip(second).all(same) {
        return None;
    }
    let difference = |(a, b): (&DocumentScore, &DocumentScore)| DocumentScore {
        nll: a.nll - b.nll,
        ..a.clone()
    };
    let differences: Vec<DocumentScore> = first.iter().zip(second).map(difference).collect();
    let total = summarise(&differences)?;
    Some(PairedDifference {
        nll: total.nll,
        stderr: total.nll_stderr,
    })
}

#[cfg(test)]
mod tests {
    use tributary_model::{Device, LlamaSizes, ModelConfig};

    use super::*;

    fn decoder() -> Decoder {
        let config = ModelConfig::llama(LlamaSizes {
            hidden_size: 32,
            intermediate_size: 64,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            vocab_size: 50,
            max_positions: 64,
            rope_theta: 1e4,
            tied_head: true,
            bos: None,
            eos: None,
        });
        Decoder::init(config, Device::Cpu, 3).unwrap()
    }

    fn document(index: u32, len: u32) -> Document {
        let tokens: Vec<u32> = (0..len).map(|at| (at * at * 7 + index * 13 + at) % 50).collect();
        let loss = (0..len).map(|at| at % 5 != 2).collect();
        Document {
            tokens,
            loss,
            id: index.to_string(),
            part: 0,
        }
    }

    #[test]
    fn batching_does_not_change_a_score() {
        let decoder = decoder();
        let documents: Vec<Document> = (0..9).map(|index| document(index, 3 + index * 4)).collect();
        let run = |batch_tokens: usize| {
            let options = LikelihoodOptions {
                context: 64,
                batch_tokens,
            };
            likelihood(&decoder, &documents, &options, &mut |_, _| true).unwrap()
        };
        let (one, many) = (run(1), run(500));
        assert_eq!(one.total.tokens, many.total.tokens);
        for (a, b) in one.tokens.iter().flatten().zip(many.tokens.iter().flatten()) {
            assert!((a - b).abs() < 1e-5 || (a.is_nan() && b.is_nan()), "{a} != {b}");
        }
        let scored: usize = documents
            .iter()
            .map(|d| d.loss.iter().skip(1).filter(|s| **s).count())
            .sum();
        assert_eq!(one.total.tokens as usize, scored);
        // Untrained, so near uniform over 50 tokens.
        assert!((one.total.nll - 50f64.ln()).abs() < 0.2, "{}", one.total.nll);
    }

    #[test]
    fn a_difference_is_paired_by_document() {
        let score = |id: &str, tokens: u64, nll: f64| DocumentScore {
            id: id.into(),
            tokens,
            nll,
        };
        let first = [score("a", 2, 4.0), score("b", 4, 9.0), score("c", 0, 0.0)];
        // Every token half a nat worse: no spread is left, however different the documents are.
        let second = [score("a", 2, 5.0), score("b", 4, 11.0), score("c", 0, 0.0)];
        assert_eq!(
            paired_difference(&first, &second),
            Some(PairedDifference {
                nll: -0.5,
                stderr: Some(0.0)
            })
        );
        assert_eq!(paired_difference(&first, &second[..2]), None);
        assert_eq!(paired_difference(&first[..1], &[score("x", 2, 1.0)]), None);
    }

    #[test]
    fn the_error_is_that_of_the_ratio() {
        let score = |tokens: u64, nll: f64| DocumentScore {
            id: String::new(),
            tokens,
            nll,
        };
        let total = summarise(&[score(2, 4.0), score(4, 6.0), score(0, 0.0)]).unwrap();
        assert_eq!((total.documents, total.tokens), (2, 6));
        let r = 10.0f64 / 6.0;
        let expected = (2.0 * ((4.0 - 2.0 * r).powi(2) + (6.0 - 4.0 * r).powi(2))).sqrt() / 6.0;
        assert!((total.nll_stderr.unwrap() - expected).abs() < 1e-12);
        assert_eq!(summarise(&[score(3, 1.0)]).unwrap().nll_stderr, None);
        assert!(summarise(&[score(0, 0.0)]).is_none());
    }
}
