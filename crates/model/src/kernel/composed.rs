//! The same operations out of burn's own: what devices without our kernels run, and the oracle of the
//! kernels' tests.
//!
//! Softmax and normalisation are computed in f32 whatever the tensors' type, as Hugging Face does.

use std::sync::{Arc, OnceLock};

use burn::tensor::activation::{log_softmax, silu, softmax};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::cpu::attention::Geometry;
use super::cpu::states::StateSums;
use crate::decoder::host;
use crate::error::Result;

/// See [`super::embedding`].
pub fn embedding(weight: Tensor<2>, tokens: &Arc<[u32]>) -> Tensor<2> {
    let device = weight.device();
    let ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
    weight.select(
        0,
        Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens.len()]), &device),
    )
}

/// See [`super::linear`].
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    x.matmul(weight.transpose())
}

/// See [`super::rms_norm`].
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let scale = (x.clone().powf_scalar(2.0).mean_dim(1) + epsilon).sqrt();
    (x / scale).cast(dtype) * weight.unsqueeze::<2>()
}

/// See [`super::swiglu`].
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    silu(gate) * up
}

/// `[rows·len, heads·d]` → `[rows, heads, len, d]`.
fn by_head(x: Tensor<2>, rows: usize, len: usize, heads: usize, d: usize) -> Tensor<4> {
    x.reshape([rows, len, heads, d]).swap_dims(1, 2)
}

/// The rotary embedding of `[rows, heads, len, d]`; cos and sin are `[rows, 1, len, d/2]`.
fn rotate(x: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    let [rows, heads, len, d] = x.dims();
    let low = x.clone().slice([0..rows, 0..heads, 0..len, 0..d / 2]);
    let high = x.slice([0..rows, 0..heads, 0..len, d / 2..d]);
    let first = low.clone() * cos.clone() - high.clone() * sin.clone();
    let second = high * cos.clone() + low * sin.clone();
    Tensor::cat(vec![first, second], 3)
}

/// What every layer's attention looks up: made and sent to the device once a forward pass.
#[derive(Clone, Debug, Default)]
pub struct Tables(OnceLock<[Tensor<4>; 3]>);

impl Tables {
    /// cos and sin of every query, `[rows, 1, len, d/2]`, and the mask, `[rows, 1, len, keys]`, on `device`.
    fn of(geometry: &Geometry, device: &Device) -> [Tensor<4>; 3] {
        let make = || {
            let (cos, sin) = (&geometry.rotation.cos, &geometry.rotation.sin);
            [
                rotation(geometry, cos, device),
                rotation(geometry, sin, device),
                mask(geometry, device),
            ]
        };
        let held = geometry.tables.0.get_or_init(make);
        if held[0].device() == *device {
            held.clone()
        } else {
            make()
        }
    }
}

/// The rows of `table` for every query.
fn rotation(geometry: &Geometry, table: &[f32], device: &Device) -> Tensor<4> {
    let half = geometry.head_dim / 2;
    let values: Vec<f32> = geometry
        .positions
        .iter()
        .flat_map(|&at| table[at as usize * half..][..half].iter().copied())
        .collect();
    Tensor::from_data(
        TensorData::new(values, [geometry.rows, 1, geometry.len, half]),
        device,
    )
}

/// 0 where a query sees a key and −10⁹ elsewhere.
fn mask(geometry: &Geometry, device: &Device) -> Tensor<4> {
    let past = geometry.keys - geometry.len;
    let mut values = Vec::with_capacity(geometry.rows * geometry.len * geometry.keys);
    for (token, &first) in geometry.first.iter().enumerate() {
        let last = past + token % geometry.len;
        values.extend((0..geometry.keys).map(|key| {
            if (first as usize..=last).contains(&key) {
                0.0f32
            } else {
                -1e9
            }
        }));
    }
    Tensor::from_data(
        TensorData::new(values, [geometry.rows, 1, geometry.len, geometry.keys]),
        device,
    )
}

/// See [`super::attention`].
pub fn attention(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, geometry: &Arc<Geometry>) -> Tensor<2> {
    let Geometry {
        rows,
        len,
        heads,
        kv_heads,
        head_dim: d,
        ..
    } = **geometry;
    let (q, k) = (rotated(q, heads, geometry), rotated(k, kv_heads, geometry));
    attend(q, k, by_head(v, rows, len, kv_heads, d), geometry)
}

/// Attention of rotated `q` `[rows, heads, len, d]` over `k`, `v` `[rows, kv_heads, keys, d]`.
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, geometry: &Geometry) -> Tensor<2> {
    let Geometry {
        rows,
        len,
        heads,
        kv_heads,
        keys,
        head_dim: d,
        ..
    } = *geometry;
    let group = heads / kv_heads;
    let [_, _, mask] = Tables::of(geometry, &q.device());
    let repeat = |x: Tensor<4>| {
        x.unsqueeze_dim::<5>(2)
            .repeat_dim(2, group)
            .reshape([rows, heads, keys, d])
    };
    let dtype = q.dtype();
    let scores = q.matmul(repeat(k).swap_dims(2, 3)).cast(DType::F32) * geometry.scale;
    let weights = softmax(scores + mask, 3).cast(dtype);
    weights
        .matmul(repeat(v))
        .swap_dims(1, 2)
        .reshape([rows * len, heads * d])
}

/// The rotary embedding of `x` `[rows·len, heads·d]` as `[rows, heads, len, d]`.
pub fn rotated(x: Tensor<2>, heads: usize, geometry: &Geometry) -> Tensor<4> {
    let [cos, sin, _] = Tables::of(geometry, &x.device());
    let dtype = x.dtype();
    let x = by_head(x, geometry.rows, geometry.len, heads, geometry.head_dim);
    rotate(x, &cos.cast(dtype), &sin.cast(dtype))
}

/// Most tokens whose logits exist at once ...
const TOKENS: usize = 2048;
/// ... and most logits, where they are taken to the host (64 MiB).
const LOGITS: usize = 1 << 24;

/// See [`super::nll`]; differentiable.
pub fn nll(hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[i64]>) -> Tensor<1> {
    let device = hidden.device();
    let [tokens, width] = hidden.dims();
    let parts = (0..tokens).step_by(TOKENS).map(|start| {
        let end = (start + TOKENS).min(tokens);
        let logits = linear(hidden.clone().slice([start..end, 0..width]), head.clone()).cast(DType::F32);
        let chosen: Vec<i32> = targets[start..end]
            .iter()
            .map(|&target| target.max(0) as i32)
            .collect();
        let scored: Vec<f32> = targets[start..end]
            .iter()
            .map(|&target| f32::from(target >= 0))
            .collect();
        let chosen = Tensor::<2, Int>::from_data(TensorData::new(chosen, [end - start, 1]), &device);
        let scored = Tensor::<2>::from_data(TensorData::new(scored, [end - start, 1]), &device);
        (log_softmax(logits, 1).gather(1, chosen) * scored)
            .neg()
            .reshape([end - start])
    });
    Tensor::cat(parts.collect(), 0)
}

/// See [`super::each_block_of_logits`].
pub fn each_block_of_logits(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: &[i64],
    visit: &mut dyn FnMut(&[usize], &mut [f32]),
) -> Result<()> {
    let device = hidden.device();
    let scored: Vec<usize> = (0..targets.len()).filter(|&token| targets[token] >= 0).collect();
    let block = (LOGITS / head.dims()[0].max(1)).clamp(16, TOKENS);
    for tokens in scored.chunks(block) {
        let ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens.len()]), &device);
        let logits = linear(hidden.clone().select(0, ids), head.clone());
        visit(tokens, &mut host(logits)?);
    }
    Ok(())
}

/// See [`super::row_cosines`].
pub fn row_cosines(a: Tensor<2>, b: Tensor<2>) -> Result<Vec<f32>> {
    let (a, b) = (a.cast(DType::F32), b.cast(DType::F32));
    let product = |a: &Tensor<2>, b: &Tensor<2>| (a.clone() * b.clone()).sum_dim(1);
    let lengths = product(&a, &a).sqrt() * product(&b, &b).sqrt();
    host(product(&a, &b) / lengths)
}

/// See [`super::state_sums`].
pub fn state_sums(x: Tensor<2>, counts: &[bool]) -> Result<StateSums> {
    let x = x.cast(DType::F32);
    let weights: Vec<f32> = counts.iter().map(|counts| f32::from(u8::from(*counts))).collect();
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [counts.len(), 1]), &x.device());
    let norms = (x.clone() * x.clone()).sum_dim(1).sqrt();
    let directions = x.clone() / norms.clone().clamp_min(f32::MIN_POSITIVE);
    let of_counted = |values: Vec<f32>| values.into_iter().zip(counts).filter(|(_, counts)| **counts);
    let largest = of_counted(host(x.abs().max_dim(1))?).map(|(value, _)| value);
    Ok(StateSums {
        directions: host((directions * weights).sum_dim(0))?
            .into_iter()
            .map(f64::from)
            .collect(),
        norms: of_counted(host(norms)?).map(|(value, _)| f64::from(value)).sum(),
        largest: largest.fold(0.0, f32::max),
        rows: counts.iter().filter(|counts| **counts).count() as u64,
    })
}

/// See [`super::weighted_sum`].
pub fn weighted_sum<const D: usize>(terms: &[Tensor<D>], weights: &[f64]) -> Tensor<D> {
    let dtype = terms[0].dtype();
    let part = |(term, weight): (&Tensor<D>, &f64)| term.clone().cast(DType::F32).mul_scalar(*weight as f32);
    let parts = terms.iter().zip(weights).map(part);
    let sum = parts.reduce(|sum, part| sum + part);
    sum.unwrap_or_else(|| terms[0].zeros_like()).cast(dtype)
}

/// See [`super::relative_changes`].
pub fn relative_changes(a: Tensor<2>, b: Tensor<2>) -> Result<Vec<f32>> {
    let (a, b) = (a.cast(DType::F32), b.cast(DType::F32));
    let length = |x: Tensor<2>| (x.clone() * x).sum_dim(1).sqrt();
    host(length(b.clone() - a) / length(b))
}
