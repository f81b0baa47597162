//! AdamW (Loshchilov & Hutter 2019) with f32 master weights and moments.
//!
//! State lies where the gradients lie ([`GradientSum`]). In memory, on the CPU, the masters *are* the weights: the update
//! takes a tensor's storage, changes it in place and gives it back. On a GPU masters and moments are tensors beside the
//! weights ([`tensors`]), and nothing but numbers for the log crosses to the host between two checkpoints. Either way
//! they are read and restored as vectors. Normalisation weights (vectors) are not decayed.

mod tensors;

use std::borrow::Cow;

use burn::tensor::{DType, Tensor, TensorData};
use rayon::prelude::*;
use tributary_model::kernel::cpu::simd::vectorised;
use tributary_model::{Device, ModelError, Parameter, Weights, host};

use crate::error::Result;
use crate::gradients::{GradientSum, Part};
use tensors::StateTensors;

/// Constants of the update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// Decay of the first moment, β₁.
    pub beta1: f64,
    /// Decay of the second moment, β₂.
    pub beta2: f64,
    /// ε in the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
        }
    }
}

/// Moments of one parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Mean of gradients.
    pub first: Vec<f32>,
    /// Mean of squared gradients.
    pub second: Vec<f32>,
}

/// State of the optimiser.
#[derive(Clone, Debug, Default)]
pub struct AdamW {
    settings: AdamWSettings,
    step: u64,
    /// In the order of [`Weights::visit`].
    states: Vec<State>,
}

/// State of one parameter.
#[derive(Clone, Debug)]
enum State {
    /// In memory. The master is empty where the weight is f32 itself; the moments are before the first step.
    Host { moments: Moments, master: Vec<f32> },
    /// On the device of the weight.
    Device(Box<StateTensors>),
}

impl Default for State {
    fn default() -> Self {
        Self::Host {
            moments: Moments::default(),
            master: Vec::new(),
        }
    }
}

/// Elements of one task.
const BLOCK: usize = 1 << 15;

/// The factors of one step, bias corrections included.
#[derive(Clone, Copy)]
struct Step {
    gradient: f32,
    keep: f32,
    beta1: f32,
    beta2: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
}

impl AdamW {
    /// A fresh optimiser.
    pub fn new(settings: AdamWSettings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// Restores the state after `step` steps; `moments` and `masters`, in the order of [`Weights::visit`], may be empty.
    pub fn restore(
        settings: AdamWSettings,
        step: u64,
        moments: Vec<Moments>,
        masters: Vec<Vec<f32>>,
    ) -> Self {
        let count = moments.len().max(masters.len());
        let (mut moments, mut masters) = (moments.into_iter(), masters.into_iter());
        let mut next = || State::Host {
            moments: moments.next().unwrap_or_default(),
            master: masters.next().unwrap_or_default(),
        };
        Self {
            settings,
            step,
            states: (0..count).map(|_| next()).collect(),
        }
    }

    /// Goes on after `step` steps with these moments, in the order of [`Weights::visit`], and the masters it has.
    ///
    /// # Errors
    /// If the device fails to give the masters.
    pub fn resume(&mut self, step: u64, moments: Vec<Moments>) -> Result<()> {
        self.step = step;
        self.states
            .resize_with(moments.len().max(self.states.len()), State::default);
        for (state, moments) in self.states.iter_mut().zip(moments) {
            let master = match std::mem::take(state) {
                State::Host { master, .. } => master,
                State::Device(state) => host(state.master)?,
            };
            *state = State::Host { moments, master };
        }
        Ok(())
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Has the parameter at `index` of [`Weights::visit`] been updated?
    pub fn has_moments(&self, index: usize) -> bool {
        match self.states.get(index) {
            None => false,
            Some(State::Host { moments, .. }) => !moments.first.is_empty(),
            Some(State::Device(_)) => true,
        }
    }

    /// The mean of the gradients of the parameter at `index` of [`Weights::visit`]; empty before its first update.
    ///
    /// # Errors
    /// If the device fails to give the values.
    pub fn first_moment(&self, index: usize) -> Result<Cow<'_, [f32]>, ModelError> {
        self.read(index, |moments, _| &moments.first, |state| &state.first)
    }

    /// The mean of the squared gradients of the parameter at `index` of [`Weights::visit`]; empty before its first update.
    ///
    /// # Errors
    /// If the device fails to give the values.
    pub fn second_moment(&self, index: usize) -> Result<Cow<'_, [f32]>, ModelError> {
        self.read(index, |moments, _| &moments.second, |state| &state.second)
    }

    /// The f32 master of the parameter at `index` of [`Weights::visit`]; empty on the CPU, where the weight is f32.
    ///
    /// # Errors
    /// If the device fails to give the values.
    pub fn master(&self, index: usize) -> Result<Cow<'_, [f32]>, ModelError> {
        self.read(index, |_, master| master, |state| &state.master)
    }

    fn read(
        &self,
        index: usize,
        on_host: impl for<'a> Fn(&'a Moments, &'a [f32]) -> &'a [f32],
        on_device: impl Fn(&StateTensors) -> &Tensor<1>,
    ) -> Result<Cow<'_, [f32]>, ModelError> {
        match self.states.get(index) {
            None => Ok(Cow::Borrowed(&[])),
            Some(State::Host { moments, master }) => Ok(Cow::Borrowed(on_host(moments, master))),
            Some(State::Device(state)) => Ok(Cow::Owned(host(on_device(state).clone())?)),
        }
    }

    /// One step: the gradients are multiplied by `scale` (1/tokens, and the clipping factor).
    ///
    /// # Errors
    /// If the device fails to give or take values.
    pub fn update(
        &mut self,
        weights: &mut Weights,
        device: Device,
        gradients: &GradientSum,
        scale: f64,
        learning_rate: f64,
    ) -> Result<()> {
        self.update_as(
            weights,
            device,
            device.compute_dtype(),
            gradients,
            scale,
            learning_rate,
        )
    }

    /// [`Self::update`] of weights whose tensors hold `dtype`.
    fn update_as(
        &mut self,
        weights: &mut Weights,
        device: Device,
        dtype: DType,
        gradients: &GradientSum,
        scale: f64,
        learning_rate: f64,
    ) -> Result<()> {
        self.step += 1;
        let settings = self.settings;
        let correction1 = 1.0 - settings.beta1.powf(self.step as f64);
        let correction2 = 1.0 - settings.beta2.powf(self.step as f64);
        let factors = |decay: f64| Step {
            gradient: scale as f32,
            keep: (1.0 - learning_rate * decay) as f32,
            beta1: settings.beta1 as f32,
            beta2: settings.beta2 as f32,
            rate: (learning_rate / correction1) as f32,
            root: (1.0 / correction2.sqrt()) as f32,
            epsilon: settings.epsilon as f32,
        };
        let mut index = 0;
        let mut outcome = Ok(());
        weights.visit(&mut |parameter| {
            if self.states.len() <= index {
                self.states.push(State::default());
            }
            let (state, gradient) = (&mut self.states[index], gradients.part(index));
            let result = match parameter {
                Parameter::Vector(tensor) => state.update(tensor, device, dtype, gradient, factors(0.0)),
                Parameter::Matrix(tensor) => {
                    state.update(tensor, device, dtype, gradient, factors(settings.weight_decay))
                }
            };
            if outcome.is_ok() {
                outcome = result;
            }
            index += 1;
        });
        outcome
    }
}

impl State {
    fn update<const D: usize>(
        &mut self,
        tensor: &mut Tensor<D>,
        device: Device,
        dtype: DType,
        gradient: Option<&Part>,
        step: Step,
    ) -> Result<()> {
        match gradient {
            None => Ok(()),
            Some(Part::Host(gradient)) => self.update_in_memory(tensor, device, gradient, step),
            Some(Part::Device(gradient)) => {
                let mut state = match std::mem::take(self) {
                    Self::Device(state) => state,
                    Self::Host { moments, master } => {
                        Box::new(StateTensors::place(moments, master, tensor, device))
                    }
                };
                *tensor = state.update(tensor.dims(), dtype, Tensor::clone(gradient), step);
                *self = Self::Device(state);
                Ok(())
            }
        }
    }

    /// Changes an f32 tensor of the CPU in place.
    fn update_in_memory<const D: usize>(
        &mut self,
        tensor: &mut Tensor<D>,
        device: Device,
        gradient: &[f32],
        step: Step,
    ) -> Result<()> {
        let mut moments = match std::mem::take(self) {
            Self::Host { moments, .. } => moments,
            Self::Device(state) => Moments {
                first: host(state.first)?,
                second: host(state.second)?,
            },
        };
        let (shape, handle) = (tensor.dims(), device.handle().autodiff());
        // Taking the tensor out leaves its storage with one owner, so nothing is copied.
        let nothing = Tensor::<D>::zeros([1; D], &handle);
        let mut values = host(std::mem::replace(tensor, nothing).inner())?;
        if moments.first.is_empty() {
            moments.first = vec![0.0; values.len()];
            moments.second = vec![0.0; values.len()];
        }
        apply(&mut values, gradient, &mut moments, step);
        *tensor = Tensor::<D>::from_data(TensorData::new(values, shape), &handle).require_grad();
        *self = Self::Host {
            moments,
            master: Vec::new(),
        };
        Ok(())
    }
}

fn apply(values: &mut [f32], gradient: &[f32], moments: &mut Moments, step: Step) {
    values
        .par_chunks_mut(BLOCK)
        .zip(gradient.par_chunks(BLOCK))
        .zip(moments.first.par_chunks_mut(BLOCK))
        .zip(moments.second.par_chunks_mut(BLOCK))
        .for_each(|(((values, gradient), first), second)| {
            vectorised(
                #[inline(always)]
                || {
                    for (((w, g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                        let g = g * step.gradient;
                        *m = step.beta1 * *m + (1.0 - step.beta1) * g;
                        *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
                        *w = *w * step.keep - step.rate * *m / (v.sqrt() * step.root + step.epsilon);
                    }
                },
            );
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_steps_equal_the_formula_in_double_precision() {
        let settings = AdamWSettings {
            weight_decay: 0.1,
            ..Default::default()
        };
        let (mut w, mut m, mut v) = (0.5f64, 0.0f64, 0.0f64);
        let mut values = vec![0.5f32; 5];
        let mut moments = Moments {
            first: vec![0.0; 5],
            second: vec![0.0; 5],
        };
        for (t, g) in [0.3f64, -0.1, 0.25].into_iter().enumerate() {
            let rate = 1e-2;
            m = 0.9 * m + 0.1 * g;
            v = 0.95 * v + 0.05 * g * g;
            let (c1, c2) = (1.0 - 0.9f64.powi(t as i32 + 1), 1.0 - 0.95f64.powi(t as i32 + 1));
            w = w * (1.0 - rate * 0.1) - rate * (m / c1) / ((v / c2).sqrt() + 1e-8);
            let step = Step {
                gradient: 0.5,
                keep: (1.0 - rate * settings.weight_decay) as f32,
                beta1: 0.9,
                beta2: 0.95,
                rate: (rate / c1) as f32,
                root: (1.0 / c2.sqrt()) as f32,
                epsilon: 1e-8,
            };
            apply(&mut values, &[2.0 * g as f32; 5], &mut moments, step);
        }
        assert!((f64::from(values[0]) - w).abs() < 1e-6, "{} != {w}", values[0]);
        assert_eq!(values[0], values[4]);
    }
}
