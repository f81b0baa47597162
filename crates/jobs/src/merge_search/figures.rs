//! What a search shows: the curve it believes in, its trials, and the gain over the newest checkpoint beside the baselines'.

use tributary_evaluate::Interval;
use tributary_pipeline::{Drawn, Figure, JobError, Line, Note};
use tributary_search::{Posterior, Proposal, Reason, Search, Space};

use super::Candidate;
use super::evaluator::{Subject, Weights};
use super::settings::MergeSearchSettings;
use crate::blame::Blame;

/// Points of the curve.
const CURVE: usize = 101;
/// Most lines through the chosen point.
const LINES: usize = 6;

pub(super) fn all(
    settings: &MergeSearchSettings,
    names: &[String],
    search: &Search,
    proposals: &[(Proposal, Option<usize>)],
    candidates: &[Candidate],
    winner: &Candidate,
) -> Result<Vec<Figure>, JobError> {
    let mut figures = beliefs(&settings.coordinates(names), search, settings.space())?;
    figures.push(progress(search));
    figures.push(comparison(settings, names, candidates));
    figures.push(trials(settings, names, search, proposals));
    figures.push(verdict(settings, winner, candidates));
    Ok(figures)
}

/// What the process expects, with a band of two standard deviations: of every point of an interval, beside the trials; of more
/// coordinates on lines through the chosen point, of those [`LINES`] along which most changes.
fn beliefs(coordinates: &[String], search: &Search, space: Space) -> Result<Vec<Figure>, JobError> {
    let process = search.process().blame("drawing the search")?;
    let Some((chosen, score)) = search.best().and_then(|best| search.trials().nth(best)) else {
        return Ok(Vec::new());
    };
    let is_interval = coordinates.len() == 1;
    let figure = |(at, label): (usize, &String)| {
        let points = space.line(chosen, at, CURVE);
        let expected: Vec<Posterior> = points
            .iter()
            .map(|point| search.expects(&process, point))
            .collect();
        let line = |name: &str, deviations: f64, drawn: Drawn| Line {
            name: name.to_owned(),
            x: points.iter().map(|point| point[at]).collect(),
            // Scores are negative log-likelihoods turned round.
            y: expected
                .iter()
                .map(|found| -found.mean + deviations * found.deviation)
                .collect(),
            drawn,
        };
        let mut lines = vec![
            line("expected", 0.0, Drawn::Curve),
            line("expected + 2σ", 2.0, Drawn::Edge),
            line("expected − 2σ", -2.0, Drawn::Edge),
        ];
        let span = lines[0].y.iter().copied().fold(f64::MIN, f64::max)
            - lines[0].y.iter().copied().fold(f64::MAX, f64::min);
        if is_interval {
            lines.push(tried(search));
        }
        lines.push(Line {
            name: "chosen".to_owned(),
            x: vec![chosen[at]],
            y: vec![-score],
            drawn: Drawn::Points,
        });
        let title = match is_interval {
            true => "What the search believes".to_owned(),
            false => format!("What the search believes beside the chosen point: {label}"),
        };
        let figure = Figure::Series {
            title,
            x_label: label.clone(),
            y_label: "nats a token on the searched half".to_owned(),
            lines,
        };
        (span, figure)
    };
    let mut figures: Vec<(f64, Figure)> = coordinates.iter().enumerate().map(figure).collect();
    if figures.len() > LINES {
        figures.sort_by(|a, b| b.0.total_cmp(&a.0));
        figures.truncate(LINES);
    }
    Ok(figures.into_iter().map(|(_, figure)| figure).collect())
}

/// The trials of an interval.
fn tried(search: &Search) -> Line {
    let mut tried: Vec<(f64, f64)> = search.trials().map(|(point, score)| (point[0], -score)).collect();
    tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    Line {
        name: "trials".to_owned(),
        x: tried.iter().map(|trial| trial.0).collect(),
        y: tried.iter().map(|trial| trial.1).collect(),
        drawn: Drawn::Points,
    }
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
                ..Line::default()
            },
            Line {
                name: "evaluation".to_owned(),
                x,
                y: scores,
                ..Line::default()
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

fn verdict(settings: &MergeSearchSettings, winner: &Candidate, candidates: &[Candidate]) -> Figure {
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
    let better = |candidate: &&Candidate| candidate.searched < winner.searched && candidate.is_of_the_same();
    let best = candidates.iter().filter(better);
    let best = best.min_by(|a, b| a.searched.total_cmp(&b.searched)).map(|best| {
        let advice = match (&best.subject, &settings.merge) {
            (Subject::Mixture(_), None) => ": more evaluations, or a lower `least`, may find it",
            _ => "",
        };
        Note::warning(format!(
            "{} is better where the search looked, {:.5} beside {:.5} nats a token{advice}.",
            best.name, best.searched, winner.searched
        ))
    });
    let notes = std::iter::once(note).chain(best).collect();
    Figure::Notes { notes }
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
