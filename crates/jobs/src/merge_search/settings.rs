//! Settings of `merge.search`, and the space they span.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_merge::Parameters;
use tributary_pipeline::{InputRef, Problem};
use tributary_search::{Acquisition, Block, SearchOptions, Space, Strategy};

use super::evaluator::{Subject, Weights};
use crate::data_set::DataSet;

/// Settings of `merge.search`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeSearchSettings {
    /// The checkpoints, the newest last. Gains are measured against it.
    pub checkpoints: Vec<InputRef>,
    /// Held-out text: no text that a checkpoint was trained on. It is split in two by content.
    pub data: Vec<DataSet>,
    /// Mixtures evaluated at most; baselines come on top.
    #[serde(default = "default_evaluations")]
    #[schemars(range(min = 3, max = 500))]
    pub evaluations: u32,
    /// Of two checkpoints: the least weight of the newer (the paper's α); 0.5 unless given. More are searched over the whole simplex.
    #[serde(default)]
    pub least: Option<f64>,
    /// Groups of consecutive layers with weights of their own.
    #[serde(default = "default_groups")]
    #[schemars(range(min = 1))]
    pub groups: u32,
    /// Search over parameters of a merge method instead of weights.
    #[serde(default)]
    pub merge: Option<MethodSettings>,
    /// How the next mixture is chosen.
    #[serde(default)]
    pub by: SearchBy,
    /// The search is over once no more than this is expected to be gained, nats a token.
    #[serde(default = "default_tolerance")]
    pub tolerance: f64,
    /// A mixture reads a quarter of the searched documents first, then half of them, and stops where it is clearly worse than the
    /// best so far on the same documents: by more than three standard errors. The search goes on with what is expected of it.
    #[serde(default)]
    pub halving: bool,
    /// Mixtures that are evaluated at the same time. On GPUs each has one of its own, from the step's device on, with the checkpoints on
    /// it; so ask for as many: `resources: {gpus: 4}`. On the CPU they share the cores. What is chosen together knows less, so more evaluations may be
    /// needed.
    #[serde(default = "default_at_once")]
    #[schemars(range(min = 1, max = 64))]
    pub at_once: u32,
    /// What the result is compared with.
    #[serde(default = "default_baselines")]
    pub baselines: Vec<Baseline>,
    /// Text for the baselines `fisher` and `regmean`: every token of it counts.
    #[serde(default)]
    pub calibration: Vec<DataSet>,
    /// Other models to compare the result with, for instance one whose learning rate was decayed.
    #[serde(default)]
    pub compare: Vec<InputRef>,
    /// Share of the documents that report and are not searched on.
    #[serde(default = "default_report_share")]
    pub report_share: f64,
    /// Publish nothing unless the 95 % interval of the gain on the reporting half lies above 0.
    #[serde(default)]
    pub require_gain: bool,
    /// Tokens of a window; at most what the model was made for.
    #[serde(default = "default_context")]
    #[schemars(range(min = 2))]
    pub context: u32,
    /// Tokens of a batch.
    #[serde(default = "default_batch_tokens")]
    #[schemars(range(min = 1))]
    pub batch_tokens: u32,
}

/// A method of `merge` that combines the checkpoints, and what of it is searched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MethodSettings {
    /// The method, in mergekit's words.
    pub merge_method: String,
    /// The model the checkpoints were fine-tuned from, for methods that take one.
    #[serde(default)]
    pub base_model: Option<InputRef>,
    /// Parameters that stay as they are.
    #[serde(default)]
    pub parameters: Parameters,
    /// Parameters that are searched, by name.
    pub search: BTreeMap<String, SearchedRange>,
}

/// Where a parameter may lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchedRange {
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// What is looked at first; the middle unless given.
    #[serde(default)]
    pub start: Option<f64>,
}

impl MethodSettings {
    /// The searched parameters all at their least, and all at their most.
    pub(super) fn ends(&self) -> [Vec<f64>; 2] {
        let ranges = || self.search.values();
        [
            ranges().map(|range| range.low).collect(),
            ranges().map(|range| range.high).collect(),
        ]
    }
}

/// How the next mixture is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchBy {
    /// By the three rules below, each as often as it did well (GP-Hedge).
    #[default]
    Hedge,
    /// Expected improvement.
    ExpectedImprovement,
    /// Probability of improvement.
    ProbabilityOfImprovement,
    /// Upper confidence bound.
    UpperConfidenceBound,
    /// The points of a grid, evenly spaced.
    Grid,
    /// Random points.
    Random,
}

/// Another way to a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// All checkpoints alike.
    Uniform,
    /// Checkpoints are taken in, best first, as long as their average gets no worse (Wortsman et al. 2022).
    Greedy,
    /// The last k checkpoints alike, for each k from 2 to one less than all (LAWA, Kaddour 2022).
    Lawa,
    /// By the squared distances from the oldest checkpoint (MetaGPT).
    Metagpt,
    /// Every parameter by how much each checkpoint's likelihood hangs on it, on `calibration` (Fisher-weighted averaging).
    Fisher,
    /// Every matrix by what it multiplies on `calibration` (RegMean).
    Regmean,
    /// A grid of as many evaluations as the search has.
    Grid,
    /// As many random mixtures.
    Random,
}

fn default_evaluations() -> u32 {
    10
}

fn default_at_once() -> u32 {
    1
}

fn default_groups() -> u32 {
    1
}

fn default_tolerance() -> f64 {
    1e-4
}

fn default_baselines() -> Vec<Baseline> {
    vec![
        Baseline::Uniform,
        Baseline::Greedy,
        Baseline::Lawa,
        Baseline::Metagpt,
    ]
}

fn default_report_share() -> f64 {
    0.5
}

fn default_context() -> u32 {
    2048
}

fn default_batch_tokens() -> u32 {
    4096
}

impl MergeSearchSettings {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let models = self.checkpoints.len();
        let mut problems = Vec::new();
        let mut check = |is_wrong: bool, field: &str, message: &str, help: &str| {
            if is_wrong {
                problems.push(Problem::new(field, message).help(help));
            }
        };
        check(
            models < 2,
            "checkpoints",
            "there is nothing to mix",
            "list at least two checkpoints, the newest last",
        );
        let is_again = |at: usize| self.checkpoints[..at].contains(&self.checkpoints[at]);
        check(
            (0..models).any(is_again),
            "checkpoints",
            "one is listed twice",
            "list each checkpoint once, the newest last",
        );
        check(
            self.least.is_some() && models > 2,
            "least",
            "bounds the newer of two checkpoints, and there are more",
            "leave it out: the whole simplex is searched",
        );
        check(
            self.least.is_some_and(|least| !(0.0..1.0).contains(&least)),
            "least",
            "must be at least 0 and below 1",
            "0.5 is usual",
        );
        if let Some(merge) = &self.merge {
            check(
                self.least.is_some() || self.groups != 1,
                "merge",
                "parameters of a method are searched instead of weights",
                "leave out `least` and `groups`",
            );
            check(
                merge.search.is_empty(),
                "merge.search",
                "nothing is searched",
                "name parameters of the method: `search: {density: {low: 0.1, high: 1}}`",
            );
            for (name, range) in &merge.search {
                let field = format!("merge.search.{name}");
                let is_range = range.low < range.high && range.low.is_finite() && range.high.is_finite();
                check(
                    !is_range,
                    &field,
                    "`low` must lie below `high`",
                    "give two numbers",
                );
                let starts = range
                    .start
                    .is_none_or(|start| (range.low..=range.high).contains(&start));
                check(
                    is_range && !starts,
                    &field,
                    "`start` does not lie between `low` and `high`",
                    "leave it out",
                );
                let is_given = merge.parameters.contains_key(name);
                check(
                    is_given,
                    &field,
                    "is among the parameters that stay too",
                    "leave it out there",
                );
            }
        }
        check(
            !(3..=500).contains(&self.evaluations),
            "evaluations",
            "must be 3 to 500",
            "8 to 10 do for two checkpoints, 25 for four",
        );
        check(
            !(1..=64).contains(&self.at_once),
            "at_once",
            "must be 1 to 64",
            "as many as there are GPUs",
        );
        check(
            self.groups == 0,
            "groups",
            "must be at least 1",
            "1 gives all layers the same weights",
        );
        check(
            !(self.tolerance >= 0.0 && self.tolerance.is_finite()),
            "tolerance",
            "must be 0 or more",
            "0 uses all evaluations",
        );
        check(
            !(self.report_share > 0.0 && self.report_share < 1.0),
            "report_share",
            "must lie between 0 and 1",
            "0.5 gives each half of the text",
        );
        let grid = self.by == SearchBy::Grid || self.baselines.contains(&Baseline::Grid);
        let is_sane = models >= 2 && self.groups >= 1;
        check(
            is_sane && grid && !self.space().has_grid(self.evaluations as usize),
            "evaluations",
            "are too few for a grid over so many weights",
            "choose another way than `grid`, or fewer groups",
        );
        let reads = |baseline: &Baseline| matches!(baseline, Baseline::Fisher | Baseline::Regmean);
        let wants = self.baselines.iter().any(reads);
        check(
            wants && self.calibration.is_empty(),
            "calibration",
            "the baselines `fisher` and `regmean` read a text, and there is none",
            "name some: `calibration: [{source: …, limit: 32}]`",
        );
        check(
            !wants && !self.calibration.is_empty(),
            "calibration",
            "no baseline reads it",
            "add `fisher` or `regmean` to `baselines`, or leave it out",
        );
        check(
            self.context < 2,
            "context",
            "must be at least 2: one token to read and one to predict",
            "256 or more is usual",
        );
        problems
    }

    /// The searched parameters of a method; else of two checkpoints the newer's weight, of more all weights, for each group.
    pub(super) fn space(&self) -> Space {
        if let Some(merge) = &self.merge {
            let block = |range: &SearchedRange| Block::Interval {
                low: range.low,
                high: range.high,
                start: range.start.unwrap_or(0.5 * (range.low + range.high)),
            };
            return Space {
                blocks: merge.search.values().map(block).collect(),
            };
        }
        let block = match self.checkpoints.len() {
            2 => Block::Interval {
                low: self.least.unwrap_or(0.5),
                high: 1.0,
                start: 1.0,
            },
            corners => Block::Simplex { corners },
        };
        Space {
            blocks: vec![block; self.groups as usize],
        }
    }

    /// What each coordinate of a point is.
    pub(super) fn coordinates(&self, names: &[String]) -> Vec<String> {
        if let Some(merge) = &self.merge {
            return merge.search.keys().cloned().collect();
        }
        let weighed = match names {
            [_, newer] => std::slice::from_ref(newer),
            all => all,
        };
        let groups = self.groups;
        let of_group = |group: u32| {
            weighed.iter().map(move |name| match groups {
                1 => format!("weight of {name}"),
                _ => format!("weight of {name}, group {} of {groups}", group + 1),
            })
        };
        (0..groups).flat_map(of_group).collect()
    }

    /// What a point stands for.
    pub(super) fn subject(&self, point: &[f64]) -> Subject {
        match &self.merge {
            Some(_) => Subject::Method(point.to_vec()),
            None => Subject::Mixture(self.weights(point)),
        }
    }

    /// The weights of a point, `[group][checkpoint]`.
    fn weights(&self, point: &[f64]) -> Weights {
        let parts = self.space();
        let weights = |part: &[f64]| match part {
            [newer] => vec![1.0 - newer, *newer],
            all => all.to_vec(),
        };
        parts.parts(point).into_iter().map(weights).collect()
    }

    /// The weights of one checkpoint alone.
    pub(super) fn only(&self, checkpoint: usize) -> Weights {
        self.everywhere((0..self.checkpoints.len()).map(|at| f64::from(u8::from(at == checkpoint))))
    }

    /// The same weights for every group.
    pub(super) fn everywhere(&self, weights: impl Iterator<Item = f64>) -> Weights {
        vec![weights.collect(); self.groups as usize]
    }

    pub(super) fn search_options(&self, seed: u64) -> SearchOptions {
        let strategy = match self.by {
            SearchBy::Hedge => Strategy::Hedge,
            SearchBy::ExpectedImprovement => Strategy::By(Acquisition::ExpectedImprovement),
            SearchBy::ProbabilityOfImprovement => Strategy::By(Acquisition::ProbabilityOfImprovement),
            SearchBy::UpperConfidenceBound => Strategy::By(Acquisition::UpperConfidenceBound),
            SearchBy::Grid => Strategy::Grid,
            SearchBy::Random => Strategy::Random,
        };
        SearchOptions {
            evaluations: self.evaluations as usize,
            strategy,
            seed,
            tolerance: self.tolerance,
        }
    }
}
