//! The fused operations on burn's CPU backend: storage in, [`super::cpu`] kernel, tensor out.

use std::sync::Arc;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Tensor, TensorData};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::FusedOps;
use super::cpu::attention::{self, Geometry};
use super::cpu::{loss, matrix, norm, swiglu};

/// A tensor over `values`, taken without copying.
pub(super) fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}

/// The same tensor with dense row-major storage; shares the storage when it already is.
pub(super) fn dense(tensor: &FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// The elements of a [`dense`] tensor.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.storage::<f32>()
}

/// The storage of a tensor that is on the CPU and outside automatic differentiation.
pub(super) fn on_cpu<const D: usize>(tensor: Tensor<D>) -> Option<FlexTensor> {
    let tensor = tensor.try_into_primitive::<Flex>().ok()?;
    Some(dense(&tensor))
}

/// Rows and columns of a matrix.
pub(super) fn sizes(tensor: &FlexTensor) -> (usize, usize) {
    let shape = tensor.layout().shape();
    (shape[0], shape[1])
}

/// Result of the attention kernel with what its backward pass reads.
pub(super) struct Attended {
    pub(super) out: FlexTensor,
    pub(super) lse: Vec<f32>,
    pub(super) q: FlexTensor,
    pub(super) k: FlexTensor,
    pub(super) v: FlexTensor,
}

/// Rotates copies of `q` and `k` and attends.
pub(super) fn attend(q: &FlexTensor, k: &FlexTensor, v: &FlexTensor, geometry: &Geometry) -> Attended {
    let rotated = |x: &FlexTensor, heads: usize| {
        let (tokens, width) = sizes(x);
        let mut copy = values(&dense(x)).to_vec();
        attention::rotate(&mut copy, heads, geometry, false);
        tensor(copy, &[tokens, width])
    };
    let (q, k, v) = (
        rotated(q, geometry.heads),
        rotated(k, geometry.kv_heads),
        dense(v),
    );
    let (tokens, width) = sizes(&q);
    let mut out = vec![0.0; tokens * width];
    let mut lse = vec![0.0; tokens * geometry.heads];
    attention::forward(&mut out, &mut lse, values(&q), values(&k), values(&v), geometry);
    Attended {
        out: tensor(out, &[tokens, width]),
        lse,
        q,
        k,
        v,
    }
}

/// [`norm::forward`] over tensors, with the inverse root mean squares.
pub(super) fn normalise(x: &FlexTensor, weight: &FlexTensor, epsilon: f64) -> (FlexTensor, Vec<f32>) {
    let (rows, width) = sizes(x);
    let mut y = vec![0.0; rows * width];
    let mut inverse = vec![0.0; rows];
    norm::forward(
        &mut y,
        &mut inverse,
        values(&dense(x)),
        values(&dense(weight)),
        epsilon as f32,
    );
    (tensor(y, &[rows, width]), inverse)
}

impl FusedOps for Flex {
    fn fused_embedding(weight: FloatTensor<Self>, tokens: Arc<[u32]>) -> FloatTensor<Self> {
        let weight = dense(&weight);
        let (_, width) = sizes(&weight);
        let mut rows = vec![0.0; tokens.len() * width];
        rows.par_chunks_mut(width)
            .zip(&tokens[..])
            .for_each(|(row, &token)| {
                row.copy_from_slice(&values(&weight)[token as usize * width..][..width]);
            });
        tensor(rows, &[tokens.len(), width])
    }

    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, weight) = (dense(&x), dense(&weight));
        let ((rows, inner), (outer, _)) = (sizes(&x), sizes(&weight));
        let mut y = vec![0.0; rows * outer];
        matrix::linear(&mut y, values(&x), values(&weight), rows, inner, outer);
        tensor(y, &[rows, outer])
    }

    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        normalise(&x, &weight, epsilon).0
    }

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (dense(&gate), dense(&up));
        let (rows, width) = sizes(&gate);
        let mut y = vec![0.0; rows * width];
        swiglu::forward(&mut y, values(&gate), values(&up));
        tensor(y, &[rows, width])
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        geometry: Arc<Geometry>,
    ) -> FloatTensor<Self> {
        attend(&q, &k, &v, &geometry).out
    }

    fn fused_loss(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[i64]>,
    ) -> FloatTensor<Self> {
        let nll = Self::fused_nll(hidden, head, targets);
        let sum: f64 = values(&nll).iter().map(|value| f64::from(*value)).sum();
        tensor(vec![sum as f32], &[1])
    }

    fn fused_nll(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[i64]>,
    ) -> FloatTensor<Self> {
        let (hidden, head) = (dense(&hidden), dense(&head));
        let nll = loss::forward(values(&hidden), values(&head), &targets, sizes(&head).1);
        tensor(nll, &[targets.len()])
    }
}
