//! Settings of `prune`, and what is wrong with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_model::Part;
use tributary_pipeline::{InputRef, Problem};
use tributary_prune::{By, How, Rule};

use crate::data_set::DataSet;
use crate::task_set::TaskSet;

/// Settings of `prune`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneSettings {
    /// The model.
    pub model: InputRef,
    /// How many layers go; or name them with `layers`.
    #[serde(default)]
    pub remove: Option<u32>,
    /// What of a layer goes: all of it, or its attention or feed-forward network alone. Where only a part goes, the layer
    /// keeps its place and the part's matrices become 0, so that every program reads the model; this one does not compute
    /// them.
    #[serde(default)]
    pub part: ChosenPart,
    /// What decides which ones.
    #[serde(default)]
    pub by: ChosenBy,
    /// Whether they are chosen all at once.
    #[serde(default)]
    pub how: ChosenHow,
    /// The layers that go, from 0, instead of choosing some.
    #[serde(default)]
    pub layers: Vec<usize>,
    /// The calibration text: no text that the result is judged by. Every token of it counts.
    #[serde(default)]
    pub data: Vec<DataSet>,
    /// Correct the layer before each stretch of removed ones, by a ridge regression on the calibration text: it costs nothing when
    /// the model runs.
    #[serde(default)]
    pub heal: bool,
    /// Put a small feed-forward network in the place of each removed layer, as ShortGPT's post-training does, instead of nothing.
    #[serde(default)]
    pub replace: Option<ReplaceSettings>,
    /// What is lost layer by layer, on other text.
    #[serde(default)]
    pub curve: Option<CurveSettings>,
    /// Tokens of a window of the texts; at most what the model was made for.
    #[serde(default = "default_context")]
    #[schemars(range(min = 2))]
    pub context: u32,
}

/// A network in the place of a layer. It begins with the layer's own units that say most about what is missing, fitted to the
/// calibration text; `train.lm` with `start: {warm_start: …}` trains it on. The layer keeps its place, and what is gone of it is 0,
/// so that every program reads the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceSettings {
    /// Its hidden units; the paper has 2048 for models of 7 and 13 billion parameters.
    #[schemars(range(min = 1))]
    pub units: u32,
}

/// How much is lost with each removed layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurveSettings {
    /// The text that judges: not that of the calibration.
    pub data: Vec<DataSet>,
    /// Tasks that are answered at every point of the method asked for, for instance multiple choice.
    #[serde(default)]
    pub tasks: Vec<TaskSet>,
    /// For 0 to so many removed layers; as many as are removed unless given.
    #[serde(default)]
    pub up_to: Option<u32>,
    /// Other choices to compare with.
    #[serde(default = "default_against")]
    pub against: Vec<ChosenBy>,
    /// Random choices that are averaged.
    #[serde(default = "default_seeds")]
    #[schemars(range(min = 1, max = 100))]
    pub seeds: u32,
    /// Texts that are continued, to see how the model writes; 0: none.
    #[serde(default = "default_prompts")]
    pub prompts: u32,
}

/// What of a layer goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChosenPart {
    /// The whole layer.
    #[default]
    Layer,
    /// Its attention.
    Attention,
    /// Its feed-forward network.
    FeedForward,
}

/// What decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChosenBy {
    /// How little a layer turns its input on the calibration text.
    #[default]
    BlockInfluence,
    /// How little a layer adds to its input there.
    RelativeMagnitude,
    /// How little the likelihood falls there without it: a pass for every layer.
    Likelihood,
    /// The first ones after layer 0: a baseline.
    Sequential,
    /// The last ones: a baseline.
    Reverse,
    /// By chance, from the step's seed: a baseline.
    Random,
}

/// Whether layers are chosen all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChosenHow {
    /// All at once.
    #[default]
    OneShot,
    /// One by one, what is left being measured again.
    Iterative,
    /// The stretch of consecutive layers that together turn their input least.
    Stretch,
}

fn default_context() -> u32 {
    256
}

fn default_against() -> Vec<ChosenBy> {
    vec![ChosenBy::Random, ChosenBy::Sequential, ChosenBy::Reverse]
}

fn default_seeds() -> u32 {
    5
}

fn default_prompts() -> u32 {
    8
}

impl ChosenBy {
    /// For the prune crate.
    pub(super) fn rule(self, seed: u64) -> By {
        match self {
            Self::BlockInfluence => By::BlockInfluence,
            Self::RelativeMagnitude => By::RelativeMagnitude,
            Self::Likelihood => By::Likelihood,
            Self::Sequential => By::Sequential,
            Self::Reverse => By::Reverse,
            Self::Random => By::Random { seed },
        }
    }

    /// Does it need the calibration text?
    pub(super) fn measures(self) -> bool {
        matches!(
            self,
            Self::BlockInfluence | Self::RelativeMagnitude | Self::Likelihood
        )
    }

    /// What tables call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BlockInfluence => "Block Influence",
            Self::RelativeMagnitude => "relative magnitude",
            Self::Likelihood => "likelihood",
            Self::Sequential => "first layers",
            Self::Reverse => "last layers",
            Self::Random => "random",
        }
    }
}

impl ChosenPart {
    pub(super) fn part(self) -> Part {
        match self {
            Self::Layer => Part::Layer,
            Self::Attention => Part::Attention,
            Self::FeedForward => Part::FeedForward,
        }
    }

    /// What tables call several.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Layer => "layers",
            Self::Attention => "attentions",
            Self::FeedForward => "feed-forward networks",
        }
    }
}

impl ChosenHow {
    pub(super) fn rule(self) -> How {
        match self {
            Self::OneShot => How::OneShot,
            Self::Iterative => How::Iterative,
            Self::Stretch => How::Stretch,
        }
    }
}

impl PruneSettings {
    /// For the prune crate.
    pub(super) fn rule(&self, seed: u64) -> Rule {
        Rule {
            part: self.part.part(),
            by: self.by.rule(seed),
            how: self.how.rule(),
        }
    }

    /// Is the calibration text read?
    pub(super) fn reads_text(&self) -> bool {
        let chooses = self.layers.is_empty() && self.by.measures();
        let compares = self
            .curve
            .as_ref()
            .is_some_and(|curve| curve.against.iter().any(|by| by.measures()));
        chooses || compares || self.heal || self.replace.is_some()
    }

    /// Is anything left to chance?
    pub(super) fn is_random(&self) -> bool {
        let compared = self.curve.iter().flat_map(|curve| &curve.against);
        let mut all = std::iter::once(&self.by).chain(compared);
        all.any(|by| *by == ChosenBy::Random)
    }

    /// Layers that go.
    pub(super) fn count(&self) -> usize {
        self.remove.map_or(self.layers.len(), |remove| remove as usize)
    }

    /// Points of the curve after the first.
    pub(super) fn up_to(&self) -> usize {
        let curve = self.curve.as_ref();
        curve.map_or(0, |curve| {
            curve.up_to.map_or(self.count(), |up_to| up_to as usize)
        })
    }

    /// What is wrong whatever the model.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |is_wrong: bool, field: &str, message: &str, help: &str| {
            if is_wrong {
                problems.push(Problem::new(field, message).help(help));
            }
        };
        let are_named = !self.layers.is_empty();
        check(
            self.remove.is_none() && !are_named,
            "remove",
            "nothing is to be removed",
            "say how many layers: `remove: 3`",
        );
        check(
            self.remove == Some(0) && !are_named,
            "remove",
            "must be at least 1",
            "leave the step out to remove nothing",
        );
        check(
            self.remove.is_some() && are_named,
            "layers",
            "the layers are named, and their number is given as well",
            "leave out `remove` or `layers`",
        );
        check(
            are_named && self.by != ChosenBy::BlockInfluence,
            "by",
            "the layers are named already",
            "leave out `by` or `layers`",
        );
        check(
            are_named && self.how != ChosenHow::OneShot,
            "how",
            "the layers are named already",
            "leave out `how` or `layers`",
        );
        check(
            are_named && self.curve.is_some(),
            "curve",
            "is of layers that are chosen, and these are named",
            "leave out `curve` or `layers`",
        );
        check(
            self.how == ChosenHow::Iterative && !self.by.measures(),
            "how",
            "there is nothing to measure again",
            "leave it out, or choose `by: block_influence`",
        );
        check(
            self.how == ChosenHow::Stretch && self.by != ChosenBy::BlockInfluence,
            "how",
            "a stretch is chosen by Block Influence",
            "leave out `by`",
        );
        check(
            self.how == ChosenHow::Stretch && self.part != ChosenPart::Layer,
            "how",
            "a stretch is of whole layers",
            "leave out `part` or `how`",
        );
        check(
            self.replace.is_some() && self.heal,
            "heal",
            "layers are replaced, and what replaces them is fitted already",
            "leave out `heal` or `replace`",
        );
        check(
            self.replace.is_some() && self.part != ChosenPart::Layer,
            "replace",
            "is of whole layers",
            "leave out `part` or `replace`",
        );
        check(
            self.replace.as_ref().is_some_and(|replace| replace.units == 0),
            "replace.units",
            "must be at least 1",
            "leave out `replace` to put nothing in the layers' place",
        );
        check(
            !self.reads_text() && !self.data.is_empty(),
            "data",
            "nothing is measured, so no text is read",
            "leave it out, choose `by: block_influence`, or say `heal: true`",
        );
        check(
            self.context < 2,
            "context",
            "must be at least 2: one token to read and one to predict",
            "256 is what the paper's program takes",
        );
        check(
            self.curve
                .as_ref()
                .is_some_and(|curve| !(1..=100).contains(&curve.seeds)),
            "curve.seeds",
            "must be 1 to 100",
            "5 is usual",
        );
        let mut sorted = self.layers.clone();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            problems.push(
                Problem::new("layers", format!("layer {} is named twice", twice[0])).help("name it once"),
            );
        }
        problems
    }

    /// What is wrong for a model of so many layers with so many units each.
    pub(super) fn fits(&self, layers: usize, units: usize) -> Option<Problem> {
        if self
            .replace
            .as_ref()
            .is_some_and(|replace| replace.units as usize > units)
        {
            let problem = Problem::new("replace.units", "more than a layer has");
            return Some(problem.help(format!("the model's layers have {units} units each")));
        }
        if let Some(layer) = self.layers.iter().find(|layer| **layer >= layers) {
            let problem = Problem::new("layers", format!("there is no layer {layer}"));
            return Some(problem.help(format!(
                "the model has {layers}, from 0 to {}",
                layers.saturating_sub(1)
            )));
        }
        let field = match self.remove {
            Some(_) => "remove",
            None => "layers",
        };
        let counts = [(field, self.count()), ("curve.up_to", self.up_to())];
        let (can_go, help) = match self.part {
            ChosenPart::Layer => (layers.saturating_sub(1), "at least one must stay"),
            _ => (layers, "each layer has one"),
        };
        let (field, removed) = counts.into_iter().find(|(_, removed)| *removed > can_go)?;
        let what = self.part.plural();
        Some(Problem::new(field, format!("{removed} of {layers} {what} cannot be removed")).help(help))
    }
}
