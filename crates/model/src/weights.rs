//! The weights of a decoder, named as Hugging Face names them.
//!
//! One list, [`specs`], says which tensors a configuration has; loading, initialising, visiting and
//! saving all follow its order.

use std::cell::Cell;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::config::ModelConfig;
use crate::decoder::{host, untracked};
use crate::error::{ModelError, Result};

/// Part of a decoder that can be left out: what goes in comes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// A whole layer.
    #[default]
    Layer,
    /// A layer's attention, with its normalisation.
    Attention,
    /// A layer's feed-forward network, with its normalisation.
    FeedForward,
}

/// Weights of one layer; matrices are `[out, in]`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are the tensors of the same name")]
pub struct LayerWeights {
    pub input_norm: Tensor<1>,
    pub q: Tensor<2>,
    pub k: Tensor<2>,
    pub v: Tensor<2>,
    /// Of queries, keys and values, in families that have biases.
    pub biases: Option<[Tensor<1>; 3]>,
    /// Weights of the normalisation of each head's queries and keys, in families that have it.
    pub head_norms: Option<[Tensor<1>; 2]>,
    pub o: Tensor<2>,
    pub post_attention_norm: Tensor<1>,
    pub gate: Tensor<2>,
    pub up: Tensor<2>,
    pub down: Tensor<2>,
    /// Does attention add anything? Not where values and outputs are 0 throughout, which training leaves so (every gradient
    /// of it is 0); it is not computed then.
    pub attends: bool,
    /// Does the feed-forward network? Not where `up` and `down` are 0 throughout.
    pub feeds: bool,
    /// The feed-forward network's units that add anything, where some do not because their row of `up` is 0.
    pub units: Option<Vec<i32>>,
}

impl LayerWeights {
    /// The layer without this part, whose matrices become 0; the others' storage is shared.
    #[must_use]
    pub fn without(mut self, part: Part) -> Self {
        let clear = |matrix: &mut Tensor<2>| *matrix = matrix.zeros_like();
        if part != Part::FeedForward {
            [&mut self.q, &mut self.k, &mut self.v, &mut self.o]
                .into_iter()
                .for_each(clear);
            for bias in self.biases.iter_mut().flatten() {
                *bias = bias.zeros_like();
            }
            self.attends = false;
        }
        if part != Part::Attention {
            [&mut self.gate, &mut self.up, &mut self.down]
                .into_iter()
                .for_each(clear);
            self.feeds = false;
        }
        self
    }

    /// The layer without units that add nothing: matrices of fewer rows and columns.
    pub(crate) fn compact(mut self) -> Self {
        if let Some(units) = self.units.take().filter(|units| !units.is_empty()) {
            let units = Tensor::<1, Int>::from_ints(units.as_slice(), &self.up.device());
            self.gate = self.gate.select(0, units.clone());
            self.up = self.up.select(0, units.clone());
            self.down = self.down.select(1, units);
        }
        self
    }
}

/// Units whose row of `up`, `[units, width]`, is not 0 throughout; none if all are.
fn units_of(up: &[f32], width: usize) -> Option<Vec<i32>> {
    let rows = up.chunks(width.max(1)).enumerate();
    let busy = rows.filter(|(_, row)| row.iter().any(|value| *value != 0.0));
    let busy: Vec<i32> = busy.filter_map(|(unit, _)| i32::try_from(unit).ok()).collect();
    (busy.len() * width < up.len()).then_some(busy)
}

/// Weights of a decoder.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab, width]`.
    pub embedding: Tensor<2>,
    /// Layer by layer.
    pub layers: Vec<LayerWeights>,
    /// Final normalisation.
    pub norm: Tensor<1>,
    /// `[vocab, width]`; none when the embedding serves.
    pub head: Option<Tensor<2>>,
}

/// Name and shape of one parameter tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Hugging Face's name.
    pub name: String,
    /// Shape, of one or two dimensions.
    pub shape: Vec<usize>,
}

/// A parameter on a visit.
#[derive(Debug)]
pub enum Parameter<'a> {
    /// A normalisation weight.
    Vector(&'a mut Tensor<1>),
    /// A matrix.
    Matrix(&'a mut Tensor<2>),
}

/// The parameter tensors of a configuration, in the order of every visit.
pub fn specs(config: &ModelConfig) -> Vec<ParameterSpec> {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let mut specs = Vec::new();
    let mut add = |name: String, shape: &[usize]| {
        specs.push(ParameterSpec {
            name,
            shape: shape.to_vec(),
        })
    };
    add("model.embed_tokens.weight".into(), &[config.vocab_size, width]);
    for layer in 0..config.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        add(name("input_layernorm"), &[width]);
        add(name("self_attn.q_proj"), &[q, width]);
        add(name("self_attn.k_proj"), &[kv, width]);
        add(name("self_attn.v_proj"), &[kv, width]);
        if config.family.has_biases() {
            for (part, size) in [("q", q), ("k", kv), ("v", kv)] {
                add(
                    format!("model.layers.{layer}.self_attn.{part}_proj.bias"),
                    &[size],
                );
            }
        }
        if config.family.has_head_norms() {
            for part in ["q", "k"] {
                add(name(&format!("self_attn.{part}_norm")), &[config.head_dim]);
            }
        }
        add(name("self_attn.o_proj"), &[width, q]);
        add(name("post_attention_layernorm"), &[width]);
        add(name("mlp.gate_proj"), &[inner, width]);
        add(name("mlp.up_proj"), &[inner, width]);
        add(name("mlp.down_proj"), &[width, inner]);
    }
    add("model.norm.weight".into(), &[width]);
    if !config.tied_head {
        add("lm_head.weight".into(), &[config.vocab_size, width]);
    }
    specs
}

impl Weights {
    /// Asks `values` for every tensor of [`specs`], in order, and places it on `device` as `dtype`.
    ///
    /// # Errors
    /// What `values` returns.
    pub fn build(
        config: &ModelConfig,
        device: &Device,
        dtype: DType,
        values: &mut dyn FnMut(&ParameterSpec) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let mut specs = specs(config).into_iter();
        // Is anything of the values of late other than 0?
        let counts = Cell::new(false);
        let mut next = || -> Result<TensorData> {
            // The calls below mirror `specs` one to one.
            let spec = specs.next().unwrap_or(ParameterSpec {
                name: String::new(),
                shape: vec![0],
            });
            let values = values(&spec)?;
            counts.set(counts.get() || values.iter().any(|value| *value != 0.0));
            Ok(TensorData::new(values, spec.shape))
        };
        let vector = |data: TensorData| Tensor::<1>::from_data(data, device).cast(dtype);
        let matrix = |data: TensorData| Tensor::<2>::from_data(data, device).cast(dtype);
        let embedding = matrix(next()?);
        let mut layers = Vec::with_capacity(config.layers);
        for _ in 0..config.layers {
            let input_norm = vector(next()?);
            let (q, k) = (matrix(next()?), matrix(next()?));
            counts.set(false);
            let v = matrix(next()?);
            let biases = match config.family.has_biases() {
                true => Some([vector(next()?), vector(next()?), vector(next()?)]),
                false => None,
            };
            let values_count = counts.get();
            let head_norms = match config.family.has_head_norms() {
                true => Some([vector(next()?), vector(next()?)]),
                false => None,
            };
            counts.set(values_count);
            let o = matrix(next()?);
            let attends = counts.get();
            let post_attention_norm = vector(next()?);
            let gate = matrix(next()?);
            counts.set(false);
            let up = next()?;
            let units = up
                .as_slice::<f32>()
                .ok()
                .and_then(|up| units_of(up, config.hidden_size));
            let (up, down) = (matrix(up), matrix(next()?));
            layers.push(LayerWeights {
                input_norm,
                q,
                k,
                v,
                biases,
                head_norms,
                o,
                post_attention_norm,
                gate,
                up,
                down,
                attends,
                feeds: counts.get(),
                units,
            });
        }
        let norm = vector(next()?);
        let head = if config.tied_head {
            None
        } else {
            Some(matrix(next()?))
        };
        Ok(Self {
            embedding,
            layers,
            norm,
            head,
        })
    }

    /// The matrix that turns hidden states into logits.
    pub fn head(&self) -> Tensor<2> {
        self.head.as_ref().unwrap_or(&self.embedding).clone()
    }

    /// The elements of the parameter at `index` of [`specs`], in f32, in memory.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there is no such parameter, or the device fails to give it.
    pub fn values(&self, index: usize) -> Result<Vec<f32>> {
        let mut found = None;
        let mut at = 0;
        // Cloning shares the tensors; only the one asked for is copied.
        self.clone().visit(&mut |parameter| {
            if at == index {
                found = Some(match parameter {
                    Parameter::Vector(tensor) => host(untracked(tensor.clone())),
                    Parameter::Matrix(tensor) => host(untracked(tensor.clone())),
                });
            }
            at += 1;
        });
        found.unwrap_or_else(|| Err(ModelError::Input(format!("there is no parameter {index}"))))
    }

    /// Visits every parameter in the order of [`specs`]. The visitor may change it, so every part is computed from then on.
    pub fn visit(&mut self, visitor: &mut dyn FnMut(Parameter<'_>)) {
        visitor(Parameter::Matrix(&mut self.embedding));
        for layer in &mut self.layers {
            (layer.attends, layer.feeds, layer.units) = (true, true, None);
            visitor(Parameter::Vector(&mut layer.input_norm));
            visitor(Parameter::Matrix(&mut layer.q));
            visitor(Parameter::Matrix(&mut layer.k));
            visitor(Parameter::Matrix(&mut layer.v));
            for bias in layer.biases.iter_mut().flatten() {
                visitor(Parameter::Vector(bias));
            }
            for norm in layer.head_norms.iter_mut().flatten() {
                visitor(Parameter::Vector(norm));
            }
            visitor(Parameter::Matrix(&mut layer.o));
            visitor(Parameter::Vector(&mut layer.post_attention_norm));
            visitor(Parameter::Matrix(&mut layer.gate));
            visitor(Parameter::Matrix(&mut layer.up));
            visitor(Parameter::Matrix(&mut layer.down));
        }
        visitor(Parameter::Vector(&mut self.norm));
        if let Some(head) = &mut self.head {
            visitor(Parameter::Matrix(head));
        }
    }
}

/// Initial values of a parameter as GPT-2 and Llama draw them: norms 1, biases 0, matrices normal with standard
/// deviation 0.02, the projections back into the residual stream divided by √(2·layers).
///
/// Drawn by a counter-based generator from (seed, name, element), so nothing depends on order.
pub fn initial_values(config: &ModelConfig, spec: &ParameterSpec, seed: u64) -> Vec<f32> {
    let count: usize = spec.shape.iter().product();
    if spec.shape.len() == 1 {
        let value = if spec.name.ends_with(".bias") { 0.0 } else { 1.0 };
        return vec![value; count];
    }
    let residual = spec.name.ends_with("o_proj.weight") || spec.name.ends_with("down_proj.weight");
    let deviation = 0.02
        / if residual {
            (2.0 * config.layers as f64).sqrt()
        } else {
            1.0
        };
    let key = spec.name.bytes().fold(crate::sample::mix(seed), |key, byte| {
        crate::sample::mix(key ^ u64::from(byte))
    });
    (0..count as u64)
        .map(|element| {
            let bits = crate::sample::mix(key.wrapping_add(element.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            let radius = (((bits >> 32) as f64 + 1.0) / 4_294_967_297.0).ln();
            let angle = 2.0 * std::f64::consts::PI * ((bits & 0xFFFF_FFFF) as f64 / 4_294_967_296.0);
            ((-2.0 * radius).sqrt() * angle.cos() * deviation) as f32
        })
        .collect()
}
