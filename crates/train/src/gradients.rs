//! Gradients summed over micro-batches, in memory.
//!
//! Sums are kept raw; the step divides by the number of scored tokens once, so that the way a batch is cut
//! into micro-batches only rounds differently.

use burn::tensor::Gradients;
use rayon::prelude::*;
use tributary_model::kernel::cpu::simd::{add_scaled, vectorised};
use tributary_model::{Parameter, Weights, host};

use crate::error::Result;

/// Elements of one task.
const BLOCK: usize = 1 << 16;

/// One vector a parameter, in the order of [`Weights::visit`].
#[derive(Clone, Debug, Default)]
pub struct GradientSum {
    parts: Vec<Vec<f32>>,
}

impl GradientSum {
    /// Adds what a backward pass left in `gradients`. A parameter without gradient adds nothing.
    ///
    /// # Errors
    /// If the device fails to give the values.
    pub fn add(&mut self, weights: &mut Weights, gradients: &mut Gradients) -> Result<()> {
        let mut index = 0;
        let mut outcome = Ok(());
        weights.visit(&mut |parameter| {
            let found = match &parameter {
                Parameter::Vector(tensor) => tensor.grad_remove(gradients).map(host),
                Parameter::Matrix(tensor) => tensor.grad_remove(gradients).map(host),
            };
            match found {
                Some(Ok(values)) => self.add_part(index, values),
                Some(Err(error)) if outcome.is_ok() => outcome = Err(error.into()),
                _ => {}
            }
            index += 1;
        });
        outcome
    }

    fn add_part(&mut self, index: usize, values: Vec<f32>) {
        if self.parts.len() <= index {
            self.parts.resize_with(index + 1, Vec::new);
        }
        let part = &mut self.parts[index];
        if part.is_empty() {
            *part = values;
            return;
        }
        part.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(sum, new)| {
            vectorised(#[inline(always)] || add_scaled(sum, 1.0, new));
        });
    }

    /// The Euclidean norm over all parameters, in f64, summed in a fixed order.
    pub fn norm(&self) -> f64 {
        let squares = |part: &Vec<f32>| -> f64 {
            let blocks: Vec<f64> = part
                .par_chunks(BLOCK)
                .map(|block| {
                    vectorised(#[inline(always)] || {
                        let mut lanes = [0.0f64; 8];
                        for (at, value) in block.iter().enumerate() {
                            lanes[at % 8] += f64::from(*value) * f64::from(*value);
                        }
                        lanes.iter().sum::<f64>()
                    })
                })
                .collect();
            blocks.iter().sum()
        };
        self.parts.iter().map(squares).sum::<f64>().sqrt()
    }

    /// The sums of parameter `index`, empty if it had no gradient.
    pub fn part(&self, index: usize) -> &[f32] {
        self.parts.get(index).map_or(&[], Vec::as_slice)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.parts.clear();
    }
}
