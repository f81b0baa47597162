//! The weights of a decoder, named as Hugging Face names them.
//!
//! One list, [`specs`], says which tensors a configuration has; loading, initialising, visiting and
//! saving all follow its order.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::config::ModelConfig;
use crate::decoder::{host, untracked};
use crate::error::{ModelError, Result};

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
        let mut next = || -> Result<TensorData> {
            // The calls below mirror `specs` one to one.
            let spec = specs.next().unwrap_or(ParameterSpec {
                name: String::new(),
                shape: vec![0],
            });
            Ok(TensorData::new(values(&spec)?, spec.shape))
        };
        let vector = |data: TensorData| Tensor::<1>::from_data(data, device).cast(dtype);
        let matrix = |data: TensorData| Tensor::<2>::from_data(data, device).cast(dtype);
        let embedding = matrix(next()?);
        let mut layers = Vec::with_capacity(config.layers);
        for _ in 0..config.layers {
            layers.push(LayerWeights {
                input_norm: vector(next()?),
                q: matrix(next()?),
                k: matrix(next()?),
                v: matrix(next()?),
                biases: match config.family.has_biases() {
                    true => Some([vector(next()?), vector(next()?), vector(next()?)]),
                    false => None,
                },
                head_norms: match config.family.has_head_norms() {
                    true => Some([vector(next()?), vector(next()?)]),
                    false => None,
                },
                o: matrix(next()?),
                post_attention_norm: vector(next()?),
                gate: matrix(next()?),
                up: matrix(next()?),
                down: matrix(next()?),
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

    /// Visits every parameter in the order of [`specs`].
    pub fn visit(&mut self, visitor: &mut dyn FnMut(Parameter<'_>)) {
        visitor(Parameter::Matrix(&mut self.embedding));
        for layer in &mut self.layers {
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
