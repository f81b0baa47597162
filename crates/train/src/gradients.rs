//! Gradients summed over micro-batches, in f32.
//!
//! They are summed where they are used: in memory for the CPU, as tensors on a GPU. Sums are kept raw; the step divides by
//! the number of scored tokens once, so that the way a batch is cut into micro-batches only rounds differently.

use burn::tensor::{DType, Gradients, Tensor};
use rayon::prelude::*;
use tributary_model::kernel::cpu::simd::{add_scaled, vectorised};
use tributary_model::{Device, Parameter, Weights, host};

use crate::error::Result;

/// Elements of one task.
const BLOCK: usize = 1 << 16;

/// The sums of one parameter.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// In memory.
    Host(Vec<f32>),
    /// Flat, on the device of the weight.
    Device(Box<Tensor<1>>),
}

/// One sum a parameter, in the order of [`Weights::visit`].
#[derive(Clone, Debug)]
pub struct GradientSum {
    parts: Vec<Option<Part>>,
    is_in_memory: bool,
}

impl GradientSum {
    /// No gradients yet of a model on `device`.
    pub fn new(device: Device) -> Self {
        Self {
            parts: Vec::new(),
            is_in_memory: device == Device::Cpu,
        }
    }

    /// Sums that stay on the device, whichever it is.
    #[cfg(test)]
    pub(crate) fn of_tensors() -> Self {
        Self {
            parts: Vec::new(),
            is_in_memory: false,
        }
    }

    /// Adds what a backward pass left in `gradients`. A parameter without gradient adds nothing.
    ///
    /// # Errors
    /// If the device fails to give the values.
    pub fn add(&mut self, weights: &mut Weights, gradients: &mut Gradients) -> Result<()> {
        let mut index = 0;
        let mut outcome = Ok(());
        weights.visit(&mut |parameter| {
            let result = match &parameter {
                Parameter::Vector(tensor) => self.add_part(index, tensor.grad_remove(gradients)),
                Parameter::Matrix(tensor) => self.add_part(index, tensor.grad_remove(gradients)),
            };
            if outcome.is_ok() {
                outcome = result;
            }
            index += 1;
        });
        outcome
    }

    fn add_part<const D: usize>(&mut self, index: usize, gradient: Option<Tensor<D>>) -> Result<()> {
        let Some(gradient) = gradient else { return Ok(()) };
        if self.parts.len() <= index {
            self.parts.resize_with(index + 1, || None);
        }
        let part = &mut self.parts[index];
        *part = Some(if self.is_in_memory {
            let values = host(gradient)?;
            match part.take() {
                Some(Part::Host(mut sum)) => {
                    add(&mut sum, &values);
                    Part::Host(sum)
                }
                _ => Part::Host(values),
            }
        } else {
            let count = gradient.shape().num_elements();
            let gradient = gradient.cast(DType::F32).reshape([count]);
            match part.take() {
                Some(Part::Device(sum)) => Part::Device(Box::new(*sum + gradient)),
                _ => Part::Device(Box::new(gradient)),
            }
        });
        Ok(())
    }

    /// The Euclidean norm over all parameters, summed in a fixed order: in memory in f64; of tensors a square sum a
    /// parameter in f32, and these in f64.
    ///
    /// # Errors
    /// If the device fails to give the values.
    pub fn norm(&self) -> Result<f64> {
        let mut total = 0.0;
        let mut on_device = Vec::new();
        for part in self.parts.iter().flatten() {
            match part {
                Part::Host(values) => total += squares(values),
                Part::Device(tensor) => on_device.push(tensor.clone().square().sum()),
            }
        }
        if !on_device.is_empty() {
            total += host(Tensor::cat(on_device, 0))?
                .into_iter()
                .map(f64::from)
                .sum::<f64>();
        }
        Ok(total.sqrt())
    }

    /// The sums of parameter `index`, none if it had no gradient.
    pub(crate) fn part(&self, index: usize) -> Option<&Part> {
        self.parts.get(index)?.as_ref()
    }
}

/// Adds `values` to `sum`.
fn add(sum: &mut [f32], values: &[f32]) {
    sum.par_chunks_mut(BLOCK)
        .zip(values.par_chunks(BLOCK))
        .for_each(|(sum, new)| {
            vectorised(
                #[inline(always)]
                || add_scaled(sum, 1.0, new),
            );
        });
}

/// The sum of squares in f64, summed in a fixed order.
fn squares(values: &[f32]) -> f64 {
    let blocks: Vec<f64> = values
        .par_chunks(BLOCK)
        .map(|block| {
            vectorised(
                #[inline(always)]
                || {
                    let mut lanes = [0.0f64; 8];
                    for (at, value) in block.iter().enumerate() {
                        lanes[at % 8] += f64::from(*value) * f64::from(*value);
                    }
                    lanes.iter().sum::<f64>()
                },
            )
        })
        .collect();
    blocks.iter().sum()
}
