//! Reading two models side by side.
//!
//! Tensors are read in the type they are stored in. A base with an adapter in it is what merging the adapter would publish:
//! its changed tensors are rounded to the base's type.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tributary_tensorfile::{TensorInfo, to_f32};

use super::groups::{Member, by_kind, by_layer, place, share, total};
use super::report::{LargestDifference, Measure, ModelDiff, Side, TensorDiff, TensorEntry};
use super::small_files;
use super::sums::Sums;
use crate::error::{MergeError, Result};
use crate::pieces::{blocks, for_each_piece, workers};
use crate::source::Source;

/// Elements of a block; a worker holds two as they are stored and two as `f32`.
const LOCAL_BLOCK: usize = 1 << 18;
/// The same behind a network, where a request costs tens of milliseconds.
const REMOTE_BLOCK: usize = 1 << 20;

/// How two models are compared.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// Threads; by default as many as there are cores.
    pub threads: Option<usize>,
}

/// A tensor that is in both with the same shape.
struct Pair {
    a: TensorInfo,
    b: TensorInfo,
}

impl Pair {
    /// Can distances be computed?
    fn is_float(&self) -> bool {
        self.a.dtype.is_float() && self.b.dtype.is_float()
    }
}

/// What one block came to.
#[derive(Clone, Copy)]
struct Found {
    sums: Sums,
    is_equal: bool,
}

/// Compares two models. `progress` is told the elements done and all there are, after every block and from any thread;
/// `cancel` is looked at before every block.
///
/// # Errors
/// What reading gives; [`MergeError::Cancelled`]. Models that have nothing in common are no error.
pub fn diff(
    a: &Source,
    b: &Source,
    options: &DiffOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
    cancel: &AtomicBool,
) -> Result<ModelDiff> {
    let mut pairs = Vec::new();
    let (mut only_in_a, mut only_in_b, mut shapes) = (Vec::new(), Vec::new(), Vec::new());
    let (in_a, in_b) = (a.checkpoint(), b.checkpoint());
    for tensor in in_a.tensors() {
        match in_b.get(&tensor.name) {
            None => only_in_a.push(entry(tensor)),
            Some(other) if other.shape != tensor.shape => shapes.push((entry(tensor), entry(other))),
            Some(other) => pairs.push(Pair {
                a: tensor.clone(),
                b: other.clone(),
            }),
        }
    }
    let is_new = |tensor: &&TensorInfo| in_a.get(&tensor.name).is_none();
    only_in_b.extend(in_b.tensors().iter().filter(is_new).map(entry));

    let (tensors, sums) = compare_tensors(a, b, &pairs, options, progress, cancel)?;
    let members: Vec<Member<'_>> = tensors
        .iter()
        .zip(&sums)
        .filter(|(tensor, _)| tensor.measure.is_some())
        .map(|(tensor, sums)| Member {
            layer: tensor.layer,
            kind: &tensor.kind,
            elements: tensor.shape.iter().product::<usize>() as u64,
            sums: *sums,
        })
        .collect();
    let configuration = small_files::configurations(a.configuration(), b.configuration());
    let tokenizer = small_files::tokenizers(a, b)?;
    let mut diff = ModelDiff {
        a: side(a),
        b: side(b),
        is_equal: tensors.iter().all(|tensor| tensor.is_equal)
            && only_in_a.is_empty()
            && only_in_b.is_empty()
            && shapes.is_empty()
            && configuration.is_empty()
            && tokenizer.files.is_empty(),
        total: total(&members),
        layers: by_layer(&members),
        kinds: by_kind(&members),
        tensors: Vec::new(),
        only_in_a,
        only_in_b,
        shapes,
        configuration,
        tokenizer,
    };
    diff.tensors = tensors;
    diff.tensors.sort_by(|a, b| {
        let distance = |tensor: &TensorDiff| remoteness(tensor);
        distance(b)
            .total_cmp(&distance(a))
            .then_with(|| a.name.cmp(&b.name))
    });
    Ok(diff)
}

/// What tensors are sorted by: those without a measure that differ first of all.
fn remoteness(tensor: &TensorDiff) -> f64 {
    match tensor.measure {
        Some(measure) => measure.relative.unwrap_or(f64::MAX),
        None if tensor.is_equal => 0.0,
        None => f64::INFINITY,
    }
}

fn compare_tensors(
    a: &Source,
    b: &Source,
    pairs: &[Pair],
    options: &DiffOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
    cancel: &AtomicBool,
) -> Result<(Vec<TensorDiff>, Vec<Sums>)> {
    let is_local = a.is_local() && b.is_local();
    let block = if is_local { LOCAL_BLOCK } else { REMOTE_BLOCK };
    let pieces: Vec<(usize, Range<usize>)> = pairs
        .iter()
        .enumerate()
        .flat_map(|(pair, tensors)| blocks(tensors.a.elements(), block).map(move |range| (pair, range)))
        .collect();
    let found: Vec<OnceLock<Found>> = pieces.iter().map(|_| OnceLock::new()).collect();
    let total: u64 = pieces.iter().map(|(_, range)| range.len() as u64).sum();
    let done = AtomicU64::new(0);
    let workers = workers(options.threads, is_local);
    for_each_piece(
        pieces.len(),
        workers,
        cancel,
        Buffers::default,
        |buffers, piece| {
            let (pair, range) = &pieces[piece];
            let pair = &pairs[*pair];
            buffers.load(a, &pair.a, b, &pair.b, range)?;
            let _ = found[piece].set(buffers.compare(pair, range.start)?);
            let len = range.len() as u64;
            progress(done.fetch_add(len, Ordering::Relaxed) + len, total);
            Ok(())
        },
    )?;
    let mut sums = vec![Sums::default(); pairs.len()];
    let mut equal: Vec<bool> = pairs.iter().map(|pair| pair.a.dtype == pair.b.dtype).collect();
    for ((pair, _), found) in pieces.iter().zip(&found) {
        if let Some(found) = found.get() {
            sums[*pair].add(&found.sums);
            equal[*pair] &= found.is_equal;
        }
    }
    let tensors = pairs.iter().zip(&sums).zip(equal);
    let tensors = tensors
        .map(|((pair, sums), is_equal)| describe(pair, sums, is_equal))
        .collect();
    Ok((tensors, sums))
}

fn describe(pair: &Pair, sums: &Sums, is_equal: bool) -> TensorDiff {
    let info = &pair.a;
    let (layer, kind) = place(&info.name);
    TensorDiff {
        name: info.name.clone(),
        layer,
        kind,
        shape: info.shape.clone(),
        dtypes: (pair.a.dtype.name(), pair.b.dtype.name()),
        is_equal,
        measure: pair.is_float().then(|| Measure::of(sums)),
        differing_share: share(sums.differing, info.elements() as u64),
        largest: sums.largest.map(|largest| LargestDifference {
            at: index(largest.at, &info.shape),
            difference: largest.difference(),
            a: largest.a,
            b: largest.b,
        }),
        not_finite: sums.not_finite,
    }
}

/// The place of an element in a tensor of this shape.
fn index(element: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = element;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|len| {
            let at = rest % len.max(&1);
            rest /= len.max(&1);
            at
        })
        .collect();
    index.reverse();
    index
}

/// What a worker reads into.
#[derive(Default)]
struct Buffers {
    bytes: [Vec<u8>; 2],
    values: [Vec<f32>; 2],
}

impl Buffers {
    fn load(
        &mut self,
        a: &Source,
        info_a: &TensorInfo,
        b: &Source,
        info_b: &TensorInfo,
        range: &Range<usize>,
    ) -> Result<()> {
        for (bytes, (source, info)) in self.bytes.iter_mut().zip([(a, info_a), (b, info_b)]) {
            let width = info.dtype.size();
            bytes.resize(range.len() * width, 0);
            let name = tributary_store::mask(source.reference());
            source.read(&name, info, (range.start * width) as u64, bytes)?;
        }
        Ok(())
    }

    /// Compares what was loaded, which begins at element `start`.
    fn compare(&mut self, pair: &Pair, start: usize) -> Result<Found> {
        let [bytes_a, bytes_b] = &self.bytes;
        let is_equal = pair.a.dtype == pair.b.dtype && bytes_a == bytes_b;
        if !pair.is_float() {
            let sums = Sums {
                differing: differing(pair, bytes_a, bytes_b),
                ..Sums::default()
            };
            return Ok(Found { sums, is_equal });
        }
        let [a, b] = &mut self.values;
        for (info, bytes, values) in [(&pair.a, bytes_a, &mut *a), (&pair.b, bytes_b, &mut *b)] {
            values.resize(bytes.len() / info.dtype.size(), 0.0);
            to_f32(info.dtype, bytes, values).map_err(|error| MergeError::Internal(error.to_string()))?;
            if is_equal {
                // The other side is the same.
                break;
            }
        }
        let sums = if is_equal {
            Sums::of_equal(a)
        } else {
            Sums::of(start, a, b)
        };
        Ok(Found { sums, is_equal })
    }
}

/// Elements of which the bytes differ; all of them if the types do.
fn differing(pair: &Pair, a: &[u8], b: &[u8]) -> u64 {
    let width = pair.a.dtype.size();
    if pair.a.dtype != pair.b.dtype {
        return (a.len() / width) as u64;
    }
    let pairs = a.chunks_exact(width).zip(b.chunks_exact(width));
    pairs.filter(|(a, b)| a != b).count() as u64
}

fn entry(tensor: &TensorInfo) -> TensorEntry {
    TensorEntry {
        name: tensor.name.clone(),
        dtype: tensor.dtype.name(),
        shape: tensor.shape.clone(),
    }
}

fn side(source: &Source) -> Side {
    let lineage = source.lineage("");
    Side {
        model: tributary_store::mask(source.reference()),
        kind: lineage.kind,
        digest: lineage.digest,
    }
}
