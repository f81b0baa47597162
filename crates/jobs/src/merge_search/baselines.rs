//! Other ways to a mixture of the same checkpoints, for comparison.

use tributary_pipeline::JobError;
use tributary_search::{Search, SearchOptions, Strategy};

use super::evaluator::{Evaluator, Subject, Weights};
use super::settings::{Baseline, MergeSearchSettings};
use crate::blame::Blame;

/// Every baseline asked for, by name.
pub(super) fn all(
    settings: &MergeSearchSettings,
    seed: u64,
    evaluator: &mut Evaluator<'_>,
) -> Result<Vec<(String, Subject)>, JobError> {
    let models = settings.checkpoints.len();
    let mut all = Vec::new();
    for baseline in &settings.baselines {
        let mut found: Vec<(String, Weights)> = Vec::new();
        match baseline {
            Baseline::Fisher => all.push(("Fisher".to_owned(), Subject::Fisher)),
            Baseline::Regmean => all.push(("RegMean".to_owned(), Subject::Regmean)),
            Baseline::Uniform => found.push(("uniform soup".to_owned(), last(settings, models))),
            Baseline::Greedy => found.push(("greedy soup".to_owned(), greedy(settings, evaluator)?)),
            Baseline::Lawa => {
                let some = (2..models).map(|count| (format!("LAWA, last {count}"), last(settings, count)));
                found.extend(some);
            }
            Baseline::Metagpt => found.push(("MetaGPT".to_owned(), metagpt(settings, evaluator)?)),
            Baseline::Grid => {
                let found = searched(settings, Strategy::Grid, seed, evaluator)?;
                all.push(("grid".to_owned(), found));
            }
            Baseline::Random => {
                let found = searched(settings, Strategy::Random, seed, evaluator)?;
                all.push(("random".to_owned(), found));
            }
        }
        all.extend(
            found
                .into_iter()
                .map(|(name, weights)| (name, Subject::Mixture(weights))),
        );
    }
    Ok(all)
}

/// The last so many checkpoints alike.
fn last(settings: &MergeSearchSettings, count: usize) -> Weights {
    let models = settings.checkpoints.len();
    settings.everywhere((0..models).map(|at| {
        if at + count >= models {
            1.0 / count as f64
        } else {
            0.0
        }
    }))
}

/// Takes in checkpoints, the best first, as long as the average of those taken gets no worse.
fn greedy(settings: &MergeSearchSettings, evaluator: &mut Evaluator<'_>) -> Result<Weights, JobError> {
    let models = settings.checkpoints.len();
    let mut order = Vec::new();
    for at in 0..models {
        order.push((evaluator.nll(&settings.only(at))?, at));
    }
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let average = |members: &[usize]| {
        let share = 1.0 / members.len() as f64;
        settings.everywhere((0..models).map(|at| if members.contains(&at) { share } else { 0.0 }))
    };
    let mut best = order[0].0;
    let mut members = vec![order[0].1];
    for (_, at) in &order[1..] {
        let wider = [members.as_slice(), &[*at]].concat();
        let score = evaluator.nll(&average(&wider))?;
        if score <= best {
            (best, members) = (score, wider);
        }
    }
    Ok(average(&members))
}

/// λₜ = ‖θₜ − θ₀‖² / Σ ‖θₛ − θ₀‖², θ₀ the oldest checkpoint (arXiv 2406.11385).
fn metagpt(settings: &MergeSearchSettings, evaluator: &Evaluator<'_>) -> Result<Weights, JobError> {
    let squares = evaluator
        .blend()
        .squared_distances()
        .blame("measuring distances")?;
    let total: f64 = squares.iter().sum();
    let newest = settings.only(squares.len() - 1);
    Ok(match total > 0.0 {
        true => settings.everywhere(squares.iter().map(|square| square / total)),
        false => newest,
    })
}

/// The best of as many points, chosen without looking.
fn searched(
    settings: &MergeSearchSettings,
    strategy: Strategy,
    seed: u64,
    evaluator: &mut Evaluator<'_>,
) -> Result<Subject, JobError> {
    let options = SearchOptions {
        strategy,
        ..settings.search_options(seed)
    };
    let mut search = Search::new(settings.space(), options);
    while let Some(proposal) = search.ask().blame("choosing the next mixture")? {
        let score = evaluator.nll_of(&settings.subject(&proposal.point))?;
        search.tell(-score).blame("searching")?;
    }
    let best = search
        .best()
        .ok_or_else(|| JobError::bug("nothing was evaluated"))?;
    let point = search.trials().nth(best).map(|(point, _)| point.to_vec());
    Ok(settings.subject(&point.unwrap_or_default()))
}
