//! What differs between two models, as data.

use serde::Serialize;
use serde_json::Value;

use super::sums::Sums;

/// Two models beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelDiff {
    /// The first model.
    pub a: Side,
    /// The second model.
    pub b: Side,
    /// Are tensors, configuration and tokenizer the same?
    pub is_equal: bool,
    /// Everything that was compared, together.
    pub total: GroupDiff,
    /// By layer, in order; what is outside the layers by its name, after them.
    pub layers: Vec<GroupDiff>,
    /// By kind of weight: the same place in every layer.
    pub kinds: Vec<GroupDiff>,
    /// Tensors of the same shape in both, the most distant first.
    pub tensors: Vec<TensorDiff>,
    /// Tensors that only the first has.
    pub only_in_a: Vec<TensorEntry>,
    /// Tensors that only the second has.
    pub only_in_b: Vec<TensorEntry>,
    /// Tensors whose shapes differ: the first's, the second's.
    pub shapes: Vec<(TensorEntry, TensorEntry)>,
    /// Fields of `config.json` that differ.
    pub configuration: Vec<FieldDiff>,
    /// What differs in the tokenizer.
    pub tokenizer: TokenizerDiff,
}

/// One of the two models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// What the user called it.
    pub model: String,
    /// Kind of its artifact, or `directory`.
    pub kind: String,
    /// Digest that names it.
    pub digest: String,
}

/// A tensor that was not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// One tensor in both models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorDiff {
    /// Its name.
    pub name: String,
    /// Its layer.
    pub layer: Option<usize>,
    /// Its kind: the name without layer and ending.
    pub kind: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its type in the first and the second model.
    pub dtypes: (&'static str, &'static str),
    /// Is it the same byte by byte?
    pub is_equal: bool,
    /// The figures; `None` for whole numbers and types that are not computed with, unless they are equal.
    pub measure: Option<Measure>,
    /// Share of the elements that differ.
    pub differing_share: f64,
    /// The largest difference.
    pub largest: Option<LargestDifference>,
    /// Elements at least one of which is no finite number; they are left out of the figures.
    pub not_finite: u64,
}

/// How far apart two vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// ‖A−B‖.
    pub distance: f64,
    /// ‖A‖.
    pub norm_a: f64,
    /// ‖B‖.
    pub norm_b: f64,
    /// ‖A−B‖/‖A‖; `None` if A is zero and B is not.
    pub relative: Option<f64>,
    /// Their cosine; `None` if one of them is zero.
    pub cosine: Option<f64>,
}

impl Measure {
    pub(super) fn of(sums: &Sums) -> Measure {
        let (norm_a, norm_b) = (sums.a.sqrt(), sums.b.sqrt());
        let distance = sums.difference.sqrt();
        Measure {
            distance,
            norm_a,
            norm_b,
            relative: match (distance > 0.0, norm_a > 0.0) {
                (false, _) => Some(0.0),
                (true, true) => Some(distance / norm_a),
                (true, false) => None,
            },
            cosine: match norm_a > 0.0 && norm_b > 0.0 {
                true if distance == 0.0 => Some(1.0),
                true => Some((sums.product / (norm_a * norm_b)).clamp(-1.0, 1.0)),
                false => None,
            },
        }
    }
}

/// Where a tensor differs most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LargestDifference {
    /// Index of the element.
    pub at: Vec<usize>,
    /// |a−b|.
    pub difference: f64,
    /// Value in the first model.
    pub a: f32,
    /// Value in the second model.
    pub b: f32,
}

/// Several tensors together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupDiff {
    /// A layer (`layer 3`) or a kind of weight.
    pub name: String,
    /// Tensors in it.
    pub tensors: usize,
    /// Their elements.
    pub elements: u64,
    /// How far apart they are, taken as one vector.
    pub measure: Measure,
    /// Share of the elements that differ.
    pub differing_share: f64,
}

/// A field of `config.json` that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldDiff {
    /// Where it is: `rope_scaling.factor`.
    pub field: String,
    /// Its value in the first model, if it has one.
    pub a: Option<Value>,
    /// Its value in the second model.
    pub b: Option<Value>,
}

/// What differs in two tokenizers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenizerDiff {
    /// Files of which the bytes differ, or that only one has.
    pub files: Vec<FileDiff>,
    /// Tokens that only the first has.
    pub only_in_a: Vec<String>,
    /// Tokens that only the second has.
    pub only_in_b: Vec<String>,
    /// Tokens with another number: token, number in the first, in the second.
    pub renumbered: Vec<(String, usize, usize)>,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDiff {
    /// Its name.
    pub name: String,
    /// What about it.
    pub state: FileState,
}

/// How a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Both have it, with other bytes.
    Differs,
    /// Only the first has it.
    OnlyInA,
    /// Only the second has it.
    OnlyInB,
}
