//! Keys and values of the tokens already read, for generation.

use burn::tensor::{Tensor, TensorData};

use crate::config::ModelConfig;
use crate::decoder::host;
use crate::device::Device;
use crate::kernel::cpu::attention;
use crate::kernel::{Geometry, composed};

/// The cache of one sequence.
#[derive(Clone, Debug)]
pub struct KeyValueCache {
    len: usize,
    layers: Layers,
}

#[derive(Clone, Debug)]
enum Layers {
    /// Rotated keys and values, `[tokens, kv_heads·d]` each, in memory: the CPU kernels read them in place.
    Host(Vec<(Vec<f32>, Vec<f32>)>),
    /// `[1, kv_heads, tokens, d]` each, on the device.
    Device(Vec<Option<(Tensor<4>, Tensor<4>)>>),
}

impl KeyValueCache {
    /// An empty cache for a model of `config` on `device`.
    pub fn new(config: &ModelConfig, device: Device) -> Self {
        let layers = match device {
            Device::Cpu => Layers::Host(vec![(Vec::new(), Vec::new()); config.layers]),
            Device::Cuda(_) => Layers::Device(vec![None; config.layers]),
        };
        Self { len: 0, layers }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is held yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Appends this layer's new keys and values and attends over all of them.
    pub(crate) fn attend(
        &mut self,
        layer: usize,
        q: Tensor<2>,
        k: Tensor<2>,
        v: Tensor<2>,
        geometry: &Geometry,
    ) -> Tensor<2> {
        match &mut self.layers {
            Layers::Host(layers) => attend_in_memory(&mut layers[layer], q, k, v, geometry),
            Layers::Device(layers) => {
                let k = composed::rotated(k, geometry.kv_heads, geometry);
                let v = v
                    .reshape([1, geometry.len, geometry.kv_heads, geometry.head_dim])
                    .swap_dims(1, 2);
                let (k, v) = match layers[layer].take() {
                    Some((old_k, old_v)) => (Tensor::cat(vec![old_k, k], 2), Tensor::cat(vec![old_v, v], 2)),
                    None => (k, v),
                };
                layers[layer] = Some((k.clone(), v.clone()));
                let q = composed::rotated(q, geometry.heads, geometry);
                composed::attend(q, k, v, geometry)
            }
        }
    }
}

fn attend_in_memory(
    held: &mut (Vec<f32>, Vec<f32>),
    q: Tensor<2>,
    k: Tensor<2>,
    v: Tensor<2>,
    geometry: &Geometry,
) -> Tensor<2> {
    let device = q.device();
    let shape = q.dims();
    // Reading back f32 from the CPU backend cannot fail; an empty vector would fail the kernels' checks.
    let values = |tensor: Tensor<2>| host(tensor).unwrap_or_default();
    let (mut q, mut k, v) = (values(q), values(k), values(v));
    attention::rotate(&mut q, geometry.heads, geometry, false);
    attention::rotate(&mut k, geometry.kv_heads, geometry, false);
    held.0.extend_from_slice(&k);
    held.1.extend_from_slice(&v);
    let mut out = vec![0.0; q.len()];
    let mut lse = vec![0.0; geometry.len * geometry.heads];
    attention::forward(&mut out, &mut lse, &q, &held.0, &held.1, geometry);
    Tensor::from_data(TensorData::new(out, shape), &device)
}
