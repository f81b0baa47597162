//! One forward pass over documents, and everything that is asked of it.

use std::collections::VecDeque;

use rayon::prelude::*;
use tributary_data::{Batch, Document, EvaluationBatches, EvaluationOptions, PADDING};
use tributary_model::{Decoder, Part, Tensor, TokenBatch, kernel};

use crate::calibration::{Calibration, CalibrationSums, DocumentSums, log_row};
use crate::error::{EvaluateError, Result};
use crate::influence::{BlockInfluence, InfluenceSums, MeanSums};
use crate::likelihood::{DocumentScore, LikelihoodOptions, ScoredDocuments, summarise};
use crate::prediction::{Prediction, predict};
use crate::states::{HiddenStates, HiddenSums};

/// What is measured beside the likelihood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Is the token that came among the k most probable? For each of these k.
    pub top: Vec<usize>,
    /// Calibration errors.
    pub calibration: Option<CalibrationWanted>,
    /// What of a layer the following are about.
    pub part: Part,
    /// How much it changes its input, by layer.
    pub block_influence: bool,
    /// How much each stretch of so many consecutive layers changes its input, for each of these lengths; of whole layers.
    pub stretches: Vec<usize>,
    /// How large a share of its output it adds, by layer: ‖f(x)‖/‖x + f(x)‖.
    pub relative_magnitude: bool,
    /// What the hidden states around it are like.
    pub hidden_states: bool,
}

/// How calibration is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalibrationWanted {
    /// Bins of equal width.
    pub bins: usize,
    /// Class-wise ECE too, which holds two numbers a token of the vocabulary for each of twenty groups of documents.
    pub class_wise: bool,
    /// Full-ECE over bins of factors of two too.
    pub logarithmic: bool,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The likelihood; each document has its correct predictions for each k of [`Wanted::top`].
    pub scored: ScoredDocuments,
    /// If asked for.
    pub calibration: Option<Calibration>,
    /// If asked for.
    pub block_influence: Option<BlockInfluence>,
    /// For each length asked for, by first layer: 1 − the mean cosine of what goes into the stretch and what comes out.
    pub stretches: Vec<Vec<f64>>,
    /// By layer; empty unless asked for.
    pub relative_magnitude: Vec<f64>,
    /// If asked for.
    pub hidden_states: Option<HiddenStates>,
}

/// Measures every token of every document that counts. `progress` hears of tokens read and all tokens, and says whether to
/// go on. On the CPU the likelihoods are the same bits whatever else is asked for, and nothing depends on the number of
/// threads. Calibration takes 48 bytes a bin and document, with bins of factors
/// of two 504 bytes a document more.
///
/// # Errors
/// [`EvaluateError::NothingToScore`]; [`EvaluateError::NotFinite`] for a model whose numbers overflow;
/// [`EvaluateError::Model`] for tokens outside the vocabulary.
pub fn measure(
    decoder: &Decoder,
    documents: &[Document],
    options: &LikelihoodOptions,
    wanted: &Wanted,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Measured> {
    let cut = EvaluationOptions {
        rows: options.batch_tokens.max(1),
        context: options.context,
        stride: None,
        max_positions: Some(options.batch_tokens),
        pad: 0,
    };
    let batches = EvaluationBatches::new(documents, cut)?;
    let all = batches.positions();
    let mut sums = Sums::new(decoder, documents, wanted);
    let mut done = 0;
    for batch in batches {
        done += batch.filled() as u64;
        sums.add(batch)?;
        if !progress(done, all) {
            return Err(EvaluateError::Cancelled);
        }
    }
    sums.finish()
}

/// What has been measured so far.
struct Sums<'a> {
    decoder: &'a Decoder,
    documents: &'a [Document],
    wanted: &'a Wanted,
    /// Of every token of every document its negative log-likelihood; NaN where not scored.
    tokens: Vec<Vec<f32>>,
    /// Of every document, for each k, how many predictions were correct.
    correct: Vec<Vec<u64>>,
    calibration: Option<DocumentSums>,
    influence: Option<InfluenceSums>,
    /// By length, as `influence`.
    stretches: Vec<InfluenceSums>,
    magnitude: Option<MeanSums>,
    states: Option<HiddenSums>,
}

impl<'a> Sums<'a> {
    fn new(decoder: &'a Decoder, documents: &'a [Document], wanted: &'a Wanted) -> Self {
        let calibration = wanted
            .calibration
            .map(|how| DocumentSums::new(how, decoder.config().vocab_size, documents.len()));
        Self {
            decoder,
            documents,
            wanted,
            tokens: documents
                .iter()
                .map(|document| vec![f32::NAN; document.tokens.len()])
                .collect(),
            correct: vec![vec![0; wanted.top.len()]; documents.len()],
            calibration,
            influence: wanted
                .block_influence
                .then(|| InfluenceSums::new(decoder.config().layers)),
            stretches: wanted
                .stretches
                .iter()
                .map(|length| InfluenceSums::new((decoder.config().layers + 1).saturating_sub(*length)))
                .collect(),
            magnitude: wanted
                .relative_magnitude
                .then(|| MeanSums::new(decoder.config().layers)),
            states: wanted
                .hidden_states
                .then(|| HiddenSums::new(decoder.config().layers)),
        }
    }

    fn add(&mut self, batch: Batch) -> Result<()> {
        let scored: Vec<_> = batch.scored_tokens().collect();
        let counts: Vec<bool> = batch.segments.iter().map(|segment| *segment != PADDING).collect();
        let input = TokenBatch::packed(
            batch.rows,
            batch.len,
            batch.tokens,
            &batch.segments,
            batch.targets,
        )?;
        let hidden = self.hidden(&input, &counts)?;
        if self.calibration.is_none() && self.wanted.top.is_empty() {
            let nll = self.decoder.nll_of(hidden, &input.targets)?;
            for token in scored {
                self.take(token.document as usize, token.token as usize, nll[token.index])?;
            }
            return Ok(());
        }
        // Blocks come in the order of the batch, as the scored tokens are.
        let mut failure = None;
        let mut left = scored.as_slice();
        let decoder = self.decoder;
        decoder.each_block_of_logits(hidden, &input.targets, &mut |places, logits| {
            let predictions = self.predict(places, logits, &input.targets);
            let here = left.split_off(..places.len()).unwrap_or_default();
            if let Some(sums) = &mut self.calibration {
                let documents: Vec<usize> = here.iter().map(|token| token.document as usize).collect();
                sums.add_masses(&documents, logits, &predictions);
            }
            for (prediction, token) in predictions.iter().zip(here) {
                let (document, token) = (token.document as usize, token.token as usize);
                if let Err(error) = self.take(document, token, prediction.nll) {
                    failure.get_or_insert(error);
                }
                self.count(document, prediction);
            }
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Hidden states after the final normalisation; what is wanted of the layers is taken on the way.
    fn hidden(&mut self, input: &TokenBatch, counts: &[bool]) -> Result<Tensor<2>> {
        let reads_layers = self.influence.is_some() || self.magnitude.is_some() || self.states.is_some();
        if !reads_layers && self.stretches.is_empty() {
            return Ok(self.decoder.hidden(input)?);
        }
        let longest = self.wanted.stretches.iter().copied().max().unwrap_or(0);
        // What went into the last layers, the latest last.
        let mut inputs: VecDeque<Tensor<2>> = VecDeque::new();
        let hidden = self
            .decoder
            .observed(input, self.wanted.part, &mut |layer, before, after| {
                if let Some(sums) = &mut self.influence {
                    sums.add(layer, &kernel::row_cosines(before, after)?, counts);
                }
                if let Some(sums) = &mut self.magnitude {
                    sums.add(layer, &kernel::relative_changes(before, after)?, counts);
                }
                if let Some(sums) = &mut self.states {
                    if layer == 0 {
                        sums.add(0, &kernel::state_sums(before, counts)?);
                    }
                    sums.add(layer + 1, &kernel::state_sums(after, counts)?);
                }
                if longest > 0 {
                    inputs.push_back(before.clone());
                    if inputs.len() > longest {
                        inputs.pop_front();
                    }
                }
                for (length, sums) in self.wanted.stretches.iter().zip(&mut self.stretches) {
                    if let Some(first) = inputs.len().checked_sub(*length).filter(|_| *length > 0) {
                        let cosines = kernel::row_cosines(&inputs[first], after)?;
                        sums.add(layer + 1 - length, &cosines, counts);
                    }
                }
                Ok(())
            })?;
        Ok(hidden)
    }

    /// Reads a block of logits, `[places, vocabulary]`, and leaves in it what [`predict`] does.
    fn predict(&self, places: &[usize], logits: &mut [f32], targets: &[i64]) -> Vec<Prediction> {
        let classes = logits.len() / places.len().max(1);
        let least = self
            .wanted
            .calibration
            .map_or(1.0, |how| CalibrationSums::least(how.bins));
        let logarithmic = self.wanted.calibration.is_some_and(|how| how.logarithmic);
        logits
            .par_chunks_mut(classes)
            .zip(places)
            .map(|(row, place)| {
                let target = targets[*place] as usize;
                let mut prediction = predict(row, target, least);
                prediction.by_factors = logarithmic.then(|| Box::new(log_row(row, prediction.scale, target)));
                prediction
            })
            .collect()
    }

    fn take(&mut self, document: usize, token: usize, nll: f32) -> Result<()> {
        if !nll.is_finite() {
            let document = self.documents[document].id.clone();
            return Err(EvaluateError::NotFinite { document, token });
        }
        self.tokens[document][token] = nll;
        Ok(())
    }

    fn count(&mut self, document: usize, prediction: &Prediction) {
        for (correct, k) in self.correct[document].iter_mut().zip(&self.wanted.top) {
            *correct += u64::from(prediction.rank < *k);
        }
        if let Some(sums) = &mut self.calibration {
            sums.add(document, prediction);
        }
    }

    fn finish(self) -> Result<Measured> {
        let scores: Vec<DocumentScore> = self
            .documents
            .iter()
            .zip(&self.tokens)
            .zip(self.correct)
            .map(|((document, tokens), correct)| {
                let scored = tokens.iter().filter(|score| !score.is_nan());
                DocumentScore {
                    id: document.id.clone(),
                    tokens: scored.clone().count() as u64,
                    nll: scored.map(|score| f64::from(*score)).sum(),
                    correct,
                }
            })
            .collect();
        let total = summarise(&scores).ok_or(EvaluateError::NothingToScore {
            documents: self.documents.len(),
        })?;
        Ok(Measured {
            scored: ScoredDocuments {
                total,
                documents: scores,
                tokens: self.tokens,
            },
            calibration: self.calibration.map(DocumentSums::finish),
            block_influence: self.influence.map(InfluenceSums::finish),
            stretches: self
                .stretches
                .into_iter()
                .map(|sums| sums.finish().layers)
                .collect(),
            relative_magnitude: self.magnitude.map(MeanSums::finish).unwrap_or_default(),
            hidden_states: self.states.map(HiddenSums::finish),
        })
    }
}
