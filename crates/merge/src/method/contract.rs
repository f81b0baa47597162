//! What a merging method is to the rest of the crate.

use super::{Rule, Settings, TensorPlace};
use crate::config::Scalar;
use crate::statistics::GramTable;

/// A merging method.
pub trait Method: Sync {
    /// The word in `merge_method`.
    fn name(&self) -> &'static str;

    /// The formula in one line.
    fn formula(&self) -> &'static str;

    /// What the base model is to this method.
    fn base(&self) -> BaseUse;

    /// Every parameter the method knows.
    fn parameters(&self) -> &'static [Parameter];

    /// What must be known of all tensors before the first one can be combined.
    fn first_pass(&self, settings: &Settings<'_>) -> FirstPass;

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
    /// Not part of the formula; if given, it lends its tokenizer and configuration.
    Unused,
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

/// Where a parameter may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the document's `parameters`, once for the merge.
    Merge,
    /// In a model's `parameters`, or in the document's for all models.
    Model,
}

/// The values a parameter may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A finite number; may be a gradient or depend on the tensor if its scope is [`Scope::Model`].
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
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
