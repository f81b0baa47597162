//! What is lost with each removed layer, on text that did not choose: by the method asked for, as it is and mended, and by
//! others.
//!
//! Models without layers are made in memory. Every point is kept in the step's checkpoints as soon as it is known.

use serde::{Deserialize, Serialize};
use tributary_data::{Document, Tokenizer};
use tributary_evaluate::{
    AnswerOptions, DocumentScore, EvaluateError, LikelihoodOptions, TaskScore, Wanted, accuracy, measure,
    paired_difference, summarise_answers,
};
use tributary_model::Decoder;
use tributary_pipeline::{Figure, JobContext, JobError, Line};
use tributary_prune::{Health, HealthOptions, How, Rule, Text, health, removals};

use super::mending::Mending;
use super::settings::{ChosenBy, ChosenPart, PruneSettings};
use crate::blame::Blame;
use crate::task_set::Asked;

/// Name in the step's checkpoints.
const KEPT: &str = "curve.jsonl";
/// Tokens of a beginning that is continued, and of the continuation.
const PROMPT: usize = 32;
const CONTINUATION: usize = 48;

/// One model, measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Point {
    removed: Vec<usize>,
    is_mended: bool,
    parameters: usize,
    /// Nats a token.
    nll: f64,
    documents: Vec<DocumentScore>,
    health: Option<Health>,
    /// By task; empty where nothing is written or answered.
    #[serde(default)]
    scores: Vec<(String, Vec<TaskScore>)>,
}

/// A choice of layers, as far as the curve goes.
struct Branch {
    name: String,
    /// By number of removed layers, from 0.
    points: Vec<Point>,
}

/// All that the curve is made of.
pub(super) struct Curve<'a> {
    pub(super) settings: &'a PruneSettings,
    pub(super) context: &'a JobContext,
    pub(super) decoder: &'a Decoder,
    /// The calibration text, and the text that judges.
    pub(super) calibration: &'a [Document],
    pub(super) judging: &'a [Document],
    pub(super) options: &'a LikelihoodOptions,
    /// Tokens that end a text.
    pub(super) stop: Vec<u32>,
    /// Tasks that are answered.
    pub(super) asked: Vec<Asked>,
    pub(super) tokenizer: &'a Tokenizer,
}

impl Curve<'_> {
    /// Measures, and draws. `chosen` has the layers of the method asked for, by their number from 1.
    pub(super) fn figures(&self, chosen: &[Vec<usize>]) -> Result<Vec<Figure>, JobError> {
        let Some(curve) = &self.settings.curve else {
            return Ok(Vec::new());
        };
        let mut kept = self.kept()?;
        let name = self.settings.by.name();
        let mut branches = vec![self.branch(&mut kept, name, chosen, Mending::Not, true)?];
        let mending = Mending::of(self.settings);
        if let Some(mended) = mending.name() {
            branches.push(self.branch(&mut kept, &format!("{name}, {mended}"), chosen, mending, true)?);
        }
        for by in &curve.against {
            let seeds = if *by == ChosenBy::Random { curve.seeds } else { 1 };
            let mut random = Vec::new();
            for seed in 0..u64::from(seeds) {
                let sets = self.sets(*by, self.context.seed.wrapping_add(seed))?;
                random.push(self.branch(&mut kept, by.name(), &sets, Mending::Not, false)?);
            }
            branches.push(mean(random, seeds));
        }
        Ok(vec![
            lines(&branches, self.settings.part),
            table(&branches, mending.name()),
        ])
    }

    fn sets(&self, by: ChosenBy, seed: u64) -> Result<Vec<Vec<usize>>, JobError> {
        let text = Text {
            documents: self.calibration,
            options: self.options,
        };
        let most = self.settings.up_to();
        let found = removals(
            self.decoder,
            text,
            Rule {
                part: self.settings.part.part(),
                by: by.rule(seed),
                how: How::OneShot,
            },
            most,
            &mut |_, _, _| !self.context.cancellation.is_cancelled(),
        );
        Ok(found.blame("choosing layers to compare with")?.sets)
    }

    fn branch(
        &self,
        kept: &mut Vec<Point>,
        name: &str,
        sets: &[Vec<usize>],
        mending: Mending,
        writes: bool,
    ) -> Result<Branch, JobError> {
        let mut points = vec![self.point(kept, &[], Mending::Not, writes)?];
        for removed in sets.iter().take(self.settings.up_to()) {
            points.push(self.point(kept, removed, mending, writes)?);
        }
        Ok(Branch {
            name: name.to_owned(),
            points,
        })
    }

    /// Measures the model without these layers, unless that is known.
    fn point(
        &self,
        kept: &mut Vec<Point>,
        removed: &[usize],
        mending: Mending,
        writes: bool,
    ) -> Result<Point, JobError> {
        let is_mended = mending != Mending::Not;
        let is_known = |point: &&Point| {
            point.removed == removed && point.is_mended == is_mended && (point.health.is_some() || !writes)
        };
        if let Some(point) = kept.iter().find(is_known) {
            return Ok(point.clone());
        }
        self.context.cancellation.check()?;
        let is_cancelled = || self.context.cancellation.is_cancelled();
        let part = self.settings.part.part();
        let text = Text {
            documents: self.calibration,
            options: self.options,
        };
        let decoder = mending
            .apply(self.decoder, part, removed, text, &mut |_, _, _| !is_cancelled())?
            .decoder;
        let parameters = decoder.parameters();
        let decoder = decoder.compact();
        let what = format!(
            "measuring without {} {}",
            removed.len(),
            self.settings.part.plural()
        );
        let wanted = Wanted {
            top: vec![1],
            ..Wanted::default()
        };
        let mut before = None;
        let measured = measure(&decoder, self.judging, self.options, &wanted, &mut |done, all| {
            if before.is_none() {
                self.context.progress.begin(&what, Some(all), "tokens");
            }
            self.context.progress.advance(done - before.unwrap_or(0));
            before = Some(done);
            !is_cancelled()
        });
        let measured = match measured {
            Err(EvaluateError::Cancelled) => return Err(JobError::cancelled()),
            other => other.blame(what)?,
        };
        let prompts = self
            .settings
            .curve
            .as_ref()
            .map_or(0, |curve| curve.prompts as usize);
        let how = HealthOptions {
            prompts,
            prompt_tokens: PROMPT,
            new_tokens: CONTINUATION,
            stop: self.stop.clone(),
        };
        let health = match writes {
            true => Some(health(&decoder, self.judging, &how).blame("continuing texts")?),
            false => None,
        };
        let scores = match writes {
            true => self.scores(&decoder, removed.len())?,
            false => Vec::new(),
        };
        let point = Point {
            removed: removed.to_vec(),
            is_mended,
            parameters,
            nll: measured.scored.total.nll,
            documents: measured.scored.documents,
            health,
            scores,
        };
        kept.push(point.clone());
        let mut lines = Vec::new();
        for point in kept.iter() {
            lines.extend(serde_json::to_vec(point).map_err(|error| JobError::bug(error.to_string()))?);
            lines.push(b'\n');
        }
        self.context.checkpoints.put(KEPT, lines)?;
        Ok(point)
    }

    /// What a model without some layers scores on every task.
    fn scores(&self, decoder: &Decoder, removed: usize) -> Result<Vec<(String, Vec<TaskScore>)>, JobError> {
        let options = |asked: &Asked| AnswerOptions {
            likelihood: self.options.clone(),
            chat: asked.is_chat,
        };
        let mut scores = Vec::new();
        for asked in &self.asked {
            let what = format!(
                "answering {} without {removed} {}",
                asked.name,
                self.settings.part.plural()
            );
            self.context
                .progress
                .begin(&what, Some(asked.exercise.len() as u64), "answers");
            let mut answers = Vec::new();
            for portion in asked.exercise.portions() {
                let given =
                    asked
                        .exercise
                        .answer(portion, decoder, self.tokenizer, &options(asked), &mut |more| {
                            self.context.progress.advance(more);
                            !self.context.cancellation.is_cancelled()
                        });
                answers.extend(match given {
                    Err(EvaluateError::Cancelled) => return Err(JobError::cancelled()),
                    other => other.blame(what.clone())?,
                });
            }
            scores.push((asked.name.clone(), summarise_answers(&answers)));
        }
        Ok(scores)
    }

    fn kept(&self) -> Result<Vec<Point>, JobError> {
        let kept = match self.context.checkpoints.get(KEPT) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let lines = kept.split(|byte| *byte == b'\n');
        Ok(lines
            .map_while(|line| serde_json::from_slice(line).ok())
            .collect())
    }
}

/// Several choices as one, whose likelihoods are the means.
fn mean(branches: Vec<Branch>, seeds: u32) -> Branch {
    let count = branches.len().max(1) as f64;
    let sums = branches
        .iter()
        .map(|branch| branch.points.iter().map(|point| point.nll));
    let totals = sums.fold(Vec::new(), |totals: Vec<f64>, points| {
        points
            .enumerate()
            .map(|(at, nll)| totals.get(at).copied().unwrap_or(0.0) + nll)
            .collect()
    });
    let mut branches = branches.into_iter();
    let Some(mut first) = branches.next() else {
        return Branch {
            name: String::new(),
            points: Vec::new(),
        };
    };
    for (point, total) in first.points.iter_mut().zip(totals) {
        point.nll = total / count;
    }
    if seeds > 1 {
        first.name = format!("{}, mean of {seeds}", first.name);
    }
    first
}

fn lines(branches: &[Branch], part: ChosenPart) -> Figure {
    let line = |branch: &Branch| Line {
        name: branch.name.clone(),
        x: (0..branch.points.len()).map(|removed| removed as f64).collect(),
        y: branch.points.iter().map(|point| point.nll).collect(),
        ..Line::default()
    };
    Figure::Series {
        title: format!("What removing {} costs", part.plural()),
        x_label: format!("{} removed", part.plural()),
        y_label: "nats a token on the judging text".to_owned(),
        lines: branches.iter().map(line).collect(),
    }
}

/// So many parameters in millions, a hundred thousand exact; of small models hundreds.
fn millions(parameters: usize) -> String {
    let millions = parameters as f64 / 1e6;
    match millions < 10.0 {
        true => format!("{millions:.4}"),
        false => format!("{millions:.1}"),
    }
}

fn table(branches: &[Branch], mended: Option<&str>) -> Figure {
    let main = &branches[0];
    let second = branches.get(1).filter(|_| mended.is_some());
    let difference = |point: &Point| match paired_difference(&point.documents, &main.points[0].documents) {
        Some(found) => match found.stderr {
            Some(stderr) => format!("{:+.4} ± {stderr:.4}", found.nll),
            None => format!("{:+.4}", found.nll),
        },
        None => String::new(),
    };
    let writing = |point: &Point| {
        point
            .health
            .filter(|health| health.continuations > 0)
            .map_or_else(String::new, |health| {
                format!(
                    "{:.0} %, {:.0} %",
                    100.0 * health.repetition,
                    100.0 * health.ended
                )
            })
    };
    let answered = |point: &Point| -> Vec<String> {
        let cell = |score: &TaskScore| match score.stderr {
            Some(stderr) => format!("{:.3} ± {stderr:.3}", score.value),
            None => format!("{:.3}", score.value),
        };
        point
            .scores
            .iter()
            .flat_map(|(_, scores)| scores)
            .map(cell)
            .collect()
    };
    let row = |(count, point): (usize, &Point)| {
        let layers: Vec<String> = point.removed.iter().map(usize::to_string).collect();
        let correct = accuracy(&point.documents, 0).map_or(f64::NAN, |found| found.0);
        let mut row = vec![
            count.to_string(),
            layers.join(", "),
            millions(point.parameters),
            format!("{:.4}", point.nll),
            difference(point),
            format!("{:.1} %", 100.0 * correct),
            writing(point),
        ];
        row.extend(answered(point));
        if let Some(point) = second.and_then(|second| second.points.get(count)) {
            row.extend([format!("{:.4}", point.nll), writing(point)]);
            row.extend(answered(point));
        }
        row
    };
    let names = |prefix: &str| -> Vec<String> {
        let scores = main.points[0].scores.iter();
        let scores = scores.flat_map(|(task, scores)| scores.iter().map(move |score| (task, score)));
        scores
            .map(|(task, score)| format!("{prefix}{task}: {}", score.name))
            .collect()
    };
    let columns = [
        "removed",
        "layers",
        "million parameters",
        "nats a token",
        "more than the whole model, paired",
        "accuracy",
        "repetition, ended",
    ];
    let mut columns: Vec<String> = columns.map(str::to_owned).to_vec();
    columns.extend(names(""));
    if let Some(mended) = mended {
        columns.extend(["nats a token", "repetition, ended"].map(|name| format!("{mended}: {name}")));
        columns.extend(names(&format!("{mended}: ")));
    }
    Figure::Table {
        title: format!("Removed by {}", main.name),
        columns,
        rows: main.points.iter().enumerate().map(row).collect(),
    }
}
