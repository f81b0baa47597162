//! Mixtures and their scores: combined in memory, measured, remembered, and kept for a run that goes on. So are the models that they
//! are compared with.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use tributary_data::Document;
use tributary_evaluate::{
    DocumentScore, EvaluateError, LikelihoodOptions, ScoredDocuments, Wanted, measure, summarise,
};
use tributary_model::{Decoder, Device};
use tributary_pipeline::{JobContext, JobError};
use tributary_search::{Blend, fisher_average, regmean_average};

use super::halving;
use super::recipe::Recipe;
use crate::blame::Blame;

/// Weights of a mixture, `[group][checkpoint]`.
pub(super) type Weights = Vec<Vec<f64>>;

/// Name in the step's checkpoints.
const LOG: &str = "trials.jsonl";

/// Which documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Half {
    /// Those that decide.
    Search,
    /// Those that judge.
    Report,
}

/// What is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// A mixture of the checkpoints.
    Mixture(Weights),
    /// The checkpoints merged by the method, the searched parameters in order.
    Method(Vec<f64>),
    /// A model of `compare`, by number.
    Other(usize),
    /// The Fisher-weighted average of the checkpoints.
    Fisher,
    /// Their regression mean.
    Regmean,
}

/// One evaluation, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Trial {
    half: Half,
    subject: Subject,
    /// Nats a token.
    nll: f64,
    /// Of the reporting half, which intervals are made of; of the searched one where mixtures may stop early, in the order of
    /// reading.
    documents: Vec<DocumentScore>,
    /// After how many documents it stopped: what it would have on all is an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped_after: Option<usize>,
}

/// What an evaluator leaves.
pub(super) struct Trials {
    /// Every evaluation, one JSON object a line.
    pub(super) log: Vec<u8>,
    /// Seconds of this run spent on evaluating ...
    pub(super) evaluating: f64,
    /// ... and on making the models.
    pub(super) combining: f64,
}

/// Evaluates mixtures, each once.
pub(super) struct Evaluator<'a> {
    blend: &'a Blend,
    recipe: &'a Recipe,
    /// Searched and reporting.
    documents: [Vec<Document>; 2],
    options: LikelihoodOptions,
    /// Documents for gradients and inner products.
    calibration: Vec<Vec<u32>>,
    context: &'a JobContext,
    trials: Vec<Trial>,
    /// The average by what happens on the calibration text that was made last.
    averaged: Option<(Subject, Decoder)>,
    evaluating: f64,
    combining: f64,
}

impl<'a> Evaluator<'a> {
    /// Knows what an earlier run of this very step found.
    pub(super) fn new(
        blend: &'a Blend,
        recipe: &'a Recipe,
        documents: [Vec<Document>; 2],
        options: LikelihoodOptions,
        calibration: Vec<Vec<u32>>,
        context: &'a JobContext,
    ) -> Result<Self, JobError> {
        let kept = match context.checkpoints.get(LOG) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => Default::default(),
            Err(error) => return Err(error.into()),
        };
        // A line that cannot be read is one that was not finished.
        let trials = kept
            .split(|byte| *byte == b'\n')
            .map_while(|line| serde_json::from_slice(line).ok())
            .collect();
        Ok(Self {
            blend,
            recipe,
            documents,
            options,
            calibration,
            context,
            trials,
            averaged: None,
            evaluating: 0.0,
            combining: 0.0,
        })
    }

    /// Number of documents of a half.
    pub(super) fn documents(&self, half: Half) -> usize {
        self.documents[half as usize].len()
    }

    /// The models that are mixed.
    pub(super) fn blend(&self) -> &Blend {
        self.blend
    }

    /// Mean negative log-likelihood of a mixture on the searched half, nats a token.
    pub(super) fn nll(&mut self, weights: &Weights) -> Result<f64, JobError> {
        self.nll_of(&Subject::Mixture(weights.clone()))
    }

    /// The same of anything.
    pub(super) fn nll_of(&mut self, subject: &Subject) -> Result<f64, JobError> {
        self.trial(subject, Half::Search).map(|trial| trial.nll)
    }

    /// Scores on the reporting half, by document.
    pub(super) fn reported(&mut self, subject: &Subject) -> Result<Vec<DocumentScore>, JobError> {
        self.trial(subject, Half::Report)
            .map(|trial| trial.documents.clone())
    }

    /// As [`Self::nll_of`], but a mixture that is clearly worse than the best stops before it has read all ([`halving`]): then the
    /// number is an estimate, and after how many documents it stopped comes with it.
    pub(super) fn raced(&mut self, subject: &Subject) -> Result<(f64, Option<usize>), JobError> {
        let known = |trial: &&Trial| trial.half == Half::Search && trial.subject == *subject;
        if let Some(trial) = self.trials.iter().find(known) {
            return Ok((trial.nll, trial.stopped_after));
        }
        let trial = self.race(subject)?;
        let found = (trial.nll, trial.stopped_after);
        self.keep(trial)?;
        Ok(found)
    }

    fn race(&mut self, subject: &Subject) -> Result<Trial, JobError> {
        self.context.cancellation.check()?;
        let decoder = self.model(subject)?;
        let (order, rounds) = halving::order(self.documents(Half::Search));
        let mut scores: Vec<DocumentScore> = Vec::new();
        for round in rounds {
            let all = &self.documents[Half::Search as usize];
            let some: Vec<Document> = order[round].iter().map(|at| all[*at].clone()).collect();
            if some.is_empty() {
                continue;
            }
            let what = "evaluating on some of the searched half";
            scores.extend(self.measured(&decoder, &some, what, subject)?.documents);
            let is_best = |trial: &&Trial| {
                trial.half == Half::Search && trial.stopped_after.is_none() && !trial.documents.is_empty()
            };
            let best = self.trials.iter().filter(is_best);
            let best = best.min_by(|a, b| a.nll.total_cmp(&b.nll));
            let estimate = best.and_then(|best| {
                halving::clearly_worse(&scores, best.documents.get(..scores.len())?, best.nll)
            });
            if let Some(nll) = estimate.filter(|_| scores.len() < order.len()) {
                return Ok(Trial {
                    half: Half::Search,
                    subject: subject.clone(),
                    nll,
                    stopped_after: Some(scores.len()),
                    documents: scores,
                });
            }
        }
        let total = summarise(&scores).ok_or_else(|| JobError::bug("nothing was read"))?;
        Ok(Trial {
            half: Half::Search,
            subject: subject.clone(),
            nll: total.nll,
            documents: scores,
            stopped_after: None,
        })
    }

    fn keep(&mut self, trial: Trial) -> Result<(), JobError> {
        self.trials.push(trial);
        Ok(self.context.checkpoints.put(LOG, self.lines()?)?)
    }

    fn trial(&mut self, subject: &Subject, half: Half) -> Result<&Trial, JobError> {
        let known =
            |trial: &Trial| trial.half == half && trial.subject == *subject && trial.stopped_after.is_none();
        let at = match self.trials.iter().position(known) {
            Some(at) => at,
            None => {
                let trial = self.evaluate(subject, half)?;
                self.keep(trial)?;
                self.trials.len() - 1
            }
        };
        Ok(&self.trials[at])
    }

    fn model(&mut self, subject: &Subject) -> Result<Decoder, JobError> {
        let weights = match subject {
            Subject::Mixture(weights) => weights,
            Subject::Fisher | Subject::Regmean => {
                let start = Instant::now();
                let average = match self.averaged.take() {
                    Some((of, average)) if of == *subject => average,
                    _ => self.calibrated(subject)?,
                };
                self.averaged = Some((subject.clone(), average.frozen()));
                self.combining += start.elapsed().as_secs_f64();
                return Ok(average);
            }
            Subject::Method(values) => {
                let start = Instant::now();
                let decoder = self.recipe.merged(values, self.context)?;
                self.combining += start.elapsed().as_secs_f64();
                return Ok(decoder);
            }
            Subject::Other(number) => {
                let input = self.context.input(&format!("compare.{number}"))?;
                let device: Device = self.context.device.parse().blame("choosing the device")?;
                return Decoder::load(&input.directory()?, device).blame(format!("loading {}", input.label));
            }
        };
        let start = Instant::now();
        let decoder = self.blend.make(weights).blame("combining the checkpoints")?;
        self.combining += start.elapsed().as_secs_f64();
        Ok(decoder)
    }

    /// An average that is made by reading the calibration text with every checkpoint.
    fn calibrated(&self, subject: &Subject) -> Result<Decoder, JobError> {
        let models = self.blend.models();
        let models: Vec<&Decoder> = models.iter().collect();
        let all = (models.len() * self.calibration.len()) as u64;
        let progress = &self.context.progress;
        let mut before = 0;
        let mut heard = |done: usize| {
            progress.advance((done - before) as u64);
            before = done;
            !self.context.cancellation.is_cancelled()
        };
        match subject {
            Subject::Regmean => {
                progress.begin("gathering inner products", Some(all), "documents");
                regmean_average(&models, &self.calibration, &mut heard).blame("taking the regression mean")
            }
            _ => {
                progress.begin("taking gradients", Some(all), "documents");
                fisher_average(&models, &self.calibration, &mut heard)
                    .blame("averaging by Fisher information")
            }
        }
    }

    fn evaluate(&mut self, subject: &Subject, half: Half) -> Result<Trial, JobError> {
        self.context.cancellation.check()?;
        let decoder = self.model(subject)?;
        let what = match half {
            Half::Search => "evaluating on the searched half",
            Half::Report => "evaluating on the reporting half",
        };
        let documents = std::mem::take(&mut self.documents[half as usize]);
        let scored = self.measured(&decoder, &documents, what, subject);
        self.documents[half as usize] = documents;
        let scored = scored?;
        Ok(Trial {
            half,
            subject: subject.clone(),
            nll: scored.total.nll,
            documents: match half {
                Half::Search => Vec::new(),
                Half::Report => scored.documents,
            },
            stopped_after: None,
        })
    }

    fn measured(
        &mut self,
        decoder: &Decoder,
        documents: &[Document],
        what: &str,
        subject: &Subject,
    ) -> Result<ScoredDocuments, JobError> {
        let start = Instant::now();
        let mut before = None;
        let wanted = Wanted::default();
        let measured = measure(decoder, documents, &self.options, &wanted, &mut |done, all| {
            if before.is_none() {
                self.context.progress.begin(what, Some(all), "tokens");
            }
            self.context.progress.advance(done - before.unwrap_or(0));
            before = Some(done);
            !self.context.cancellation.is_cancelled()
        });
        let measured = match measured {
            Err(EvaluateError::Cancelled) => return Err(JobError::cancelled()),
            other => other.blame(format!("evaluating {subject:?}"))?,
        };
        self.evaluating += start.elapsed().as_secs_f64();
        Ok(measured.scored)
    }

    fn lines(&self) -> Result<Vec<u8>, JobError> {
        let mut lines = Vec::new();
        for trial in &self.trials {
            let line = serde_json::to_vec(trial).map_err(|error| JobError::bug(error.to_string()))?;
            lines.extend(line);
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// All there is to keep.
    pub(super) fn finish(&self) -> Result<Trials, JobError> {
        Ok(Trials {
            log: self.lines()?,
            evaluating: self.evaluating,
            combining: self.combining,
        })
    }
}
