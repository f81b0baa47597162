//! State of the optimiser as tensors beside the weights, updated by burn's operations, which a GPU fuses.
//!
//! The same arithmetic in the same order as the update in memory; the tests hold the two together.

use burn::tensor::{DType, Tensor, TensorData};
use tributary_model::Device;

use super::{Moments, Step};

/// State of one parameter: flat f32 tensors outside automatic differentiation.
#[derive(Clone, Debug)]
pub(super) struct StateTensors {
    pub(super) first: Tensor<1>,
    pub(super) second: Tensor<1>,
    pub(super) master: Tensor<1>,
}

impl StateTensors {
    /// Moves state to the device: no moments are zeros, no master is the weight itself.
    pub(super) fn place<const D: usize>(
        moments: Moments,
        master: Vec<f32>,
        weight: &Tensor<D>,
        device: Device,
    ) -> Self {
        let (count, handle) = (weight.shape().num_elements(), device.handle());
        let vector = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [count]), &handle);
        let moment = |values: Vec<f32>| match values.is_empty() {
            true => Tensor::<1>::zeros([count], (&handle, DType::F32)),
            false => vector(values),
        };
        let master = match master.is_empty() {
            true => weight.clone().inner().cast(DType::F32).reshape([count]),
            false => vector(master),
        };
        Self {
            first: moment(moments.first),
            second: moment(moments.second),
            master,
        }
    }

    /// One step; gives the weight, `shape` of the master rounded to `dtype`, as a leaf of automatic differentiation.
    pub(super) fn update<const D: usize>(
        &mut self,
        shape: [usize; D],
        dtype: DType,
        gradient: Tensor<1>,
        step: Step,
    ) -> Tensor<D> {
        let g = gradient * step.gradient;
        let m = self.first.clone() * step.beta1 + g.clone() * (1.0 - step.beta1);
        let v = self.second.clone() * step.beta2 + g.clone() * (1.0 - step.beta2) * g;
        let denominator = v.clone().sqrt() * step.root + step.epsilon;
        let w = self.master.clone() * step.keep - m.clone() * step.rate / denominator;
        let weight = w.clone().reshape(shape).cast(dtype);
        (self.first, self.second, self.master) = (m, v, w);
        Tensor::from_inner(weight).require_grad()
    }
}

#[cfg(test)]
mod tests {
    use tributary_model::{Decoder, LlamaSizes, ModelConfig, TokenBatch, host, specs};

    use super::super::{AdamW, AdamWSettings};
    use super::*;
    use crate::gradients::GradientSum;

    const RATE: f64 = 1e-2;

    fn model() -> Decoder {
        let config = ModelConfig::llama(LlamaSizes {
            hidden_size: 32,
            intermediate_size: 48,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            vocab_size: 61,
            max_positions: 32,
            rope_theta: 1e4,
            tied_head: false,
            bos: None,
            eos: None,
        });
        let mut decoder = Decoder::init(config, Device::Cpu, 7).unwrap();
        decoder.track_gradients();
        decoder
    }

    /// The gradients of two micro-batches at the weights of step `step`, and their number of tokens.
    fn gradients(decoder: &mut Decoder, step: u64, mut sum: GradientSum) -> (GradientSum, f64) {
        let mut scored = 0;
        for part in 0..2u64 {
            let tokens: Vec<u32> = (0..24)
                .map(|at| ((at * 13 + step * 17 + part * 29 + at * at) % 61) as u32)
                .collect();
            let batch = TokenBatch::document(&tokens);
            scored += batch.scored();
            let loss = decoder.loss(&batch).unwrap();
            sum.add(&mut decoder.weights, &mut loss.backward()).unwrap();
        }
        (sum, scored as f64)
    }

    /// Does one step; gives the gradient norm.
    fn step(decoder: &mut Decoder, optimizer: &mut AdamW, empty: GradientSum, dtype: DType) -> f64 {
        let (sum, tokens) = gradients(decoder, optimizer.step(), empty);
        let norm = sum.norm().unwrap();
        optimizer
            .update_as(&mut decoder.weights, Device::Cpu, dtype, &sum, 1.0 / tokens, RATE)
            .unwrap();
        norm
    }

    /// The largest |a − b| in units of the largest |a|.
    fn difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let largest = a.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        a.iter()
            .zip(b)
            .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()))
            / largest
    }

    #[test]
    fn three_steps_of_tensors_equal_three_steps_in_memory() {
        let (mut one, mut other) = (model(), model());
        let before = one.weights.values(1).unwrap();
        let (mut in_memory, mut tensors) = (
            AdamW::new(AdamWSettings::default()),
            AdamW::new(AdamWSettings::default()),
        );
        for _ in 0..3 {
            let a = step(
                &mut one,
                &mut in_memory,
                GradientSum::new(Device::Cpu),
                DType::F32,
            );
            let b = step(&mut other, &mut tensors, GradientSum::of_tensors(), DType::F32);
            assert!((a - b).abs() <= 1e-6 * a, "norms {a} and {b}");
        }
        for (index, spec) in specs(one.config()).iter().enumerate() {
            let pairs = [
                (
                    one.weights.values(index).unwrap(),
                    other.weights.values(index).unwrap(),
                ),
                (
                    one.weights.values(index).unwrap(),
                    tensors.master(index).unwrap().into_owned(),
                ),
                (
                    in_memory.first_moment(index).unwrap().into_owned(),
                    tensors.first_moment(index).unwrap().into_owned(),
                ),
                (
                    in_memory.second_moment(index).unwrap().into_owned(),
                    tensors.second_moment(index).unwrap().into_owned(),
                ),
            ];
            for (place, (a, b)) in pairs.iter().enumerate() {
                let difference = difference(a, b);
                assert!(
                    difference <= 1e-6,
                    "{} differs by {difference} (pair {place})",
                    spec.name
                );
            }
        }
        assert!(
            difference(&before, &one.weights.values(1).unwrap()) > 1e-3,
            "the steps changed nothing"
        );
        assert!(
            in_memory.master(0).unwrap().is_empty(),
            "in memory the weights are the masters"
        );
    }

    #[test]
    fn state_read_and_restored_goes_on_bit_for_bit() {
        let count = specs(model().config()).len();
        let bits = |decoder: &Decoder| -> Vec<u32> {
            (0..count)
                .flat_map(|index| decoder.weights.values(index).unwrap())
                .map(f32::to_bits)
                .collect()
        };
        let (mut straight, mut optimizer) = (model(), AdamW::new(AdamWSettings::default()));
        for _ in 0..2 {
            step(
                &mut straight,
                &mut optimizer,
                GradientSum::of_tensors(),
                DType::F32,
            );
        }
        let moments = (0..count).map(|index| Moments {
            first: optimizer.first_moment(index).unwrap().into_owned(),
            second: optimizer.second_moment(index).unwrap().into_owned(),
        });
        let masters = (0..count).map(|index| optimizer.master(index).unwrap().into_owned());
        let settings = AdamWSettings::default();
        let mut restored = AdamW::restore(settings, 2, moments.clone().collect(), masters.collect());
        let mut resumed = optimizer.clone();
        resumed.resume(2, moments.collect()).unwrap();
        let mut again = Decoder::new(straight.config().clone(), Device::Cpu, straight.weights.clone());
        let mut once_more = Decoder::new(straight.config().clone(), Device::Cpu, straight.weights.clone());
        step(
            &mut straight,
            &mut optimizer,
            GradientSum::of_tensors(),
            DType::F32,
        );
        step(&mut again, &mut restored, GradientSum::of_tensors(), DType::F32);
        step(
            &mut once_more,
            &mut resumed,
            GradientSum::of_tensors(),
            DType::F32,
        );
        assert_eq!(bits(&straight), bits(&again));
        assert_eq!(bits(&straight), bits(&once_more));
    }

    /// As on a GPU: the tensors hold bf16, the master keeps what rounding takes away.
    #[test]
    fn weights_are_the_rounded_masters() {
        let mut decoder = model();
        let mut optimizer = AdamW::new(AdamWSettings::default());
        let (sum, tokens) = gradients(&mut decoder, 0, GradientSum::of_tensors());
        for _ in 0..2 {
            let weights = &mut decoder.weights;
            optimizer
                .update_as(weights, Device::Cpu, DType::BF16, &sum, 1.0 / tokens, 1e-6)
                .unwrap();
        }
        assert_eq!(decoder.weights.head().dtype(), DType::BF16);
        let master = optimizer.master(0).unwrap().into_owned();
        let rounded = Tensor::<1>::from_data(
            TensorData::new(master.clone(), [master.len()]),
            &Device::Cpu.handle(),
        );
        assert_eq!(
            decoder.weights.values(0).unwrap(),
            host(rounded.cast(DType::BF16)).unwrap()
        );
        assert_ne!(decoder.weights.values(0).unwrap(), master);
    }
}
