//! Negative log-likelihood a token, with its standard error over documents.

use serde::{Deserialize, Serialize};

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
    /// Tokens that were among the k most probable ones, for each k asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub correct: Vec<u64>,
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

/// The ratio estimate Σ values / Σ tokens with its linearised error over documents (Cochran, *Sampling Techniques*,
/// §6.3): `√(n/(n−1)·Σ(vᵢ − r·tᵢ)²) / Σt`, documents being the sampled units since their tokens hang together. None
/// without a token; no error for a single document.
pub(crate) fn ratio(values: &[(f64, u64)]) -> Option<(f64, Option<f64>)> {
    let tokens: u64 = values.iter().map(|(_, tokens)| tokens).sum();
    if tokens == 0 {
        return None;
    }
    let ratio = values.iter().map(|(value, _)| value).sum::<f64>() / tokens as f64;
    let scored = values.iter().filter(|(_, tokens)| *tokens > 0);
    let count = scored.clone().count() as f64;
    let squares: f64 = scored
        .map(|(value, tokens)| (value - ratio * *tokens as f64).powi(2))
        .sum();
    let error = (count > 1.0).then(|| (count / (count - 1.0) * squares).sqrt() / tokens as f64);
    Some((ratio, error))
}

/// The likelihood of all documents together; none without a scored token.
pub fn summarise(documents: &[DocumentScore]) -> Option<Likelihood> {
    let values: Vec<(f64, u64)> = documents
        .iter()
        .map(|document| (document.nll, document.tokens))
        .collect();
    let (nll, nll_stderr) = ratio(&values)?;
    let perplexity = nll.exp();
    Some(Likelihood {
        documents: values.iter().filter(|(_, tokens)| *tokens > 0).count() as u64,
        tokens: values.iter().map(|(_, tokens)| tokens).sum(),
        nll,
        nll_stderr,
        perplexity,
        perplexity_stderr: nll_stderr.map(|error| perplexity * error),
    })
}

/// The share of tokens that were among the most probable ones, with its standard error over documents: of number `at` of
/// the k asked for. None where it was not asked for.
pub fn accuracy(documents: &[DocumentScore], at: usize) -> Option<(f64, Option<f64>)> {
    let values: Option<Vec<(f64, u64)>> = documents
        .iter()
        .map(|document| Some((*document.correct.get(at)? as f64, document.tokens)))
        .collect();
    ratio(&values?)
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
    use tributary_data::Document;
    use tributary_model::{Decoder, Device, LlamaSizes, ModelConfig, Part};

    use super::*;
    use crate::calibration::Calibration;
    use crate::measure::{CalibrationWanted, Wanted, measure};

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
            measure(&decoder, &documents, &options, &Wanted::default(), &mut |_, _| {
                true
            })
            .unwrap()
            .scored
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
    fn what_else_is_measured_does_not_change_a_score() {
        let decoder = decoder();
        let documents: Vec<Document> = (0..9).map(|index| document(index, 3 + index * 4)).collect();
        let options = LikelihoodOptions {
            context: 16,
            batch_tokens: 48,
        };
        let run =
            |wanted: &Wanted| measure(&decoder, &documents, &options, wanted, &mut |_, _| true).unwrap();
        let alone = run(&Wanted::default());
        let all = run(&Wanted {
            top: vec![1, 5, 50],
            calibration: Some(CalibrationWanted {
                bins: 100,
                logarithmic: true,
                class_wise: true,
            }),
            block_influence: true,
            part: Part::Layer,
            stretches: vec![1, 2],
            relative_magnitude: true,
            hidden_states: true,
        });
        for (a, b) in alone
            .scored
            .tokens
            .iter()
            .flatten()
            .zip(all.scored.tokens.iter().flatten())
        {
            assert!(a == b || (a.is_nan() && b.is_nan()), "{a} != {b}");
        }
        let calibration = all.calibration.unwrap();
        assert_eq!(calibration.positions, alone.scored.total.tokens);
        let hits: u64 = calibration.full.iter().map(|bin| bin.hits).sum();
        assert_eq!(hits, calibration.positions);
        assert!(calibration.full_ece_stderr.unwrap() > 0.0);
        // Every token is among the 50 of the vocabulary.
        assert_eq!(accuracy(&all.scored.documents, 2).unwrap().0, 1.0);
        let influence = all.block_influence.unwrap();
        assert!(influence.layers.len() == 2 && influence.layers.iter().all(|layer| *layer > 0.0));
        // A stretch of one is a layer.
        assert_eq!(all.stretches[0], influence.layers);
        assert_eq!(all.stretches[1].len(), 1);
        assert!(all.relative_magnitude.iter().all(|share| *share > 0.0));
        let states = all.hidden_states.unwrap();
        assert_eq!((states.places.len(), states.tokens), (3, influence.tokens));
        assert!(
            states
                .places
                .iter()
                .all(|place| place.norm > 0.0 && place.alike < 1.0)
        );
    }

    #[test]
    fn calibration_in_parts_is_that_of_the_whole() {
        let decoder = decoder();
        let documents: Vec<Document> = (0..9).map(|index| document(index, 3 + index * 4)).collect();
        // A document is a batch, so that parts compute what the whole does.
        let options = LikelihoodOptions {
            context: 64,
            batch_tokens: 1,
        };
        let run = |documents: &[Document]| {
            let wanted = Wanted {
                calibration: Some(CalibrationWanted {
                    bins: 12,
                    logarithmic: true,
                    class_wise: true,
                }),
                ..Wanted::default()
            };
            let measured = measure(&decoder, documents, &options, &wanted, &mut |_, _| true).unwrap();
            measured.calibration.unwrap()
        };
        let whole = run(&documents);
        let parts = [run(&documents[..2]), run(&documents[2..7]), run(&documents[7..])];
        let merged = Calibration::merged(&parts).unwrap();
        assert_eq!(merged.positions, whole.positions);
        assert!((merged.ece - whole.ece).abs() < 1e-12 && (merged.full_ece - whole.full_ece).abs() < 1e-12);
        for (a, b) in merged.full.iter().zip(&whole.full) {
            assert_eq!((a.predictions, a.hits), (b.predictions, b.hits));
            assert!((a.mass - b.mass).abs() < 1e-9);
        }
        assert_eq!(Calibration::merged(&[]), None);
        assert_eq!(merged.class_wise_ece, None);
        let alone = Calibration::merged(std::slice::from_ref(&whole)).unwrap();
        assert_eq!(alone.class_wise_ece, whole.class_wise_ece);
    }

    #[test]
    fn a_difference_is_paired_by_document() {
        let score = |id: &str, tokens: u64, nll: f64| DocumentScore {
            id: id.into(),
            tokens,
            nll,
            correct: Vec::new(),
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
            correct: Vec::new(),
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
