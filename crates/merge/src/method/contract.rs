//! What a merging method is to the rest of the crate.

use std::ops::RangeInclusive;

use super::draw::Rescale;
use super::sparse::Vote;
use super::{Rule, Settings, TensorPlace};
use crate::config::{Compat, Scalar};
use crate::statistics::GramTable;

/// A merging method.
pub trait Method: Sync {
    /// The word in `merge_method`.
    fn name(&self) -> &'static str;

    /// The formula in one line.
    fn formula(&self) -> &'static str;

    /// What the base model is to this method.
    fn base(&self) -> BaseUse;

    /// How many models it merges, the base not counted where it is part of the formula.
    fn models(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    /// Every parameter the method knows.
    fn parameters(&self) -> &'static [Parameter];

    /// What must be known of all tensors before the first one can be combined.
    fn first_pass(&self, settings: &Settings<'_>) -> FirstPass {
        if settings.measured_weights().is_some() {
            FirstPass::Gram
        } else {
            FirstPass::None
        }
    }

    /// How the models combine at one tensor. The error is a fragment that says what is wrong; the caller adds where.
    fn rule(
        &self,
        tensor: &TensorPlace,
        settings: &Settings<'_>,
        statistics: &Statistics,
    ) -> Result<Box<dyn Rule>, String>;

    /// What a user should know about this outcome, given Σ over all tensors; one sentence an item.
    fn warnings(&self, _settings: &Settings<'_>, _statistics: &Statistics) -> Vec<String> {
        Vec::new()
    }
}

/// What the base model is to a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseUse {
    /// Part of the formula: there must be one, and it is not one of the merged models.
    Required,
    /// Part of the formula if it is given.
    Optional,
    /// One of the merged models, the first of them.
    First,
    /// Not part of the formula; if given, it lends its tokenizer and configuration.
    Unused,
}

impl BaseUse {
    /// Is the base read, and none of the merged models, in a merge that names one (or not)?
    pub fn reads_base(self, is_given: bool) -> bool {
        match self {
            BaseUse::Required => true,
            BaseUse::Optional => is_given,
            BaseUse::First | BaseUse::Unused => false,
        }
    }

    /// Must a merge name one?
    pub fn is_needed(self) -> bool {
        matches!(self, BaseUse::Required | BaseUse::First)
    }
}

/// A parameter of a method.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The key.
    pub name: &'static str,
    /// Where it may be written.
    pub scope: Scope,
    /// What it may be.
    pub kind: Kind,
    /// What holds if it is not written; `None`: it must be.
    pub default: Option<Default>,
    /// One line for a person.
    pub summary: &'static str,
}

impl Parameter {
    /// How much of a model's task vector is added.
    pub(super) const WEIGHT: Parameter = Parameter {
        name: "weight",
        scope: Scope::Model,
        kind: Kind::NumberOr(super::shares::WORDS),
        default: None,
        summary: "how much of the model's task vector is added; for all models: metagpt, by their norms",
    };
    /// Divide by all weights.
    pub(super) const NORMALIZE: Parameter = Parameter {
        name: "normalize",
        scope: Scope::Merge,
        kind: Kind::Flag,
        default: Some(Default::Flag(false)),
        summary: "divide by the sum of the weights",
    };
    /// Divide by the weights of the models that take part at an element.
    pub(super) const NORMALIZE_TAKING_PART: Parameter = Parameter {
        name: "normalize",
        scope: Scope::Merge,
        kind: Kind::Flag,
        default: Some(Default::Flag(true)),
        summary: "divide, element by element, by the weights of the models that take part",
    };
    /// λ.
    pub(super) const LAMBDA: Parameter = Parameter {
        name: "lambda",
        scope: Scope::Merge,
        kind: Kind::Number,
        default: Some(Default::Number(1.0)),
        summary: "factor of the whole sum of task vectors",
    };
    /// See [`Vote`].
    pub(super) const VOTE: Parameter = Parameter {
        name: "vote",
        scope: Scope::Merge,
        kind: Kind::Word(Vote::WORDS),
        default: Some(Default::Word("plain")),
        summary: "whether weights count when the models elect a sign (mergekit: weighted)",
    };
    /// See [`Rescale`].
    pub(crate) const RESCALE: Parameter = Parameter {
        name: "rescale",
        scope: Scope::Merge,
        kind: Kind::Word(Rescale::WORDS),
        default: Some(Default::Word("inverse")),
        summary: "how what is kept makes up for what is dropped (mergekit: l1)",
    };
    /// Of random choices.
    pub(super) const SEED: Parameter = Parameter {
        name: "seed",
        scope: Scope::Merge,
        kind: Kind::Number,
        default: Some(Default::Number(0.0)),
        summary: "seed of the random choices",
    };

    /// The default in a program that differs from the paper's formula here; `None`: it is the same.
    pub fn default_in(&self, program: Compat) -> Option<Default> {
        match (program, self.name) {
            (Compat::Mergekit, "vote") => Some(Default::Word("weighted")),
            (Compat::Mergekit, "rescale") => Some(Default::Word("l1")),
            _ => None,
        }
    }
}

/// Where a parameter may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the document's `parameters`, once for the merge.
    Merge,
    /// In the document's `parameters`, with a value that may depend on the tensor.
    Tensor,
    /// In a model's `parameters`, or in the document's for all models.
    Model,
}

/// The values a parameter may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A finite number; may be a gradient or depend on the tensor unless its scope is [`Scope::Merge`].
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number as above, or for all models and tensors together one of these words.
    NumberOr(&'static [&'static str]),
}

/// A default, in a form that can stand in a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// A number.
    Number(f64),
    /// A flag.
    Flag(bool),
    /// A word.
    Word(&'static str),
}

impl Default {
    pub(crate) fn to_scalar(self) -> Scalar {
        match self {
            Default::Number(number) => Scalar::Number(number),
            Default::Flag(flag) => Scalar::Flag(flag),
            Default::Word(word) => Scalar::Word(word.to_string()),
        }
    }
}

/// A pass over all blocks before any is combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstPass {
    /// None: one pass reads and writes.
    None,
    /// Inner products of the task vectors, by tensor.
    Gram,
    /// ‖τ‖² as the models' manifests record it: no byte of a tensor is read for it.
    RecordedNorms,
}

/// What the first pass found.
#[derive(Clone, Debug)]
pub enum Statistics {
    /// There was none.
    None,
    /// Inner products of the task vectors.
    Gram(GramTable),
    /// ‖τ‖² of each model, as recorded.
    RecordedNorms(Vec<f64>),
}
