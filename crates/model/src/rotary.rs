//! Rotary frequencies and their cos/sin tables, for every `rope_scaling` of [`RopeScaling`].
//!
//! Frequencies are computed in f64 and the angles in f32 as Hugging Face does, so that tables agree.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{ModelConfig, RopeScaling};
use crate::kernel::Rotation;

/// Tables that grow with the longest position asked for.
#[derive(Debug)]
pub struct Rotary {
    config: ModelConfig,
    table: Mutex<Option<(usize, Arc<Rotation>)>>,
}

impl Rotary {
    /// The rotary embedding of a model.
    pub fn new(config: &ModelConfig) -> Self {
        Self {
            config: config.clone(),
            table: Mutex::new(None),
        }
    }

    /// Tables holding at least the positions `0..positions`.
    pub fn table(&self, positions: usize) -> Arc<Rotation> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // With dynamic scaling the frequencies depend on the length, so a table serves one length only.
        let exact = matches!(self.config.rope_scaling, RopeScaling::Dynamic { .. })
            && positions > self.config.max_positions;
        if let Some((held, rotation)) = &*table
            && (*held == positions || (!exact && *held > positions && *held <= self.config.max_positions))
        {
            return Arc::clone(rotation);
        }
        let held = if exact {
            positions
        } else {
            positions
                .next_power_of_two()
                .min(self.config.max_positions)
                .max(positions)
        };
        let rotation = Arc::new(tabulate(&self.config, held));
        *table = Some((held, Arc::clone(&rotation)));
        rotation
    }
}

fn tabulate(config: &ModelConfig, positions: usize) -> Rotation {
    let (frequencies, magnitude) = frequencies(config, positions);
    let mut rotation = Rotation::default();
    for position in 0..positions {
        for frequency in &frequencies {
            let angle = position as f32 * frequency;
            rotation.cos.push(angle.cos() * magnitude);
            rotation.sin.push(angle.sin() * magnitude);
        }
    }
    rotation
}

/// The head_dim/2 frequencies for texts of `length` tokens, and the factor on cos and sin.
fn frequencies(config: &ModelConfig, length: usize) -> (Vec<f32>, f32) {
    let dim = config.head_dim as f64;
    let at_base = |base: f64| -> Vec<f64> {
        (0..config.head_dim / 2)
            .map(|i| base.powf(-2.0 * i as f64 / dim))
            .collect()
    };
    let plain = at_base(config.rope_theta);
    let as_f32 = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<_>>();
    match config.rope_scaling {
        RopeScaling::Default => (as_f32(plain), 1.0),
        RopeScaling::Linear { factor } => (as_f32(plain.iter().map(|f| f / factor).collect()), 1.0),
        RopeScaling::Dynamic { factor } => {
            let trained = config.max_positions as f64;
            let length = (length as f64).max(trained);
            let base =
                config.rope_theta * (factor * length / trained - (factor - 1.0)).powf(dim / (dim - 2.0));
            (as_f32(at_base(base)), 1.0)
        }
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor: low,
            high_frequency_factor: high,
            original_context,
        } => {
            let original = original_context as f64;
            let stretch = |frequency: f64| {
                let wavelength = 2.0 * std::f64::consts::PI / frequency;
                if wavelength < original / high {
                    frequency
                } else if wavelength > original / low {
                    frequency / factor
                } else {
                    let smooth = (original / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            };
            (as_f32(plain.into_iter().map(stretch).collect()), 1.0)
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_context,
            attention_factor,
            truncate,
        } => {
            let turns_at = |rotations: f64| {
                dim * (original_context as f64 / (rotations * 2.0 * std::f64::consts::PI)).ln()
                    / (2.0 * config.rope_theta.ln())
            };
            let (mut low, mut high) = (turns_at(beta_fast), turns_at(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            (low, high) = (low.max(0.0), high.min(dim - 1.0));
            if low == high {
                high += 0.001;
            }
            let blend = |(i, frequency): (usize, f64)| {
                let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                frequency / factor * ramp + frequency * (1.0 - ramp)
            };
            (
                as_f32(plain.into_iter().enumerate().map(blend).collect()),
                attention_factor as f32,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LlamaSizes;

    /// Frequencies computed by `goldens/make_rotary.py` with transformers' ROPE_INIT_FUNCTIONS.
    #[test]
    fn frequencies_equal_those_of_transformers() {
        let goldens: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../goldens/rotary.json")).unwrap();
        assert!(goldens.len() >= 6);
        for golden in goldens {
            let config = ModelConfig::parse(golden["config"].to_string().as_bytes(), "golden").unwrap();
            let length = golden["length"].as_u64().unwrap() as usize;
            let (got, magnitude) = frequencies(&config, length);
            let expected = golden["frequencies"].as_array().unwrap();
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(expected) {
                let expected = expected.as_f64().unwrap();
                assert!(
                    (f64::from(*got) - expected).abs() <= 3e-6 * expected.abs(),
                    "{golden}: {got} != {expected}"
                );
            }
            let expected = golden["attention_factor"].as_f64().unwrap();
            assert!((f64::from(magnitude) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_table_grows_and_is_then_reused() {
        let sizes = LlamaSizes {
            hidden_size: 32,
            intermediate_size: 64,
            layers: 1,
            heads: 4,
            kv_heads: 2,
            vocab_size: 16,
            max_positions: 100,
            rope_theta: 1e4,
            tied_head: true,
            bos: None,
            eos: None,
        };
        let rotary = Rotary::new(&ModelConfig::llama(sizes));
        let table = rotary.table(10);
        assert_eq!(table.cos.len(), 16 * 4);
        assert!(Arc::ptr_eq(&table, &rotary.table(12)));
        assert_eq!(rotary.table(90).cos.len(), 100 * 4);
        assert_eq!(rotary.table(150).cos.len(), 150 * 4);
    }
}
