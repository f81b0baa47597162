//! Mixtures and their scores: combined in memory, measured, remembered, and kept for a run that goes on. So are the models that they
//! are compared with.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use tributary_data::Document;
use tributary_evaluate::{
    DocumentScore, EvaluateError, LikelihoodOptions, ScoredDocuments, Wanted, measure, summarise,
};
use tributary_model::Decoder;
use tributary_pipeline::{JobContext, JobError, JobErrorKind};
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

/// An evaluation with the seconds it took.
struct Evaluated {
    trial: Trial,
    evaluating: f64,
    combining: f64,
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
    /// The checkpoints, on each device.
    blends: Vec<Blend>,
    /// A thread for each device, where there are several: what a thread makes on a GPU lies in memory of its own.
    workers: Vec<ThreadPool>,
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
        blends: Vec<Blend>,
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
        let workers = match blends.len() {
            1 => Vec::new(),
            several => (0..several)
                .map(|_| ThreadPoolBuilder::new().num_threads(1).build())
                .collect::<Result<_, _>>()
                .map_err(|error| JobError::caused(JobErrorKind::Io, "starting threads", error))?,
        };
        // A line that cannot be read is one that was not finished.
        let trials = kept
            .split(|byte| *byte == b'\n')
            .map_while(|line| serde_json::from_slice(line).ok())
            .collect();
        Ok(Self {
            blends,
            workers,
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
        &self.blends[0]
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

    /// [`Self::nll_of`] of mixtures that are evaluated at the same time, each on a device of its own. If they may stop
    /// early, one that is clearly worse than the best before stops before it has read all ([`halving`]): then the number is an
    /// estimate, and after how many documents it stopped comes with it.
    pub(super) fn together(
        &mut self,
        subjects: &[Subject],
        may_stop: bool,
    ) -> Result<Vec<(f64, Option<usize>)>, JobError> {
        let is_known = |trials: &[Trial], subject: &Subject| {
            trials
                .iter()
                .any(|trial| trial.half == Half::Search && trial.subject == *subject)
        };
        let mut new: Vec<&Subject> = Vec::new();
        for subject in subjects {
            if !is_known(&self.trials, subject) && !new.contains(&subject) {
                new.push(subject);
            }
        }
        // What those of this call compare themselves with is what was known before it, however far an interrupted call came.
        let best = || {
            let is_best = |trial: &&Trial| {
                trial.half == Half::Search
                    && trial.stopped_after.is_none()
                    && !trial.documents.is_empty()
                    && !subjects.contains(&trial.subject)
            };
            self.trials
                .iter()
                .filter(is_best)
                .min_by(|a, b| a.nll.total_cmp(&b.nll))
        };
        let best = best().filter(|_| !new.is_empty()).cloned();
        if let Some(best) = &best {
            // Nobody compares with the others again.
            let is_spent = |trial: &&mut Trial| {
                trial.half == Half::Search
                    && trial.subject != best.subject
                    && !subjects.contains(&trial.subject)
            };
            for trial in self.trials.iter_mut().filter(is_spent) {
                trial.documents.clear();
            }
        }
        if new.len() > 1 {
            let what = format!("evaluating {} mixtures on the searched half", new.len());
            self.context.progress.begin(&what, None, "tokens");
        }
        let announces = new.len() <= 1;
        let slots: Vec<Mutex<Option<Result<Evaluated, JobError>>>> =
            new.iter().map(|_| Mutex::default()).collect();
        let evaluator = &*self;
        let evaluate = |at: usize| {
            let blend = &evaluator.blends[at % evaluator.blends.len()];
            let found = match may_stop {
                true => evaluator.race(new[at], blend, best.as_ref(), announces),
                false => evaluator.evaluate(new[at], Half::Search, blend, announces),
            };
            *slots[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        };
        match evaluator.workers.as_slice() {
            [] => rayon::scope(|scope| {
                for at in 1..new.len() {
                    let evaluate = &evaluate;
                    scope.spawn(move |_| evaluate(at));
                }
                if !new.is_empty() {
                    evaluate(0);
                }
            }),
            workers => std::thread::scope(|scope| {
                for at in 0..new.len() {
                    let (evaluate, worker) = (&evaluate, &workers[at % workers.len()]);
                    scope.spawn(move || worker.install(|| evaluate(at)));
                }
            }),
        }
        let found = slots.into_iter().map(|slot| {
            let found = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
            found.unwrap_or_else(|| Err(JobError::bug("a mixture was not evaluated")))
        });
        // What is known is kept, whatever became of the others.
        let (known, failed): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
        for found in known {
            self.take(found?)?;
        }
        if let Some(Err(error)) = failed.into_iter().next() {
            return Err(error);
        }
        subjects
            .iter()
            .map(|subject| {
                let of_subject = |trial: &&Trial| trial.half == Half::Search && trial.subject == *subject;
                let trial = self.trials.iter().find(of_subject);
                let trial = trial.ok_or_else(|| JobError::bug("a mixture was not evaluated"))?;
                Ok((trial.nll, trial.stopped_after))
            })
            .collect()
    }

    fn race(
        &self,
        subject: &Subject,
        blend: &Blend,
        best: Option<&Trial>,
        announces: bool,
    ) -> Result<Evaluated, JobError> {
        let (decoder, combining) = self.made(subject, blend)?;
        let (order, rounds) = halving::order(self.documents(Half::Search));
        let mut found = Evaluated {
            trial: Trial {
                half: Half::Search,
                subject: subject.clone(),
                nll: f64::NAN,
                documents: Vec::new(),
                stopped_after: None,
            },
            evaluating: 0.0,
            combining,
        };
        for round in rounds {
            let all = &self.documents[Half::Search as usize];
            let some: Vec<Document> = order[round].iter().map(|at| all[*at].clone()).collect();
            if some.is_empty() {
                continue;
            }
            let what = announces.then_some("evaluating on some of the searched half");
            let (scored, seconds) = self.measured(&decoder, &some, what, subject)?;
            found.evaluating += seconds;
            let scores = &mut found.trial.documents;
            scores.extend(scored.documents);
            let estimate = best.and_then(|best| {
                halving::clearly_worse(scores, best.documents.get(..scores.len())?, best.nll)
            });
            if let Some(nll) = estimate.filter(|_| scores.len() < order.len()) {
                (found.trial.nll, found.trial.stopped_after) = (nll, Some(scores.len()));
                return Ok(found);
            }
        }
        let total = summarise(&found.trial.documents).ok_or_else(|| JobError::bug("nothing was read"))?;
        found.trial.nll = total.nll;
        Ok(found)
    }

    fn take(&mut self, found: Evaluated) -> Result<(), JobError> {
        self.evaluating += found.evaluating;
        self.combining += found.combining;
        self.keep(found.trial)
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
                let found = match subject {
                    Subject::Fisher | Subject::Regmean => self.evaluate_average(subject, half)?,
                    _ => self.evaluate(subject, half, &self.blends[0], true)?,
                };
                self.take(found)?;
                self.trials.len() - 1
            }
        };
        Ok(&self.trials[at])
    }

    /// A model that needs no calibration, and the seconds that making it took.
    fn made(&self, subject: &Subject, blend: &Blend) -> Result<(Decoder, f64), JobError> {
        let start = Instant::now();
        let decoder = match subject {
            Subject::Mixture(weights) => blend.make(weights).blame("combining the checkpoints")?,
            Subject::Method(values) => self.recipe.merged(values, blend.device(), self.context)?,
            Subject::Other(number) => {
                let input = self.context.input(&format!("compare.{number}"))?;
                let decoder = Decoder::load(&input.directory()?, blend.device());
                // Reading a file is no combining.
                return Ok((decoder.blame(format!("loading {}", input.label))?, 0.0));
            }
            Subject::Fisher | Subject::Regmean => return Err(JobError::bug("an average is no mixture")),
        };
        Ok((decoder, start.elapsed().as_secs_f64()))
    }

    /// An average of the checkpoints by what happens on the calibration text; the last one is kept for the other half.
    fn evaluate_average(&mut self, subject: &Subject, half: Half) -> Result<Evaluated, JobError> {
        self.context.cancellation.check()?;
        let start = Instant::now();
        let average = match self.averaged.take() {
            Some((of, average)) if of == *subject => average,
            _ => self.calibrated(subject)?,
        };
        let combining = start.elapsed().as_secs_f64();
        let found = self.scored(subject, half, &average, combining, true);
        self.averaged = Some((subject.clone(), average));
        found
    }

    /// An average that is made by reading the calibration text with every checkpoint.
    fn calibrated(&self, subject: &Subject) -> Result<Decoder, JobError> {
        let models = self.blends[0].models();
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

    fn evaluate(
        &self,
        subject: &Subject,
        half: Half,
        blend: &Blend,
        announces: bool,
    ) -> Result<Evaluated, JobError> {
        self.context.cancellation.check()?;
        let (decoder, combining) = self.made(subject, blend)?;
        self.scored(subject, half, &decoder, combining, announces)
    }

    fn scored(
        &self,
        subject: &Subject,
        half: Half,
        decoder: &Decoder,
        combining: f64,
        announces: bool,
    ) -> Result<Evaluated, JobError> {
        let what = match half {
            Half::Search => "evaluating on the searched half",
            Half::Report => "evaluating on the reporting half",
        };
        let documents = &self.documents[half as usize];
        let (scored, evaluating) = self.measured(decoder, documents, announces.then_some(what), subject)?;
        Ok(Evaluated {
            trial: Trial {
                half,
                subject: subject.clone(),
                nll: scored.total.nll,
                documents: match half {
                    Half::Search => Vec::new(),
                    Half::Report => scored.documents,
                },
                stopped_after: None,
            },
            evaluating,
            combining,
        })
    }

    /// Scores, and the seconds they took. A stretch of progress begins if it has a name.
    fn measured(
        &self,
        decoder: &Decoder,
        documents: &[Document],
        what: Option<&str>,
        subject: &Subject,
    ) -> Result<(ScoredDocuments, f64), JobError> {
        let start = Instant::now();
        let mut before = None;
        let wanted = Wanted::default();
        let measured = measure(decoder, documents, &self.options, &wanted, &mut |done, all| {
            if let (None, Some(what)) = (before, what) {
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
        Ok((measured.scored, start.elapsed().as_secs_f64()))
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
