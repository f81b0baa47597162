//! The operations a decoder is made of, fused where the device has a kernel of ours.
//!
//! On the CPU (burn's `flex` backend) each function is one pass of [`cpu`] code, reached through burn's
//! extension point ([`flex`], [`gradient`]); on any other device it is composed of burn's own
//! operations ([`composed`]), which is also the oracle the kernels are tested against. Callers see
//! ordinary tensors and never ask where they live.

pub mod composed;
pub mod cpu;
mod flex;
mod gradient;

use std::sync::Arc;

use burn::backend::{Backend, Dispatch, DispatchDevice, backend_extension, tensor::FloatTensor};
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::Result;

pub use cpu::attention::{Geometry, Rotation};
pub use cpu::states::StateSums;

/// The fused operations, implemented for the CPU backend and for automatic differentiation over it.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedOps: Backend {
    /// Rows `tokens` of `weight` (`[vocabulary, width]`).
    fn fused_embedding(weight: FloatTensor<Self>, tokens: Arc<[u32]>) -> FloatTensor<Self>;
    /// `x · wᵀ`, `x` `[tokens, in]`, `w` `[out, in]`.
    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Root-mean-square normalisation of rows.
    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self>;
    /// `silu(gate) ⊙ up`.
    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Rotary, causal, grouped-query attention.
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        geometry: Arc<Geometry>,
    ) -> FloatTensor<Self>;
    /// Σ negative log-likelihood, shape `[1]`.
    fn fused_loss(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[i64]>,
    ) -> FloatTensor<Self>;
    /// Negative log-likelihood of each token, shape `[tokens]`; has no gradient.
    fn fused_nll(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[i64]>,
    ) -> FloatTensor<Self>;
}

/// Whether our CPU kernels serve this device.
pub(crate) fn is_cpu(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(inner) => matches!(&**inner, DispatchDevice::Flex(_)),
        #[allow(
            unreachable_patterns,
            reason = "other variants exist only with the feature `cuda`"
        )]
        _ => false,
    }
}

/// Rows `tokens` of `weight`: `[vocabulary, width]` → `[tokens, width]`.
pub fn embedding(weight: Tensor<2>, tokens: &Arc<[u32]>) -> Tensor<2> {
    if !is_cpu(&weight.device()) {
        return composed::embedding(weight, tokens);
    }
    Tensor::from_dispatch(Dispatch::fused_embedding(
        weight.into_dispatch(),
        Arc::clone(tokens),
    ))
}

/// A linear layer without bias: `[tokens, in]` and `[out, in]` → `[tokens, out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    if !is_cpu(&weight.device()) {
        return composed::linear(x, weight);
    }
    Tensor::from_dispatch(Dispatch::fused_linear(x.into_dispatch(), weight.into_dispatch()))
}

/// `weight ⊙ x / √(mean(x²) + ε)` for each row of `x` (`[tokens, width]`).
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, epsilon: f64) -> Tensor<2> {
    if !is_cpu(&weight.device()) {
        return composed::rms_norm(x, weight, epsilon);
    }
    Tensor::from_dispatch(Dispatch::fused_rms_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        epsilon,
    ))
}

/// `silu(gate) ⊙ up`, shapes `[tokens, intermediate]`.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    if !is_cpu(&gate.device()) {
        return composed::swiglu(gate, up);
    }
    Tensor::from_dispatch(Dispatch::fused_swiglu(gate.into_dispatch(), up.into_dispatch()))
}

/// Attention of unrotated queries (`[rows·len, heads·d]`) over unrotated keys and values
/// (`[rows·len, kv_heads·d]`), a query seeing its own document up to itself.
pub fn attention(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, geometry: &Arc<Geometry>) -> Tensor<2> {
    if !is_cpu(&q.device()) {
        return composed::attention(q, k, v, geometry);
    }
    let geometry = Arc::clone(geometry);
    Tensor::from_dispatch(Dispatch::fused_attention(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
        geometry,
    ))
}

/// Σ over the scored tokens of the negative log-likelihood in nats; `targets[t] < 0` is not scored.
pub fn loss(hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[i64]>) -> Tensor<1> {
    if !is_cpu(&head.device()) {
        return composed::nll(hidden, head, targets).sum();
    }
    let targets = Arc::clone(targets);
    Tensor::from_dispatch(Dispatch::fused_loss(
        hidden.into_dispatch(),
        head.into_dispatch(),
        targets,
    ))
}

/// Negative log-likelihood of each token in nats (0 where not scored), without gradients.
pub fn nll(hidden: Tensor<2>, head: Tensor<2>, targets: &Arc<[i64]>) -> Tensor<1> {
    if !is_cpu(&head.device()) {
        return composed::nll(hidden, head, targets);
    }
    let targets = Arc::clone(targets);
    Tensor::from_dispatch(Dispatch::fused_nll(
        hidden.into_dispatch(),
        head.into_dispatch(),
        targets,
    ))
}

/// Gives `visit` the logits of the scored tokens of a pass, block by block in order: the tokens' numbers and a row of
/// `[vocabulary]` for each, which it may overwrite. Only a block's logits exist at a time. No gradients.
///
/// # Errors
/// [`ModelError::Input`] if the device fails to give them.
///
/// [`ModelError::Input`]: crate::ModelError::Input
pub fn each_block_of_logits(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: &[i64],
    visit: &mut dyn FnMut(&[usize], &mut [f32]),
) -> Result<()> {
    let on_cpu = (flex::on_cpu(hidden.clone()), flex::on_cpu(head.clone()));
    if let (Some(hidden), Some(head)) = on_cpu {
        let width = flex::sizes(&head).1;
        cpu::loss::each_block(flex::values(&hidden), flex::values(&head), targets, width, visit);
        return Ok(());
    }
    composed::each_block_of_logits(hidden, head, targets, visit)
}

/// ‖b − a‖/‖b‖ for each row of `a` and the same row of `b` (`[tokens, width]`); NaN or infinite where the row of `b` is zero.
///
/// # Errors
/// As [`each_block_of_logits`].
pub fn relative_changes(a: &Tensor<2>, b: &Tensor<2>) -> Result<Vec<f32>> {
    composed::relative_changes(a.clone(), b.clone())
}

/// Σ wᵢ·xᵢ over tensors of one shape on one device, at least one; on the CPU summed in `f64` and rounded once.
pub fn weighted_sum<const D: usize>(terms: &[Tensor<D>], weights: &[f64]) -> Tensor<D> {
    let stored: Option<Vec<_>> = terms.iter().map(|term| flex::on_cpu(term.clone())).collect();
    let Some(stored) = stored else {
        return composed::weighted_sum(terms, weights);
    };
    let parts = stored.iter().map(flex::values).zip(weights.iter().copied());
    let parts: Vec<(&[f32], f64)> = parts.filter(|(_, weight)| *weight != 0.0).collect();
    let mut sum = vec![0.0; terms[0].dims().iter().product()];
    cpu::sum::weighted_sum(&mut sum, &parts);
    Tensor::from_data(TensorData::new(sum, terms[0].dims()), &terms[0].device())
}

/// The cosine between each row of `a` and the same row of `b` (`[tokens, width]`); NaN where one of them is zero.
///
/// # Errors
/// As [`each_block_of_logits`].
pub fn row_cosines(a: &Tensor<2>, b: &Tensor<2>) -> Result<Vec<f32>> {
    if let (Some(a), Some(b)) = (flex::on_cpu(a.clone()), flex::on_cpu(b.clone())) {
        let width = flex::sizes(&a).1;
        return Ok(cpu::norm::row_cosines(flex::values(&a), flex::values(&b), width));
    }
    composed::row_cosines(a.clone(), b.clone())
}

/// What the rows of `x` (`[tokens, width]`) are like that count, summed up.
///
/// # Errors
/// As [`each_block_of_logits`].
pub fn state_sums(x: &Tensor<2>, counts: &[bool]) -> Result<StateSums> {
    if let Some(x) = flex::on_cpu(x.clone()) {
        let width = flex::sizes(&x).1;
        return Ok(cpu::states::state_sums(flex::values(&x), counts, width));
    }
    composed::state_sums(x.clone(), counts)
}
