//! AdamW (Loshchilov & Hutter 2019) with f32 master weights and moments in memory.
//!
//! On the CPU the masters *are* the weights: the update takes a tensor's storage, changes it in place and
//! gives it back. On a GPU the masters stay in host memory in f32 and the rounded weights are sent back.
//! Normalisation weights (vectors) are not decayed.

use burn::tensor::{DType, Device as BurnDevice, Tensor, TensorData};
use rayon::prelude::*;
use tributary_model::kernel::cpu::simd::vectorised;
use tributary_model::{Device, Parameter, Weights, host};

use crate::error::Result;
use crate::gradients::GradientSum;

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
        Self { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 }
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
    moments: Vec<Moments>,
    /// f32 weights of parameters whose tensors are rounded; empty on the CPU.
    masters: Vec<Vec<f32>>,
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
        Self { settings, ..Self::default() }
    }

    /// Restores the state after `step` steps; `masters` may be empty.
    pub fn restore(settings: AdamWSettings, step: u64, moments: Vec<Moments>, masters: Vec<Vec<f32>>) -> Self {
        Self { settings, step, moments, masters }
    }

    /// Steps taken.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Moments in the order of [`Weights::visit`].
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// f32 master weights in the order of [`Weights::visit`]; empty on the CPU, where the weights are f32.
    pub fn masters(&self) -> &[Vec<f32>] {
        &self.masters
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
        let handle = device.handle().autodiff();
        let dtype = device.compute_dtype();
        let mut index = 0;
        let mut outcome = Ok(());
        weights.visit(&mut |parameter| {
            if self.moments.len() <= index {
                self.moments.push(Moments::default());
            }
            let result = match parameter {
                Parameter::Vector(tensor) => self.replace(index, tensor, &handle, dtype, gradients, factors(0.0)),
                Parameter::Matrix(tensor) => {
                    self.replace(index, tensor, &handle, dtype, gradients, factors(settings.weight_decay))
                }
            };
            if outcome.is_ok() {
                outcome = result;
            }
            index += 1;
        });
        outcome
    }

    fn replace<const D: usize>(
        &mut self,
        index: usize,
        tensor: &mut Tensor<D>,
        handle: &BurnDevice,
        dtype: DType,
        gradients: &GradientSum,
        step: Step,
    ) -> Result<()> {
        let gradient = gradients.part(index);
        if gradient.is_empty() {
            return Ok(());
        }
        let shape = tensor.dims();
        let mut values = if dtype == DType::F32 || self.masters.len() <= index {
            // Taking the tensor out leaves its storage with one owner, so nothing is copied on the CPU.
            let placeholder = Tensor::<D>::zeros([1; D], handle);
            host(std::mem::replace(tensor, placeholder).inner())?
        } else {
            std::mem::take(&mut self.masters[index])
        };
        let moments = &mut self.moments[index];
        if moments.first.is_empty() {
            moments.first = vec![0.0; values.len()];
            moments.second = vec![0.0; values.len()];
        }
        apply(&mut values, gradient, moments, step);
        if dtype == DType::F32 {
            *tensor = Tensor::<D>::from_data(TensorData::new(values, shape), handle).require_grad();
        } else {
            let data = TensorData::new(values.clone(), shape);
            *tensor = Tensor::<D>::from_data(data, handle).cast(dtype).detach().require_grad();
            if self.masters.len() <= index {
                self.masters.resize_with(index + 1, Vec::new);
            }
            self.masters[index] = values;
        }
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
            vectorised(#[inline(always)] || {
                for (((w, g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                    let g = g * step.gradient;
                    *m = step.beta1 * *m + (1.0 - step.beta1) * g;
                    *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
                    *w = *w * step.keep - step.rate * *m / (v.sqrt() * step.root + step.epsilon);
                }
            });
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_steps_equal_the_formula_in_double_precision() {
        let settings = AdamWSettings { weight_decay: 0.1, ..Default::default() };
        let (mut w, mut m, mut v) = (0.5f64, 0.0f64, 0.0f64);
        let mut values = vec![0.5f32; 5];
        let mut moments = Moments { first: vec![0.0; 5], second: vec![0.0; 5] };
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
