//! The search itself: asked for a point, told its score, until it has seen enough.
//!
//! Nothing but the options and the scores decides what comes next, so a list of points and scores is all that must be kept:
//! told again, a new search goes on as the old one would have.

use serde::{Deserialize, Serialize};

use crate::acquisition::{Acquisition, expected_improvement};
use crate::chance::Chance;
use crate::error::{Result, SearchError};
use crate::gaussian::{GaussianProcess, Posterior};
use crate::hedge;
use crate::polish::polish;
use crate::space::Space;

/// How points are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// By all three rules, each as often as it did well (GP-Hedge).
    #[default]
    Hedge,
    /// By one rule.
    By(Acquisition),
    /// The points of a grid: a baseline.
    Grid,
    /// Random points: a baseline.
    Random,
}

/// Why a point was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It changes nothing, or nothing was known yet.
    Initial,
    /// By this rule.
    By(Acquisition),
    /// The process expects most of it.
    Final,
    /// It is on the grid.
    Grid,
    /// By chance.
    Random,
}

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchOptions {
    /// Points at most.
    pub evaluations: usize,
    /// How they are chosen.
    pub strategy: Strategy,
    /// Decides what is left to chance.
    pub seed: u64,
    /// Over once no more than this is expected to be gained, twice running; in units of the score.
    pub tolerance: f64,
}

/// A point to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Its coordinates.
    pub point: Vec<f64>,
    /// Why.
    pub reason: Reason,
    /// What was expected of it, once something is known.
    pub expected: Option<Posterior>,
}

/// Points to look at together.
#[derive(Clone, Debug)]
pub struct Several {
    /// In the order in which they were chosen; empty when the search is over.
    pub proposals: Vec<Proposal>,
    /// The search that believes what is expected of them.
    after: Search,
}

impl Several {
    /// Was any of them chosen without scores?
    fn is_blind(&self) -> bool {
        self.proposals.iter().any(|proposal| proposal.expected.is_none())
    }
}

/// A search for the highest score.
#[derive(Clone, Debug)]
pub struct Search {
    space: Space,
    options: SearchOptions,
    points: Vec<Vec<f64>>,
    scores: Vec<f64>,
    pending: Option<Proposal>,
    /// What each rule nominated last, and what its nominees have turned out to promise.
    nominees: Vec<Vec<f64>>,
    gains: [f64; 3],
    /// How often running little was to be gained.
    little: usize,
    was_polished: bool,
}

impl Search {
    /// A search that knows nothing yet.
    pub fn new(space: Space, options: SearchOptions) -> Self {
        Self {
            space,
            options,
            points: Vec::new(),
            scores: Vec::new(),
            pending: None,
            nominees: Vec::new(),
            gains: [0.0; 3],
            little: 0,
            was_polished: false,
        }
    }

    /// The space.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Points told so far, and their scores.
    pub fn trials(&self) -> impl ExactSizeIterator<Item = (&[f64], f64)> {
        self.points
            .iter()
            .map(Vec::as_slice)
            .zip(self.scores.iter().copied())
    }

    /// Number of the best point so far; the earliest of equals, so the start if nothing is better.
    pub fn best(&self) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (number, score) in self.scores.iter().enumerate() {
            if best.is_none_or(|best| *score > self.scores[best]) {
                best = Some(number);
            }
        }
        best
    }

    /// The process that was fitted to all scores, in the coordinates of [`Self::expects`].
    ///
    /// # Errors
    /// As [`GaussianProcess::fit`].
    pub fn process(&self) -> Result<GaussianProcess> {
        let scaled: Vec<Vec<f64>> = self.points.iter().map(|point| self.space.scaled(point)).collect();
        GaussianProcess::fit(&scaled, &self.scores)
    }

    /// What a process expects of a point of the space.
    pub fn expects(&self, process: &GaussianProcess, point: &[f64]) -> Posterior {
        process.at(&self.space.scaled(point))
    }

    /// The next point; the same one until it is told. `None`: the search is over.
    ///
    /// # Errors
    /// As [`GaussianProcess::fit`].
    pub fn ask(&mut self) -> Result<Option<Proposal>> {
        if self.pending.is_none() && self.points.len() < self.options.evaluations {
            self.pending = self.propose()?;
        }
        Ok(self.pending.clone())
    }

    /// The score of the point asked for.
    ///
    /// # Errors
    /// [`SearchError::NotFinite`]; [`SearchError::Input`] if none was asked for.
    pub fn tell(&mut self, score: f64) -> Result<()> {
        if !score.is_finite() {
            let number = self.points.len();
            return Err(SearchError::NotFinite { number, value: score });
        }
        let none = || SearchError::Input("no point was asked for".to_owned());
        let proposal = self.pending.take().ok_or_else(none)?;
        self.points.push(proposal.point);
        self.scores.push(score);
        Ok(())
    }

    /// Up to `count` points to be looked at together, at least one unless the search is over. Each is chosen as if those before it had
    /// scored what was expected of them (the Kriging believer of Ginsbourger, Le Riche and Carraro, 2010).
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_several(&self, count: usize) -> Result<Several> {
        let mut several = Several {
            proposals: Vec::new(),
            after: self.clone(),
        };
        while several.proposals.len() < count.max(1) {
            let mut after = several.after.clone();
            let Some(proposal) = after.ask()? else { break };
            let is_first = several.proposals.is_empty();
            let (expected, is_blind) = match proposal.expected {
                Some(expected) => (expected.mean, false),
                // Such points are chosen without scores; what is told of them here is not used.
                None => (0.0, true),
            };
            // Nothing is chosen by scores that are not known, and the last point by nothing but scores that are.
            let knows_too_little = !is_first && !is_blind && several.is_blind();
            if knows_too_little || (!is_first && proposal.reason == Reason::Final) {
                break;
            }
            after.tell(expected)?;
            if !is_first {
                // What is believed ends no search.
                after.little = several.after.little;
            }
            several.proposals.push(proposal);
            several.after = after;
        }
        Ok(several)
    }

    /// The scores of the points of [`Self::ask_several`], in order.
    ///
    /// # Errors
    /// [`SearchError::NotFinite`]; [`SearchError::Input`] unless there are as many scores as points.
    pub fn tell_several(&mut self, several: Several, scores: &[f64]) -> Result<()> {
        let known = self.scores.len();
        if let Some(at) = scores.iter().position(|score| !score.is_finite()) {
            let (number, value) = (known + at, scores[at]);
            return Err(SearchError::NotFinite { number, value });
        }
        if scores.len() != several.proposals.len() || several.after.scores.len() != known + scores.len() {
            let message = format!("{} scores for {} points", scores.len(), several.proposals.len());
            return Err(SearchError::Input(message));
        }
        *self = several.after;
        self.scores.truncate(known);
        self.scores.extend_from_slice(scores);
        Ok(())
    }

    fn propose(&mut self) -> Result<Option<Proposal>> {
        let number = self.points.len();
        let mut chance = Chance::new(self.options.seed, number as u64);
        let plain = |point: Vec<f64>, reason: Reason| {
            Some(Proposal {
                point,
                reason,
                expected: None,
            })
        };
        let rules: &[Acquisition] = match &self.options.strategy {
            Strategy::Grid => {
                let point = self.space.grid(self.options.evaluations).into_iter().nth(number);
                return Ok(point.and_then(|point| plain(point, Reason::Grid)));
            }
            Strategy::Random if number == 0 => return Ok(plain(self.space.start(), Reason::Initial)),
            Strategy::Random => return Ok(plain(self.space.random(&mut chance), Reason::Random)),
            Strategy::Hedge => &Acquisition::ALL,
            Strategy::By(rule) => std::slice::from_ref(rule),
        };
        let initial = self.space.initial(
            self.options.evaluations,
            &mut Chance::new(self.options.seed, u64::MAX),
        );
        if let Some(point) = initial.get(number) {
            return Ok(plain(point.clone(), Reason::Initial));
        }
        self.follow(rules.to_vec(), &mut chance)
    }

    /// The next point by these rules.
    fn follow(&mut self, rules: Vec<Acquisition>, chance: &mut Chance) -> Result<Option<Proposal>> {
        let Some(best) = self.best() else {
            return Ok(None);
        };
        let process = self.process()?;
        let believes = |point: &[f64]| process.standardised(&self.space.scaled(point));
        for (gain, nominee) in self.gains.iter_mut().zip(&self.nominees) {
            *gain += believes(nominee).mean;
        }
        let mut candidates = self.space.candidates(&self.points[best], chance);
        candidates.retain(|point| !self.space.is_near(point, &self.points));
        let beliefs: Vec<Posterior> = candidates.iter().map(|point| believes(point)).collect();
        let top = process.standardise(self.scores[best]);
        let most = |promise: &dyn Fn(Posterior) -> f64| {
            let mut most: Option<(f64, usize)> = None;
            for (at, belief) in beliefs.iter().enumerate() {
                let promise = promise(*belief);
                if most.is_none_or(|(best, _)| promise > best) {
                    most = Some((promise, at));
                }
            }
            most
        };
        let to_gain = most(&|belief| expected_improvement(belief, top)).map_or(0.0, |(gain, _)| gain);
        self.little = match to_gain * process.unit() < self.options.tolerance {
            true => self.little + 1,
            false => 0,
        };
        let is_last = self.points.len() + 1 == self.options.evaluations;
        if self.little >= 2 || is_last || candidates.is_empty() {
            if self.was_polished {
                return Ok(None);
            }
            self.was_polished = true;
            let expected = most(&|belief| belief.mean).map(|(_, at)| &candidates[at]);
            let start = expected
                .filter(|point| believes(point).mean > believes(&self.points[best]).mean)
                .unwrap_or(&self.points[best]);
            let point = polish(&process, &self.space, start);
            if !self.space.is_near(&point, &self.points) {
                // No rule nominated it.
                self.nominees.clear();
                return Ok(Some(self.proposal(&process, point, Reason::Final)));
            }
            if !is_last {
                return Ok(None);
            }
            // What was expected most is known already: the last point is as good as any other.
        }
        let nominee = |rule: &Acquisition| {
            let found = most(&|belief| rule.of(belief, top));
            found.map(|(_, at)| candidates[at].clone())
        };
        let Some(nominees) = rules.iter().map(nominee).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let chosen = hedge::choose(&self.gains[..nominees.len()], chance);
        let point = nominees[chosen].clone();
        self.nominees = nominees;
        Ok(Some(self.proposal(&process, point, Reason::By(rules[chosen]))))
    }

    fn proposal(&self, process: &GaussianProcess, point: Vec<f64>, reason: Reason) -> Proposal {
        let expected = Some(self.expects(process, &point));
        Proposal {
            point,
            reason,
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Block;

    fn pair() -> Space {
        Space {
            blocks: vec![Block::Interval {
                low: 0.5,
                high: 1.0,
                start: 1.0,
            }],
        }
    }

    fn options(evaluations: usize, strategy: Strategy, seed: u64) -> SearchOptions {
        SearchOptions {
            evaluations,
            strategy,
            seed,
            tolerance: 1e-6,
        }
    }

    fn run(mut search: Search, score: impl Fn(&[f64]) -> f64) -> Search {
        while let Some(proposal) = search.ask().unwrap() {
            search.tell(score(&proposal.point)).unwrap();
        }
        search
    }

    #[test]
    fn a_parabola_is_found_in_eight_points() {
        let strategies = Acquisition::ALL.map(Strategy::By);
        for strategy in [&[Strategy::Hedge], strategies.as_slice()].concat() {
            for seed in 0..3 {
                let found = run(Search::new(pair(), options(8, strategy, seed)), |x| {
                    -(x[0] - 0.7).powi(2)
                });
                let best = &found.points[found.best().unwrap()];
                assert!(
                    (best[0] - 0.7).abs() < 1e-2,
                    "{strategy:?} {seed}: {:?}",
                    found.points
                );
            }
        }
    }

    #[test]
    fn where_nothing_is_to_be_gained_the_start_wins_at_once() {
        let found = run(Search::new(pair(), options(20, Strategy::Hedge, 1)), |_| -3.0);
        assert_eq!(found.best(), Some(0));
        assert_eq!(found.points[0], [1.0]);
        assert!(found.points.len() < 8, "{:?}", found.points);
    }

    #[test]
    fn four_weights_are_found_in_25_points() {
        let space = Space {
            blocks: vec![Block::Simplex { corners: 4 }],
        };
        // Quadratic with unequal curvatures, as likelihoods near a minimum are; the best is inside.
        let best = [0.1, 0.15, 0.3, 0.45];
        let curve = [1.0, 0.5, 0.4, 0.2];
        let score = |x: &[f64]| {
            let parts = x.iter().zip(best).zip(curve);
            -parts
                .map(|((x, best), curve)| curve * (x - best).powi(2))
                .sum::<f64>()
        };
        for seed in 0..5 {
            let found = run(
                Search::new(space.clone(), options(25, Strategy::Hedge, seed)),
                score,
            );
            let top = found.scores[found.best().unwrap()];
            assert!(top > -1e-3, "seed {seed}: {top}");
        }
    }

    #[test]
    fn a_search_that_is_told_again_goes_on_as_before() {
        let space = Space {
            blocks: [pair().blocks, vec![Block::Simplex { corners: 3 }]].concat(),
        };
        let score = |x: &[f64]| -(x[0] - 0.8).powi(2) - (x[1] - 0.4).powi(2) - x[2];
        let whole = run(Search::new(space.clone(), options(12, Strategy::Hedge, 5)), score);
        for known in [1, 4, 9] {
            let mut again = Search::new(space.clone(), options(12, Strategy::Hedge, 5));
            for (point, score) in whole.trials().take(known) {
                assert_eq!(again.ask().unwrap().unwrap().point, point);
                again.tell(score).unwrap();
            }
            assert_eq!(run(again, score).points, whole.points);
        }
    }

    #[test]
    fn one_at_a_time_is_the_same_search_and_four_find_it_too() {
        let space = Space {
            blocks: vec![Block::Simplex { corners: 4 }],
        };
        let best = [0.1, 0.15, 0.3, 0.45];
        let score = |x: &[f64]| {
            -x.iter()
                .zip(best)
                .map(|(x, best)| (x - best).powi(2))
                .sum::<f64>()
        };
        let by = |count: usize, evaluations: usize| {
            let mut search = Search::new(space.clone(), options(evaluations, Strategy::Hedge, 3));
            let mut rounds = 0;
            loop {
                let several = search.ask_several(count).unwrap();
                assert!(several.proposals.len() <= count);
                if several.proposals.is_empty() {
                    return (search, rounds);
                }
                rounds += 1;
                let scores: Vec<f64> = several
                    .proposals
                    .iter()
                    .map(|proposal| score(&proposal.point))
                    .collect();
                search.tell_several(several, &scores).unwrap();
            }
        };
        let sequential = run(Search::new(space.clone(), options(25, Strategy::Hedge, 3)), score);
        let (single, rounds) = by(1, 25);
        assert_eq!(
            (single.points, single.scores, rounds),
            (
                sequential.points,
                sequential.scores.clone(),
                sequential.scores.len()
            )
        );
        let (several, rounds) = by(4, 32);
        assert!(several.points.len() <= 32 && rounds <= 12, "{rounds}");
        let top = several.scores[several.best().unwrap()];
        assert!(top > -2e-3, "{top}");
        for (at, point) in several.points.iter().enumerate() {
            assert!(!several.points[..at].contains(point), "{point:?} twice");
        }
    }

    #[test]
    fn several_scores_are_told_for_several_points() {
        let mut search = Search::new(pair(), options(6, Strategy::Random, 0));
        let several = search.ask_several(3).unwrap();
        assert_eq!(several.proposals.len(), 3);
        assert!(search.tell_several(several.clone(), &[1.0]).is_err());
        assert!(
            search
                .tell_several(several.clone(), &[1.0, f64::NAN, 2.0])
                .is_err()
        );
        search.tell_several(several, &[1.0, 3.0, 2.0]).unwrap();
        assert_eq!(search.best(), Some(1));
    }

    #[test]
    fn baselines_take_as_many_points_and_no_more() {
        let grid = run(Search::new(pair(), options(6, Strategy::Grid, 0)), |x| x[0]);
        assert_eq!(grid.points.len(), 6);
        let random = run(Search::new(pair(), options(6, Strategy::Random, 0)), |x| x[0]);
        assert_eq!(random.points.len(), 6);
    }

    #[test]
    fn a_score_must_be_a_number_and_be_asked_for() {
        let mut search = Search::new(pair(), options(3, Strategy::Hedge, 0));
        assert!(matches!(search.tell(1.0), Err(SearchError::Input(_))));
        search.ask().unwrap();
        assert!(matches!(
            search.tell(f64::NAN),
            Err(SearchError::NotFinite { number: 0, .. })
        ));
    }
}
