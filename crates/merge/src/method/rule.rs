//! How one tensor of the result is made: the contract between a method and the engine.
//!
//! A rule is asked what to do next ([`Rule::next`]) until it says how to combine. Between two answers the engine moves
//! every block of the tensor past the rule and adds up what it measures; a rule therefore sees a tensor as often as it
//! needs to and never holds one. Invariants: what is measured is added in the order of the elements whatever the number
//! of threads, and an element of the result depends on measurements and on the elements of its own unit alone. The chunks of a block
//! come one after the other, in order, and blocks are the same in every pass.

use std::ops::Range;

use crate::statistics::Gram;

/// How one tensor is made. Methods read their settings when they make the rule, not while it runs.
pub trait Rule: Send + Sync {
    /// What to do, given what was measured so far (empty at first). The error is a fragment that says what is wrong
    /// with the tensor's values; the caller adds where.
    fn next(&self, found: &[Measured]) -> Result<Step, String>;

    /// Consecutive elements that belong together: the length of a row for a rule over rows. A chunk holds whole units.
    fn unit(&self) -> usize {
        1
    }

    /// How often the tensor is read at most.
    fn passes(&self) -> usize {
        1
    }

    /// The tensor is made: what was found out for it need not be kept. A merge has rules for all its tensors.
    fn forget(&self) {}

    /// Most counters of one measurement.
    fn counts(&self) -> usize {
        0
    }

    /// Adds what a chunk has to `counts`, for [`Measure::Counts`].
    fn count(&self, _found: &[Measured], _chunk: &Chunk<'_>, _counts: &mut [u32]) {}

    /// A block has been counted, the elements `range` of the tensor: `counts` is all that [`Rule::count`] added in it.
    fn counted(&self, _range: Range<usize>, _counts: &[u32]) {}

    /// Adds what a chunk has to `sums`, for [`Measure::Sums`].
    fn sum(&self, _found: &[Measured], _chunk: &Chunk<'_>, _sums: &mut [f64]) {}

    /// Makes a chunk of the result, for [`Step::Combine`].
    fn combine(&self, _found: &[Measured], _chunk: &Chunk<'_>, _out: &mut [f64]) {}
}

/// What a rule wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// One pass over the tensor that only measures.
    Measure(Measure),
    /// `base`·θ₀ + Σₜ `models`ₜ·θₜ. An input whose coefficient is zero is not read.
    WeightedSum {
        /// Coefficient of the base; 0 if there is none.
        base: f64,
        /// Coefficient of each model.
        models: Vec<f64>,
    },
    /// [`Rule::combine`] makes every element.
    Combine,
    /// Nothing more: the tensor was only to be measured.
    Done,
}

/// A measurement of a whole tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Inner products.
    Gram(Of),
    /// So many counters, filled by [`Rule::count`].
    Counts(usize),
    /// So many sums in `f64`, filled by [`Rule::sum`].
    Sums(usize),
}

/// Which vectors' inner products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// θₜ − θ₀ of every model.
    TaskVectors,
    /// θₜ of every model, and of the base before them if the method reads one.
    Models,
}

/// What a measurement found.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// Inner products.
    Gram(Gram),
    /// Counters.
    Counts(Vec<u64>),
    /// Sums.
    Sums(Vec<f64>),
}

/// Elements of one tensor in every input, as `f32`: whole units, at most a few thousand elements.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    /// The first element's place in the tensor.
    pub start: usize,
    /// Number of elements.
    pub len: usize,
    inputs: &'a [Vec<f32>],
    has_base: bool,
}

impl<'a> Chunk<'a> {
    /// The first `len` elements of `inputs`, which begin with the base's if there is one.
    pub fn new(start: usize, len: usize, inputs: &'a [Vec<f32>], has_base: bool) -> Self {
        Chunk {
            start,
            len,
            inputs,
            has_base,
        }
    }

    /// The base's elements; none without a base.
    pub fn base(&self) -> &'a [f32] {
        match self.inputs.first() {
            Some(base) if self.has_base => &base[..self.len],
            _ => &[],
        }
    }

    /// Number of models.
    pub fn models(&self) -> usize {
        self.inputs.len() - usize::from(self.has_base)
    }

    /// A model's elements.
    pub fn model(&self, model: usize) -> &'a [f32] {
        &self.inputs[model + usize::from(self.has_base)][..self.len]
    }

    /// Units of `unit` elements, one after the other.
    pub fn units(&self, unit: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (len, unit) = (self.len, unit.max(1));
        (0..len)
            .step_by(unit)
            .map(move |start| start..(start + unit).min(len))
    }
}

/// A weighted sum whose coefficients are known beforehand.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedSum {
    /// Coefficient of the base; 0 if there is none.
    pub base: f64,
    /// Coefficient of each model.
    pub models: Vec<f64>,
}

impl Rule for WeightedSum {
    fn next(&self, _: &[Measured]) -> Result<Step, String> {
        Ok(Step::WeightedSum {
            base: self.base,
            models: self.models.clone(),
        })
    }
}

/// Measures once and makes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnlyMeasure(pub Measure);

impl Rule for OnlyMeasure {
    fn next(&self, found: &[Measured]) -> Result<Step, String> {
        Ok(match found {
            [] => Step::Measure(self.0),
            _ => Step::Done,
        })
    }
}
