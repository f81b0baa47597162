//! Backward passes of the fused operations, registered with burn's automatic differentiation.
//!
//! Each operation saves what its kernel's backward function names, nothing else; an operation none of
//! whose inputs is tracked saves nothing.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn_flex::FlexTensor;

use super::FusedOps;
use super::cpu::attention::{self, Geometry, Saved};
use super::cpu::matrix::{self, Threads, View};
use super::cpu::simd::add_scaled;
use super::cpu::{loss, norm, swiglu};
use super::flex::{attend, dense, normalise, sizes, tensor, values};

#[derive(Debug)]
struct Embedding;
#[derive(Debug)]
struct Linear;
#[derive(Debug)]
struct RmsNorm;
#[derive(Debug)]
struct Swiglu;
#[derive(Debug)]
struct Attention;
#[derive(Debug)]
struct Loss;

/// State of [`Attention`].
#[derive(Clone, Debug)]
struct AttentionState {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    out: FlexTensor,
    lse: Arc<Vec<f32>>,
    geometry: Arc<Geometry>,
}

impl Backward<Flex, 1> for Embedding {
    /// The tokens and the shape of the weight.
    type State = (Arc<[u32]>, usize, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [weight] = ops.parents;
        let dy = dense(&grads.consume::<Flex>(&ops.node));
        let (tokens, vocabulary, width) = ops.state;
        if let Some(node) = weight {
            let mut dweight = vec![0.0; vocabulary * width];
            for (row, &token) in values(&dy).chunks(width).zip(&tokens[..]) {
                add_scaled(&mut dweight[token as usize * width..][..width], 1.0, row);
            }
            grads.register::<Flex>(node.id, tensor(dweight, &[vocabulary, width]));
        }
    }
}

impl Backward<Flex, 2> for Linear {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let dy = dense(&grads.consume::<Flex>(&ops.node));
        let (x, weight) = ops.state;
        let ((rows, inner), (outer, _)) = (sizes(&x), sizes(&weight));
        let dy = View::new(values(&dy), rows, outer);
        if let Some(node) = x_node {
            let mut dx = vec![0.0; rows * inner];
            let weight = View::new(values(&weight), outer, inner);
            matrix::multiply(&mut dx, inner, dy, weight, 1.0, false, Threads::All);
            grads.register::<Flex>(node.id, tensor(dx, &[rows, inner]));
        }
        if let Some(node) = weight_node {
            let mut dweight = vec![0.0; outer * inner];
            let x = View::new(values(&x), rows, inner);
            matrix::multiply(&mut dweight, inner, dy.transposed(), x, 1.0, false, Threads::All);
            grads.register::<Flex>(node.id, tensor(dweight, &[outer, inner]));
        }
    }
}

impl Backward<Flex, 2> for RmsNorm {
    /// Input, weight and inverse root mean squares.
    type State = (FlexTensor, FlexTensor, Arc<Vec<f32>>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let dy = dense(&grads.consume::<Flex>(&ops.node));
        let (x, weight, inverse) = ops.state;
        let (rows, width) = sizes(&x);
        let (mut dx, mut dweight) = (vec![0.0; rows * width], vec![0.0; width]);
        norm::backward(
            &mut dx,
            &mut dweight,
            values(&dy),
            values(&x),
            values(&weight),
            &inverse,
        );
        if let Some(node) = x_node {
            grads.register::<Flex>(node.id, tensor(dx, &[rows, width]));
        }
        if let Some(node) = weight_node {
            grads.register::<Flex>(node.id, tensor(dweight, &[width]));
        }
    }
}

impl Backward<Flex, 2> for Swiglu {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [gate_node, up_node] = ops.parents;
        let dy = dense(&grads.consume::<Flex>(&ops.node));
        let (gate, up) = ops.state;
        let (rows, width) = sizes(&gate);
        let (mut dgate, mut dup) = (vec![0.0; rows * width], vec![0.0; rows * width]);
        swiglu::backward(&mut dgate, &mut dup, values(&dy), values(&gate), values(&up));
        if let Some(node) = gate_node {
            grads.register::<Flex>(node.id, tensor(dgate, &[rows, width]));
        }
        if let Some(node) = up_node {
            grads.register::<Flex>(node.id, tensor(dup, &[rows, width]));
        }
    }
}

impl Backward<Flex, 3> for Attention {
    type State = AttentionState;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [q_node, k_node, v_node] = ops.parents;
        let dout = dense(&grads.consume::<Flex>(&ops.node));
        let state = ops.state;
        let geometry = &*state.geometry;
        let ((tokens, width), (_, kv_width)) = (sizes(&state.q), sizes(&state.k));
        let (mut dq, mut dk) = (vec![0.0; tokens * width], vec![0.0; tokens * kv_width]);
        let mut dv = vec![0.0; tokens * kv_width];
        let saved = Saved {
            q: values(&state.q),
            k: values(&state.k),
            v: values(&state.v),
            out: values(&state.out),
            lse: &state.lse,
        };
        attention::backward(&mut dq, &mut dk, &mut dv, values(&dout), saved, geometry);
        if let Some(node) = q_node {
            attention::rotate(&mut dq, geometry.heads, geometry, true);
            grads.register::<Flex>(node.id, tensor(dq, &[tokens, width]));
        }
        if let Some(node) = k_node {
            attention::rotate(&mut dk, geometry.kv_heads, geometry, true);
            grads.register::<Flex>(node.id, tensor(dk, &[tokens, kv_width]));
        }
        if let Some(node) = v_node {
            grads.register::<Flex>(node.id, tensor(dv, &[tokens, kv_width]));
        }
    }
}

impl Backward<Flex, 2> for Loss {
    /// Gradients of the sum with respect to hidden states and head, computed with it.
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        use burn::backend::ops::FloatTensorOps;
        let factor = values(&dense(&grads.consume::<Flex>(&ops.node)))[0];
        let (dhidden, dhead) = ops.state;
        for (node, gradient) in ops.parents.into_iter().zip([dhidden, dhead]) {
            if let Some(node) = node {
                let scaled = if factor == 1.0 {
                    gradient
                } else {
                    Flex::float_mul_scalar(gradient, factor.into())
                };
                grads.register::<Flex>(node.id, scaled);
            }
        }
    }
}

impl<C: CheckpointStrategy> FusedOps for Autodiff<Flex, C> {
    fn fused_embedding(weight: FloatTensor<Self>, tokens: Arc<[u32]>) -> FloatTensor<Self> {
        let (vocabulary, width) = sizes(weight.primitive());
        let output = Flex::fused_embedding(weight.primitive().clone(), Arc::clone(&tokens));
        match Embedding.prepare::<C>([weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((tokens, vocabulary, width), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }

    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (dense(x.primitive()), dense(weight.primitive()));
        let output = Flex::fused_linear(x.clone(), weight.clone());
        match Linear.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((x, weight), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }

    fn fused_rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (dense(x.primitive()), dense(weight.primitive()));
        let (output, inverse) = normalise(&x, &weight, epsilon);
        match RmsNorm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((x, weight, Arc::new(inverse)), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }

    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [gate.node(), up.node()];
        let (gate, up) = (dense(gate.primitive()), dense(up.primitive()));
        let output = Flex::fused_swiglu(gate.clone(), up.clone());
        match Swiglu.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => step.finish((gate, up), output),
            OpsKind::UnTracked(step) => step.finish(output),
        }
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        geometry: Arc<Geometry>,
    ) -> FloatTensor<Self> {
        let nodes = [q.node(), k.node(), v.node()];
        let attended = attend(q.primitive(), k.primitive(), v.primitive(), &geometry);
        match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let out = attended.out.clone();
                let state = AttentionState {
                    q: attended.q,
                    k: attended.k,
                    v: attended.v,
                    out: attended.out,
                    lse: Arc::new(attended.lse),
                    geometry,
                };
                step.finish(state, out)
            }
            OpsKind::UnTracked(step) => step.finish(attended.out),
        }
    }

    fn fused_loss(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[i64]>,
    ) -> FloatTensor<Self> {
        let nodes = [hidden.node(), head.node()];
        let (hidden, head) = (dense(hidden.primitive()), dense(head.primitive()));
        match Loss.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(step) => {
                let ((tokens, width), (vocabulary, _)) = (sizes(&hidden), sizes(&head));
                let found = loss::forward_with_gradients(values(&hidden), values(&head), &targets, width);
                let state = (
                    tensor(found.dhidden, &[tokens, width]),
                    tensor(found.dhead, &[vocabulary, width]),
                );
                step.finish(state, tensor(vec![found.sum as f32], &[1]))
            }
            OpsKind::UnTracked(step) => step.finish(Flex::fused_loss(hidden, head, targets)),
        }
    }

    fn fused_nll(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: Arc<[i64]>,
    ) -> FloatTensor<Self> {
        let output = Flex::fused_nll(hidden.primitive().clone(), head.primitive().clone(), targets);
        FloatTensor::<Self>::new(output)
    }
}
