//! One tensor of both models: read, subtracted, decomposed or measured.

use tributary_tensorfile::{TensorInfo, to_f32};

use super::spectrum::Spectrum;
use crate::diff::Sums;
use crate::error::{MergeError, Result};
use crate::pieces::blocks;
use crate::source::Source;

/// Elements that are read at once.
const BLOCK: usize = 1 << 18;

/// Two factors of a difference.
pub(super) struct Factors {
    /// Rank × columns, row by row.
    pub(super) a: Vec<f32>,
    /// Rows × rank, row by row.
    pub(super) b: Vec<f32>,
    pub(super) rank: usize,
    /// Share of ‖Δ‖² they have.
    pub(super) energy_kept: f64,
    /// ‖Δ − B·A‖/‖Δ‖.
    pub(super) relative_error: f64,
}

/// How far the tensor is from the base's; nothing of it is kept.
pub(super) struct Apart {
    pub(super) is_equal: bool,
    /// `None` for types that are not computed with.
    pub(super) sums: Option<Sums>,
}

/// Decomposes a matrix of `rank` at most, or fewer if `energy` is reached earlier; no factors if there is no difference.
pub(super) fn decompose(
    model: &Source,
    base: &Source,
    name: &str,
    rank: usize,
    energy: Option<f64>,
) -> Result<(Sums, Option<Factors>)> {
    let mut delta = Vec::new();
    let sums = each_block(model, base, name, |start, of_base, of_model| {
        delta.extend(of_model.iter().zip(of_base).map(|(model, base)| model - base));
        Sums::of(start, of_base, of_model)
    })?;
    if sums.not_finite > 0 {
        return Err(MergeError::NotFinite {
            model: tributary_store::mask(model.reference()),
            tensor: name.to_string(),
        });
    }
    if sums.difference == 0.0 {
        return Ok((sums, None));
    }
    let info = info(model, name)?;
    let (rows, columns) = (info.shape[0], info.shape[1]);
    let spectrum = Spectrum::of(delta, rows, columns, rank);
    let rank = match energy {
        Some(share) => spectrum.needed(share, sums.difference),
        None => spectrum.values.len(),
    };
    let lost = spectrum.remainder(rank) / sums.difference;
    let (a, b) = spectrum.factors(rank);
    let factors = Factors {
        a,
        b,
        rank,
        energy_kept: (1.0 - lost).max(0.0),
        relative_error: lost.sqrt(),
    };
    Ok((sums, Some(factors)))
}

/// Measures a tensor without holding it.
pub(super) fn measure(model: &Source, base: &Source, name: &str) -> Result<Apart> {
    let (of_base, of_model) = (info(base, name)?, info(model, name)?);
    if of_base.dtype.is_float() && of_model.dtype.is_float() {
        let sums = each_block(model, base, name, Sums::of)?;
        return Ok(Apart {
            is_equal: sums.differing == 0,
            sums: Some(sums),
        });
    }
    let is_equal = of_base.dtype == of_model.dtype && read(base, &of_base)? == read(model, &of_model)?;
    Ok(Apart { is_equal, sums: None })
}

/// The bytes of a tensor, as a read gives them.
pub(super) fn read(source: &Source, info: &TensorInfo) -> Result<Vec<u8>> {
    let mut bytes = vec![0; info.bytes as usize];
    source.read(&tributary_store::mask(source.reference()), info, 0, &mut bytes)?;
    Ok(bytes)
}

pub(super) fn info(source: &Source, name: &str) -> Result<TensorInfo> {
    let found = source.tensor(name).map(|tensor| tensor.info);
    found.ok_or_else(|| MergeError::Internal(format!("no tensor {name}")))
}

/// Adds what `sums` makes of every block: its first element, the base's values, the model's.
fn each_block(
    model: &Source,
    base: &Source,
    name: &str,
    mut sums: impl FnMut(usize, &[f32], &[f32]) -> Sums,
) -> Result<Sums> {
    let sides = [(base, info(base, name)?), (model, info(model, name)?)];
    let mut total = Sums::default();
    let (mut bytes, mut values) = (Vec::new(), [Vec::new(), Vec::new()]);
    for range in blocks(sides[0].1.elements(), BLOCK) {
        for ((source, info), values) in sides.iter().zip(&mut values) {
            let width = info.dtype.size();
            bytes.resize(range.len() * width, 0);
            let of = tributary_store::mask(source.reference());
            source.read(&of, info, (range.start * width) as u64, &mut bytes)?;
            values.resize(range.len(), 0.0);
            to_f32(info.dtype, &bytes, values).map_err(|error| MergeError::Internal(error.to_string()))?;
        }
        total.add(&sums(range.start, &values[0], &values[1]));
    }
    Ok(total)
}
