//! The decoder: configuration and weights together, and what they compute.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};

use crate::batch::TokenBatch;
use crate::cache::KeyValueCache;
use crate::config::ModelConfig;
use crate::device::Device;
use crate::error::{ModelError, Result};
use crate::kernel::{self, Geometry};
use crate::rotary::Rotary;
use crate::weights::{LayerWeights, Parameter, Part, Weights, initial_values};

/// Hears of a layer's number, its input and its output.
type Observer<'a> = &'a mut dyn FnMut(usize, &Tensor<2>, &Tensor<2>) -> Result<()>;

/// The matrices of a layer by what they multiply: those of one input stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatrixInput {
    /// Of `q_proj`, `k_proj` and `v_proj`.
    Attention,
    /// Of `o_proj`.
    AttentionOutput,
    /// Of `gate_proj` and `up_proj`.
    FeedForward,
    /// Of `down_proj`.
    FeedForwardOutput,
}

/// Hears of what a layer's matrices multiply, `[rows·len, columns of the matrix]`.
type InputObserver<'a> = &'a mut dyn FnMut(MatrixInput, &Tensor<2>);

/// Attends, given queries, keys and values.
type Attention<'a> = &'a mut dyn FnMut(Tensor<2>, Tensor<2>, Tensor<2>) -> Tensor<2>;

/// A decoder on a device.
#[derive(Debug)]
pub struct Decoder {
    config: ModelConfig,
    device: Device,
    /// The weights; training replaces them step by step.
    pub weights: Weights,
    rotary: Rotary,
}

impl Decoder {
    /// A decoder of these weights, which must be on `device`.
    pub fn new(config: ModelConfig, device: Device, weights: Weights) -> Self {
        let rotary = Rotary::new(&config);
        Self {
            config,
            device,
            weights,
            rotary,
        }
    }

    /// A decoder with initial weights drawn from `seed`.
    ///
    /// # Errors
    /// None today; the signature is that of [`Weights::build`].
    pub fn init(config: ModelConfig, device: Device, seed: u64) -> Result<Self> {
        let weights = Weights::build(&config, &device.handle(), device.compute_dtype(), &mut |spec| {
            Ok(initial_values(&config, spec, seed))
        })?;
        Ok(Self::new(config, device, weights))
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Makes every weight a leaf of automatic differentiation.
    pub fn track_gradients(&mut self) {
        self.weights.visit(&mut |parameter| match parameter {
            Parameter::Vector(tensor) => *tensor = leaf(tensor.clone()),
            Parameter::Matrix(tensor) => *tensor = leaf(tensor.clone()),
        });
    }

    /// The same weights outside automatic differentiation, for measuring while training. Shares their storage.
    #[must_use]
    pub fn frozen(&self) -> Self {
        let mut weights = self.weights.clone();
        weights.visit(&mut |parameter| match parameter {
            Parameter::Vector(tensor) => *tensor = untracked(tensor.clone()),
            Parameter::Matrix(tensor) => *tensor = untracked(tensor.clone()),
        });
        Self {
            config: self.config.clone(),
            device: self.device,
            weights,
            rotary: Rotary::new(&self.config),
        }
    }

    /// The model without this part of these layers; shares the others' storage. Whole layers are renumbered, those that lose
    /// a part stay.
    #[must_use]
    pub fn without(&self, part: Part, layers: &[usize]) -> Self {
        let mut weights = self.weights.clone();
        let numbered = weights.layers.into_iter().enumerate();
        weights.layers = match part {
            Part::Layer => numbered
                .filter(|(number, _)| !layers.contains(number))
                .map(|(_, layer)| layer)
                .collect(),
            part => numbered
                .map(|(number, layer)| match layers.contains(&number) {
                    true => layer.without(part),
                    false => layer,
                })
                .collect(),
        };
        let config = ModelConfig {
            layers: weights.layers.len(),
            ..self.config.clone()
        };
        Self::new(config, self.device, weights)
    }

    /// The model for reading only: units of feed-forward networks that add nothing (`prune` puts small networks in the place of layers)
    /// are left out.
    #[must_use]
    pub fn compact(mut self) -> Self {
        let layers = std::mem::take(&mut self.weights.layers);
        self.weights.layers = layers.into_iter().map(LayerWeights::compact).collect();
        self
    }

    /// Parameters, without those of removed parts.
    pub fn parameters(&self) -> usize {
        let without = self.weights.layers.iter().map(|layer| {
            let mut gone = 0;
            if !layer.attends {
                let matrices = [&layer.q, &layer.k, &layer.v, &layer.o].map(|of| of.shape().num_elements());
                let biases = layer.biases.iter().flatten().map(|bias| bias.dims()[0]);
                gone += matrices.iter().sum::<usize>() + biases.sum::<usize>();
            }
            let units = match &layer.units {
                _ if !layer.feeds => 0,
                Some(units) => units.len(),
                None => layer.up.dims()[0],
            };
            gone + 3 * (self.config.intermediate_size - units) * self.config.hidden_size
        });
        self.config.parameters() - without.sum::<usize>()
    }

    /// Hidden states after the final normalisation, `[rows·len, width]`.
    ///
    /// # Errors
    /// [`ModelError::Input`] for a token id outside the vocabulary.
    pub fn hidden(&self, batch: &TokenBatch) -> Result<Tensor<2>> {
        self.pass(batch, None)
    }

    /// [`Self::hidden`], telling `observe` of that part of every layer: the layer's number, the hidden states before the part and
    /// those after it, both `[rows·len, width]` and without the final normalisation.
    ///
    /// # Errors
    /// As [`Self::hidden`], and those of `observe`.
    pub fn observed(
        &self,
        batch: &TokenBatch,
        part: Part,
        observe: &mut dyn FnMut(usize, &Tensor<2>, &Tensor<2>) -> Result<()>,
    ) -> Result<Tensor<2>> {
        self.pass(batch, Some((part, observe)))
    }

    /// What goes into the last matrix of this part of layer `number` (`o` of attention, else `down`), `[rows·len, columns of the
    /// matrix]`, and what comes out of the layer, `[rows·len, width]`.
    ///
    /// # Errors
    /// As [`Self::hidden`]; [`ModelError::Input`] if there is no such layer.
    pub fn into_last_matrix(
        &self,
        batch: &TokenBatch,
        number: usize,
        part: Part,
    ) -> Result<(Tensor<2>, Tensor<2>)> {
        let geometry = self.geometry_of(batch)?;
        let Some(last) = self.weights.layers.get(number) else {
            return Err(ModelError::Input(format!("there is no layer {number}")));
        };
        let attention: Attention<'_> = &mut |q, k, v| kernel::attention(q, k, v, &geometry);
        let mut hidden = kernel::embedding(self.weights.embedding.clone(), &batch.tokens);
        for layer in &self.weights.layers[..number] {
            hidden = self.layer(layer, hidden, attention);
        }
        let mut into = None;
        let mut hear = |which, input: &Tensor<2>| {
            let is_wanted = match part {
                Part::Attention => which == MatrixInput::AttentionOutput,
                Part::Layer | Part::FeedForward => which == MatrixInput::FeedForwardOutput,
            };
            if is_wanted {
                into = Some(input.clone());
            }
        };
        let attended = self.after_attention(last, hidden, attention, &mut hear);
        let inner = self.inner(last, &attended, &mut hear);
        let out = attended + kernel::linear(inner, last.down.clone());
        let into = into.ok_or_else(|| ModelError::Input("a layer without matrices".into()))?;
        Ok((into, out))
    }

    /// Tells `hear` of what every matrix of every layer multiplies: the layer's number, which matrices, and their input,
    /// `[rows·len, columns of the matrix]`.
    ///
    /// # Errors
    /// As [`Self::hidden`], and those of `hear`.
    pub fn matrix_inputs(
        &self,
        batch: &TokenBatch,
        hear: &mut dyn FnMut(usize, MatrixInput, &Tensor<2>) -> Result<()>,
    ) -> Result<()> {
        let geometry = self.geometry_of(batch)?;
        let attention: Attention<'_> = &mut |q, k, v| kernel::attention(q, k, v, &geometry);
        let mut hidden = kernel::embedding(self.weights.embedding.clone(), &batch.tokens);
        for (number, layer) in self.weights.layers.iter().enumerate() {
            let mut heard = Ok(());
            // Removed parts too: there is a matrix to be told of.
            let mut hear = |which, input: &Tensor<2>| {
                if heard.is_ok() {
                    heard = hear(number, which, input);
                }
            };
            let attended = self.after_attention(layer, hidden, attention, &mut hear);
            let inner = self.inner(layer, &attended, &mut hear);
            heard?;
            hidden = attended + kernel::linear(inner, layer.down.clone());
        }
        Ok(())
    }

    fn geometry_of(&self, batch: &TokenBatch) -> Result<Arc<Geometry>> {
        batch.check(self.config.vocab_size)?;
        Ok(Arc::new(self.geometry(
            batch.rows,
            batch.len,
            batch.len,
            batch.first.clone(),
            batch.positions.clone(),
        )))
    }

    fn pass(&self, batch: &TokenBatch, mut observe: Option<(Part, Observer<'_>)>) -> Result<Tensor<2>> {
        let geometry = self.geometry_of(batch)?;
        let mut hidden = kernel::embedding(self.weights.embedding.clone(), &batch.tokens);
        for (number, layer) in self.weights.layers.iter().enumerate() {
            let attention: Attention<'_> = &mut |q, k, v| kernel::attention(q, k, v, &geometry);
            // Kept only for who wants it: a layer may use its input's storage for its output.
            let part = observe.as_ref().map(|(part, _)| *part);
            let mut before = part
                .filter(|part| *part != Part::FeedForward)
                .map(|_| hidden.clone());
            let mut after = None;
            hidden = self.attended(layer, hidden, attention);
            match part {
                Some(Part::FeedForward) => before = Some(hidden.clone()),
                Some(Part::Attention) => after = Some(hidden.clone()),
                _ => {}
            }
            hidden = self.fed(layer, hidden);
            if let (Some((_, observe)), Some(before)) = (&mut observe, before) {
                observe(number, &before, after.as_ref().unwrap_or(&hidden))?;
            }
        }
        Ok(kernel::rms_norm(
            hidden,
            self.weights.norm.clone(),
            self.config.norm_epsilon,
        ))
    }

    /// Σ over the scored tokens of the negative log-likelihood in nats, shape `[1]`; differentiable.
    ///
    /// # Errors
    /// As [`Self::hidden`].
    pub fn loss(&self, batch: &TokenBatch) -> Result<Tensor<1>> {
        Ok(kernel::loss(
            self.hidden(batch)?,
            self.weights.head(),
            &batch.targets,
        ))
    }

    /// Negative log-likelihood in nats of the token after each token, `[rows·len]`, 0 where not scored.
    ///
    /// # Errors
    /// As [`Self::hidden`].
    pub fn nll(&self, batch: &TokenBatch) -> Result<Vec<f32>> {
        self.nll_of(self.hidden(batch)?, &batch.targets)
    }

    /// [`Self::nll`] of hidden states that [`Self::observed`] gave.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the device fails to give it.
    pub fn nll_of(&self, hidden: Tensor<2>, targets: &Arc<[i64]>) -> Result<Vec<f32>> {
        host(kernel::nll(hidden, self.weights.head(), targets))
    }

    /// Gives `visit` the logits of the scored tokens, block by block in the order of the batch: their places in it and a
    /// row of `[vocab]` for each, which it may overwrite. `hidden` is what [`Self::observed`] gave. Only a block's logits
    /// exist at a time.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the device fails to give them.
    pub fn each_block_of_logits(
        &self,
        hidden: Tensor<2>,
        targets: &[i64],
        visit: &mut dyn FnMut(&[usize], &mut [f32]),
    ) -> Result<()> {
        kernel::each_block_of_logits(hidden, self.weights.head(), targets, visit)
    }

    /// Logits of every token of a batch, `[rows·len, vocab]`. Large: for short texts and tests.
    ///
    /// # Errors
    /// As [`Self::hidden`].
    pub fn logits(&self, batch: &TokenBatch) -> Result<Vec<f32>> {
        host(kernel::linear(self.hidden(batch)?, self.weights.head()))
    }

    /// Logits (`[vocab]`) of the token after `tokens`, which follow what `cache` holds already.
    ///
    /// # Errors
    /// [`ModelError::Input`] for no tokens, or an id outside the vocabulary.
    pub fn extend(&self, tokens: &[u32], cache: &mut KeyValueCache) -> Result<Vec<f32>> {
        self.check(tokens)?;
        let (past, len) = (cache.len(), tokens.len());
        let positions = (past as u32..(past + len) as u32).collect();
        let geometry = self.geometry(1, len, past + len, vec![0; len], positions);
        let hidden = self.extended(tokens, &mut |layer, q, k, v| {
            cache.attend(layer, q, k, v, &geometry)
        });
        cache.advance(len);
        self.next(hidden.slice([len - 1..len, 0..self.config.hidden_size]))
    }

    /// Logits (`[caches·vocab]`) of the token after each of `tokens`, of which one follows what each cache holds: the weights are
    /// read once for all of them.
    ///
    /// # Errors
    /// [`ModelError::Input`] for no tokens, not one for each cache, or an id outside the vocabulary.
    pub fn extend_each(&self, tokens: &[u32], caches: &mut [&mut KeyValueCache]) -> Result<Vec<f32>> {
        self.check(tokens)?;
        if tokens.len() != caches.len() {
            let message = format!("{} tokens for {} sequences", tokens.len(), caches.len());
            return Err(ModelError::Input(message));
        }
        let geometry = |cache: &&mut KeyValueCache| {
            let past = cache.len();
            self.geometry(1, 1, past + 1, vec![0], vec![past as u32])
        };
        let geometries: Vec<Geometry> = caches.iter().map(geometry).collect();
        let hidden = self.extended(tokens, &mut |layer, q, k, v| {
            let row = |of: &Tensor<2>, at: usize| of.clone().slice([at..at + 1, 0..of.dims()[1]]);
            let sequences = caches.iter_mut().zip(&geometries).enumerate();
            let attended = sequences.map(|(at, (cache, geometry))| {
                cache.attend(layer, row(&q, at), row(&k, at), row(&v, at), geometry)
            });
            Tensor::cat(attended.collect(), 0)
        });
        caches.iter_mut().for_each(|cache| cache.advance(1));
        self.next(hidden)
    }

    fn check(&self, tokens: &[u32]) -> Result<()> {
        let size = self.config.vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= size) {
            let message = format!("token {token} is outside the model's vocabulary of {size}");
            return Err(ModelError::Input(message));
        }
        match tokens.is_empty() {
            true => Err(ModelError::Input("no tokens to continue: give a prompt".into())),
            false => Ok(()),
        }
    }

    /// Hidden states of `tokens` after the last layer, where `attend` knows what came before them.
    fn extended(
        &self,
        tokens: &[u32],
        attend: &mut dyn FnMut(usize, Tensor<2>, Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let mut hidden = kernel::embedding(self.weights.embedding.clone(), &Arc::from(tokens));
        for (number, layer) in self.weights.layers.iter().enumerate() {
            hidden = self.layer(layer, hidden, &mut |q, k, v| attend(number, q, k, v));
        }
        hidden
    }

    /// Logits of the tokens after those of these hidden states.
    fn next(&self, hidden: Tensor<2>) -> Result<Vec<f32>> {
        let hidden = kernel::rms_norm(hidden, self.weights.norm.clone(), self.config.norm_epsilon);
        host(kernel::linear(hidden, self.weights.head()))
    }

    /// One layer: `h += attention(norm(h))`, then `h += feed_forward(norm(h))`.
    pub(crate) fn layer(
        &self,
        layer: &LayerWeights,
        hidden: Tensor<2>,
        attention: Attention<'_>,
    ) -> Tensor<2> {
        let hidden = self.attended(layer, hidden, attention);
        self.fed(layer, hidden)
    }

    /// The first half of a layer, if it has one. Where there are gradients it is computed even so: an optimizer wants one of
    /// every weight.
    fn attended(&self, layer: &LayerWeights, hidden: Tensor<2>, attention: Attention<'_>) -> Tensor<2> {
        match layer.attends || hidden.device().is_autodiff() {
            true => self.after_attention(layer, hidden, attention, &mut |_, _| {}),
            false => hidden,
        }
    }

    /// The second half of a layer, if it has one.
    fn fed(&self, layer: &LayerWeights, hidden: Tensor<2>) -> Tensor<2> {
        match layer.feeds || hidden.device().is_autodiff() {
            true => {
                let inner = self.inner(layer, &hidden, &mut |_, _| {});
                hidden + kernel::linear(inner, layer.down.clone())
            }
            false => hidden,
        }
    }

    /// The residual stream after a layer's attention.
    fn after_attention(
        &self,
        layer: &LayerWeights,
        hidden: Tensor<2>,
        attention: Attention<'_>,
        hear: InputObserver<'_>,
    ) -> Tensor<2> {
        let epsilon = self.config.norm_epsilon;
        let x = kernel::rms_norm(hidden.clone(), layer.input_norm.clone(), epsilon);
        hear(MatrixInput::Attention, &x);
        let mut q = kernel::linear(x.clone(), layer.q.clone());
        let mut k = kernel::linear(x.clone(), layer.k.clone());
        let mut v = kernel::linear(x, layer.v.clone());
        if let Some([of_q, of_k, of_v]) = &layer.biases {
            let add = |x: Tensor<2>, bias: &Tensor<1>| x + bias.clone().unsqueeze();
            (q, k, v) = (add(q, of_q), add(k, of_k), add(v, of_v));
        }
        if let Some([of_q, of_k]) = &layer.head_norms {
            // A head is a row.
            let normalise = |x: Tensor<2>, weight: &Tensor<1>| {
                let dims = x.dims();
                let heads = x.reshape([-1, self.config.head_dim as i64]);
                kernel::rms_norm(heads, weight.clone(), epsilon).reshape(dims)
            };
            (q, k) = (normalise(q, of_q), normalise(k, of_k));
        }
        let attended = attention(q, k, v);
        hear(MatrixInput::AttentionOutput, &attended);
        hidden + kernel::linear(attended, layer.o.clone())
    }

    /// What goes into a layer's last matrix, of the residual stream after its attention.
    fn inner(&self, layer: &LayerWeights, hidden: &Tensor<2>, hear: InputObserver<'_>) -> Tensor<2> {
        let epsilon = self.config.norm_epsilon;
        let x = kernel::rms_norm(hidden.clone(), layer.post_attention_norm.clone(), epsilon);
        hear(MatrixInput::FeedForward, &x);
        let gate = kernel::linear(x.clone(), layer.gate.clone());
        let up = kernel::linear(x, layer.up.clone());
        let inner = kernel::swiglu(gate, up);
        hear(MatrixInput::FeedForwardOutput, &inner);
        inner
    }

    pub(crate) fn geometry(
        &self,
        rows: usize,
        len: usize,
        keys: usize,
        first: Vec<u32>,
        positions: Vec<u32>,
    ) -> Geometry {
        let longest = positions.iter().copied().max().unwrap_or(0) as usize + 1;
        // Queries are the last of a row's keys.
        let first = match self.config.sliding_window {
            None => first,
            Some(window) => {
                let seen = |(at, first): (usize, u32)| {
                    first.max((keys - len + at % len + 1).saturating_sub(window) as u32)
                };
                first.into_iter().enumerate().map(seen).collect()
            }
        };
        Geometry {
            rows,
            len,
            keys,
            heads: self.config.heads,
            kv_heads: self.config.kv_heads,
            head_dim: self.config.head_dim,
            first,
            positions,
            rotation: self.rotary.table(longest),
            scale: (self.config.head_dim as f32).powf(-0.5),
            tables: Default::default(),
        }
    }
}

fn leaf<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.device().is_autodiff() {
        tensor.detach().require_grad()
    } else {
        Tensor::from_inner(tensor).require_grad()
    }
}

/// The tensor outside automatic differentiation.
pub(crate) fn untracked<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.device().is_autodiff() {
        tensor.inner()
    } else {
        tensor
    }
}

/// The elements of a tensor as f32 in memory.
///
/// # Errors
/// [`ModelError::Input`] if the device fails to give them.
pub fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor
        .cast(DType::F32)
        .try_into_data()
        .map_err(|error| ModelError::Input(format!("{error:?}")))?;
    data.try_into_vec()
        .map_err(|error| ModelError::Input(format!("{error:?}")))
}
