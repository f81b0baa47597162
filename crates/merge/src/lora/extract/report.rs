//! What an extraction kept, as data.

use serde::Serialize;

/// The outcome of an extraction, without anything that depends on the machine or the hour.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExtractReport {
    /// ‖Δ‖ over all tensors that both models have.
    pub distance: f64,
    /// Share of ‖Δ‖² that base and adapter together have.
    pub energy_kept: f64,
    /// Elements of the adapter.
    pub parameters: u64,
    /// Tensors in two factors.
    pub decomposed: Vec<ExtractedTensor>,
    /// The same by kind of weight.
    pub groups: Vec<ExtractedGroup>,
    /// Tensors that differ and are in the adapter as they are.
    pub saved: Vec<WholeTensor>,
    /// Tensors that differ and are not in the adapter.
    pub not_covered: Vec<WholeTensor>,
    /// Number of tensors that do not differ.
    pub equal: usize,
}

/// One tensor in two factors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExtractedTensor {
    /// Its name.
    pub name: String,
    /// Its kind: the name without layer and ending.
    pub kind: String,
    /// Columns of B.
    pub rank: usize,
    /// ‖Δ‖.
    pub distance: f64,
    /// Share of ‖Δ‖² that is kept.
    pub energy_kept: f64,
    /// ‖Δ − B·A‖/‖Δ‖.
    pub relative_error: f64,
}

/// Tensors of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExtractedGroup {
    /// The kind.
    pub kind: String,
    /// Their number.
    pub tensors: usize,
    /// Smallest and largest rank.
    pub ranks: (usize, usize),
    /// ‖Δ‖ of all together.
    pub distance: f64,
    /// Share of ‖Δ‖² that is kept.
    pub energy_kept: f64,
    /// ‖Δ − B·A‖/‖Δ‖ of all together.
    pub relative_error: f64,
}

/// A tensor that differs and is not decomposed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WholeTensor {
    /// Its name.
    pub name: String,
    /// ‖Δ‖; `None` for types that are not computed with.
    pub distance: Option<f64>,
    /// ‖Δ‖/‖W‖, W being the base's.
    pub relative: Option<f64>,
    /// Why it is not covered; empty if it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'static str,
}

/// The tensors by kind, in order of the kinds.
pub(super) fn groups(tensors: &[ExtractedTensor]) -> Vec<ExtractedGroup> {
    let mut kinds: Vec<&str> = tensors.iter().map(|tensor| tensor.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let group = |kind: &str| {
        let members = || tensors.iter().filter(|tensor| tensor.kind == kind);
        let square = |tensor: &ExtractedTensor| tensor.distance * tensor.distance;
        let total: f64 = members().map(square).sum();
        let lost: f64 = members()
            .map(|tensor| square(tensor) * tensor.relative_error.powi(2))
            .sum();
        let lost = if total > 0.0 { lost / total } else { 0.0 };
        let ranks = || members().map(|tensor| tensor.rank);
        ExtractedGroup {
            kind: kind.to_string(),
            tensors: members().count(),
            ranks: (ranks().min().unwrap_or(0), ranks().max().unwrap_or(0)),
            distance: total.sqrt(),
            energy_kept: 1.0 - lost,
            relative_error: lost.sqrt(),
        }
    };
    kinds.into_iter().map(group).collect()
}
