//! What a search shows: the curve it believes in, its trials, and the gain over the newest checkpoint beside the baselines'.

use tributary_evaluate::Interval;
use tributary_pipeline::{Figure, JobError, Line, Note};
use tributary_search::{Block, Posterior, Proposal, Reason, Search};

use super::Candidate;
use super::evaluator::{Subject, Weights};
use super::settings::MergeSearchSettings;
use crate::blame::Blame;

/// Points of the curve.
const CURVE: usize = 101;

pub(super) fn all(
    settings: &MergeSearchSettings,
    names: &[String],
    search: &Search,
    proposals: &[(Proposal, Option<usize>)],
    candidates: &[Candidate],
    winner: &Candidate,
) -> Vec<Result<Figure, JobError>> {
    let mut figures = Vec::new();
    if let [Block::Interval { low, high, .. }] = settings.space().blocks.as_slice() {
        let label = match settings
            .merge
            .as_ref()
            .and_then(|merge| merge.search.keys().next())
        {
            Some(parameter) => parameter.clone(),
            None => format!("weight of {}", names[names.len() - 1]),
        };
        figures.push(curve(label, search, (*low, *high)));
    }
    figures.push(Ok(progress(search)));
    figures.push(Ok(comparison(settings, names, candidates)));
    figures.push(Ok(trials(settings, names, search, proposals)));
    figures.push(Ok(verdict(winner)));
    figures
}

/// What the process expects of every number of the interval, with a band of two standard deviations, and the trials.
fn curve(x_label: String, search: &Search, (low, high): (f64, f64)) -> Result<Figure, JobError> {
    let process = search.process().blame("drawing the search")?;
    let x: Vec<f64> = (0..CURVE)
        .map(|at| low + (high - low) * at as f64 / (CURVE - 1) as f64)
        .collect();
    let expected: Vec<Posterior> = x.iter().map(|x| search.expects(&process, &[*x])).collect();
    let line = |name: &str, deviations: f64| Line {
        name: name.to_owned(),
        x: x.clone(),
        // Scores are negative log-likelihoods turned round.
        y: expected
            .iter()
            .map(|found| -found.mean + deviations * found.deviation)
            .collect(),
    };
    let mut tried: Vec<(f64, f64)> = search.trials().map(|(point, score)| (point[0], -score)).collect();
    tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    let trials = Line {
        name: "trials".to_owned(),
        x: tried.iter().map(|trial| trial.0).collect(),
        y: tried.iter().map(|trial| trial.1).collect(),
    };
    let chosen = search.best().and_then(|best| search.trials().nth(best));
    let chosen = chosen.map(|(point, score)| Line {
        name: "chosen".to_owned(),
        x: vec![point[0]],
        y: vec![-score],
    });
    let lines = [
        line("expected", 0.0),
        line("expected + 2σ", 2.0),
        line("expected − 2σ", -2.0),
        trials,
    ];
    Ok(Figure::Series {
        title: "What the search believes".to_owned(),
        x_label,
        y_label: "nats a token on the searched half".to_owned(),
        lines: lines.into_iter().chain(chosen).collect(),
    })
}

/// The best so far, evaluation by evaluation.
fn progress(search: &Search) -> Figure {
    let scores: Vec<f64> = search.trials().map(|(_, score)| -score).collect();
    let x: Vec<f64> = (1..=scores.len()).map(|number| number as f64).collect();
    let best = scores.iter().scan(f64::INFINITY, |best, score| {
        *best = best.min(*score);
        Some(*best)
    });
    Figure::Series {
        title: "Evaluations".to_owned(),
        x_label: "evaluation".to_owned(),
        y_label: "nats a token on the searched half".to_owned(),
        lines: vec![
            Line {
                name: "best so far".to_owned(),
                x: x.clone(),
                y: best.collect(),
            },
            Line {
                name: "evaluation".to_owned(),
                x,
                y: scores,
            },
        ],
    }
}

fn comparison(settings: &MergeSearchSettings, names: &[String], candidates: &[Candidate]) -> Figure {
    let row = |candidate: &Candidate| {
        let (nll, tokens) = candidate.reported.iter().fold((0.0, 0), |(nll, tokens), score| {
            (nll + score.nll, tokens + score.tokens)
        });
        let interval = |interval: Option<Interval>| {
            let text =
                |found: Interval| format!("{:+.5} ({:+.5} to {:+.5})", found.value, found.low, found.high);
            interval.map_or_else(String::new, text)
        };
        vec![
            candidate.name.clone(),
            candidate.subject.describe(settings),
            format!("{:.5}", candidate.searched),
            format!("{:.5}", nll / tokens as f64),
            interval(candidate.gain),
            interval(candidate.lead),
        ]
    };
    let columns = [
        "mixture",
        &what_varies(settings, names),
        "searched half, nats a token",
        "reporting half, nats a token",
        "gain over the newest there (95 % interval)",
        "the search's gain over it there (95 % interval)",
    ];
    Figure::Table {
        title: "The search beside other mixtures".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: candidates.iter().map(row).collect(),
    }
}

fn trials(
    settings: &MergeSearchSettings,
    names: &[String],
    search: &Search,
    proposals: &[(Proposal, Option<usize>)],
) -> Figure {
    type Found<'a> = ((&'a [f64], f64), &'a (Proposal, Option<usize>));
    let row = |(number, ((point, score), (proposal, stopped_after))): (usize, Found<'_>)| {
        let expected = proposal.expected.map_or_else(String::new, |expected| {
            format!("{:.5} ± {:.5}", -expected.mean, expected.deviation)
        });
        vec![
            (number + 1).to_string(),
            reason(proposal.reason).to_owned(),
            settings.subject(point).describe(settings),
            expected,
            match stopped_after {
                None => format!("{:.5}", -score),
                Some(documents) => format!("about {:.5}, stopped after {documents} documents", -score),
            },
        ]
    };
    let columns = [
        "evaluation",
        "chosen by",
        &what_varies(settings, names),
        "expected",
        "found, nats a token",
    ];
    Figure::Table {
        title: "Every evaluation".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: search.trials().zip(proposals).enumerate().map(row).collect(),
    }
}

/// What the numbers of a mixture are.
fn what_varies(settings: &MergeSearchSettings, names: &[String]) -> String {
    match &settings.merge {
        Some(merge) => format!(
            "weights of {}, or parameters of {}",
            names.join(", "),
            merge.merge_method
        ),
        None => format!("weights of {}", names.join(", ")),
    }
}

fn verdict(winner: &Candidate) -> Figure {
    let note = match winner.gain {
        Some(gain) if gain.low > 0.0 => Note::info(format!(
            "The mixture found is better than the newest checkpoint by {:.5} nats a token on text it was not chosen on, 95 % interval \
             {:.5} to {:.5}.",
            gain.value, gain.low, gain.high
        )),
        Some(gain) if gain.includes_zero() => Note::warning(format!(
            "No gain: on text it was not chosen on the mixture found differs from the newest checkpoint by {:+.5} nats a token, \
             and the 95 % interval, {:+.5} to {:+.5}, includes zero.",
            gain.value, gain.low, gain.high
        )),
        Some(gain) => Note::warning(format!(
            "A loss: on text it was not chosen on the mixture found is worse than the newest checkpoint by {:.5} nats a token, \
             95 % interval {:.5} to {:.5}.",
            -gain.value, -gain.high, -gain.low
        )),
        None => Note::warning("Too few documents report to say whether anything is gained."),
    };
    Figure::Notes { notes: vec![note] }
}

impl Subject {
    pub(super) fn describe(&self, settings: &MergeSearchSettings) -> String {
        match self {
            Subject::Method(values) => {
                let names = settings.merge.iter().flat_map(|merge| merge.search.keys());
                let value = |(name, value): (&String, &f64)| format!("{name} {value:.3}");
                names.zip(values).map(value).collect::<Vec<_>>().join(", ")
            }
            Subject::Mixture(weights) => described(weights),
            Subject::Fisher => "each parameter its own".to_owned(),
            Subject::Regmean => "each matrix its own".to_owned(),
            Subject::Other(_) => String::new(),
        }
    }
}

/// Weights in a table cell, group by group.
fn described(weights: &Weights) -> String {
    let group = |weights: &Vec<f64>| {
        let weights: Vec<String> = weights.iter().map(|weight| format!("{weight:.3}")).collect();
        weights.join(", ")
    };
    let groups: Vec<String> = weights.iter().map(group).collect();
    match groups.iter().all(|group| *group == groups[0]) {
        true => groups[0].clone(),
        false => groups.join(" | "),
    }
}

fn reason(reason: Reason) -> &'static str {
    use tributary_search::Acquisition::{
        ExpectedImprovement, ProbabilityOfImprovement, UpperConfidenceBound,
    };
    match reason {
        Reason::Initial => "start",
        Reason::By(ExpectedImprovement) => "expected improvement",
        Reason::By(ProbabilityOfImprovement) => "probability of improvement",
        Reason::By(UpperConfidenceBound) => "upper confidence bound",
        Reason::Final => "most expected",
        Reason::Grid => "grid",
        Reason::Random => "chance",
    }
}
