//! Models of one architecture in memory, and the models between them: no file is written to look at a mixture.

use tributary_model::{Decoder, Device, ModelConfig, Parameter, Weights, kernel, specs};

use crate::error::{Result, SearchError};

/// Models that can be combined, on one device.
#[derive(Debug)]
pub struct Blend {
    config: ModelConfig,
    device: Device,
    models: Vec<Weights>,
    /// Group of every parameter, in the order of [`specs`].
    groups: Vec<usize>,
}

impl Blend {
    /// `models` with their names, whose layers fall into `groups` groups of consecutive ones; the embedding belongs to the first
    /// group, the last normalisation and the head to the last.
    ///
    /// # Errors
    /// [`SearchError::Unlike`] unless all have the same configuration; [`SearchError::Input`] without models, with more groups
    /// than layers, or with none.
    pub fn new(models: Vec<(String, Decoder)>, groups: usize) -> Result<Self> {
        let Some((first, decoder)) = models.first() else {
            return Err(SearchError::Input("there is no model".to_owned()));
        };
        let (config, device) = (decoder.config().clone(), decoder.device());
        if groups == 0 || groups > config.layers {
            let message = format!("{} layers do not fall into {groups} groups", config.layers);
            return Err(SearchError::Input(message));
        }
        for (name, other) in &models {
            if let Some(reason) = unlike(&config, other.config()) {
                return Err(SearchError::Unlike {
                    first: first.clone(),
                    second: name.clone(),
                    reason,
                });
            }
        }
        let group = |name: &str| match layer(name) {
            Some(layer) => layer * groups / config.layers,
            None if name.starts_with("model.embed_tokens") => 0,
            None => groups - 1,
        };
        Ok(Self {
            groups: specs(&config).iter().map(|spec| group(&spec.name)).collect(),
            device,
            models: models.into_iter().map(|(_, decoder)| decoder.weights).collect(),
            config,
        })
    }

    /// The configuration of all models.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device that they are on.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The models as they are; shares their storage.
    pub fn models(&self) -> Vec<Decoder> {
        let model = |weights: &Weights| Decoder::new(self.config.clone(), self.device, weights.clone());
        self.models.iter().map(model).collect()
    }

    /// Σ wₜ·θₜ, of each group with its own weights: `weights[group][model]`. Sums in `f64` and rounds once on the CPU, as
    /// merging to a file does.
    ///
    /// # Errors
    /// [`SearchError::Input`] unless every group has a weight for every model.
    pub fn make(&self, weights: &[Vec<f64>]) -> Result<Decoder> {
        let groups = self.groups.iter().max().map_or(0, |last| last + 1);
        if weights.len() != groups || weights.iter().any(|weights| weights.len() != self.models.len()) {
            let message = format!("{groups} groups need {} weights each", self.models.len());
            return Err(SearchError::Input(message));
        }
        // Cloning shares the tensors.
        let mut models = self.models.clone();
        let mut vectors: Vec<Vec<_>> = vec![Vec::new(); self.groups.len()];
        let mut matrices: Vec<Vec<_>> = vec![Vec::new(); self.groups.len()];
        for model in &mut models {
            let mut at = 0;
            model.visit(&mut |parameter| {
                match parameter {
                    Parameter::Vector(tensor) => vectors[at].push(tensor.clone()),
                    Parameter::Matrix(tensor) => matrices[at].push(tensor.clone()),
                }
                at += 1;
            });
        }
        let mut made = self.models[0].clone();
        let mut at = 0;
        made.visit(&mut |parameter| {
            let weights = &weights[self.groups[at]];
            match parameter {
                Parameter::Vector(tensor) => *tensor = kernel::weighted_sum(&vectors[at], weights),
                Parameter::Matrix(tensor) => *tensor = kernel::weighted_sum(&matrices[at], weights),
            }
            at += 1;
        });
        Ok(Decoder::new(self.config.clone(), self.device, made))
    }

    /// Σ ‖θₜ − θ₀‖² over all parameters, for each model.
    ///
    /// # Errors
    /// What reading from the device gives.
    pub fn squared_distances(&self) -> Result<Vec<f64>> {
        let mut sums = vec![0.0; self.models.len()];
        for at in 0..self.groups.len() {
            let first = self.models[0].values(at)?;
            for (sum, model) in sums.iter_mut().zip(&self.models).skip(1) {
                let values = model.values(at)?;
                let square = |(x, base): (&f32, &f32)| (f64::from(*x) - f64::from(*base)).powi(2);
                *sum += values.iter().zip(&first).map(square).sum::<f64>();
            }
        }
        Ok(sums)
    }
}

/// Number of a parameter's layer.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// What differs in two configurations beyond what generation wants to know.
fn unlike(a: &ModelConfig, b: &ModelConfig) -> Option<String> {
    if specs(a) != specs(b) {
        return Some("their tensors have other names or shapes".to_owned());
    }
    let differs = [
        ("family", a.family != b.family),
        ("number of heads", a.heads != b.heads || a.kv_heads != b.kv_heads),
        ("sliding window", a.sliding_window != b.sliding_window),
        ("rotary base", a.rope_theta != b.rope_theta),
        ("rotary scaling", a.rope_scaling != b.rope_scaling),
        ("normalisation epsilon", a.norm_epsilon != b.norm_epsilon),
    ];
    let (what, _) = differs.into_iter().find(|(_, differs)| *differs)?;
    Some(format!("their {what} differs"))
}

#[cfg(test)]
mod tests {
    use tributary_model::LlamaSizes;

    use super::*;

    fn config(heads: usize) -> ModelConfig {
        ModelConfig::llama(LlamaSizes {
            hidden_size: 16,
            intermediate_size: 24,
            layers: 4,
            heads,
            kv_heads: 2,
            vocab_size: 30,
            max_positions: 32,
            rope_theta: 1e4,
            tied_head: true,
            bos: None,
            eos: None,
        })
    }

    fn model(seed: u64) -> (String, Decoder) {
        (
            seed.to_string(),
            Decoder::init(config(4), Device::Cpu, seed).unwrap(),
        )
    }

    #[test]
    fn each_group_has_its_own_weights() {
        let blend = Blend::new(vec![model(1), model(2), model(3)], 2).unwrap();
        let weights = [vec![0.25, 0.25, 0.5], vec![0.0, 1.0, 0.0]];
        let made = blend.make(&weights).unwrap();
        for (at, spec) in specs(blend.config()).iter().enumerate() {
            let group =
                usize::from(layer(&spec.name).map_or(spec.name.contains("model.norm"), |layer| layer >= 2));
            let values: Vec<Vec<f32>> = blend
                .models
                .iter()
                .map(|model| model.values(at).unwrap())
                .collect();
            for (element, found) in made.weights.values(at).unwrap().iter().enumerate() {
                let parts = values.iter().zip(&weights[group]);
                let sum: f64 = parts
                    .map(|(values, weight)| f64::from(values[element]) * weight)
                    .sum();
                assert_eq!(*found, sum as f32, "{} {element}", spec.name);
            }
        }
    }

    #[test]
    fn models_that_differ_are_refused() {
        let other = Decoder::init(config(8), Device::Cpu, 1).unwrap();
        let error = Blend::new(vec![model(1), ("other".into(), other)], 1).unwrap_err();
        assert!(matches!(error, SearchError::Unlike { .. }), "{error}");
        assert!(Blend::new(vec![model(1)], 5).is_err());
        assert!(Blend::new(Vec::new(), 1).is_err());
        let blend = Blend::new(vec![model(1), model(2)], 1).unwrap();
        assert!(blend.make(&[vec![1.0]]).is_err());
        assert!(blend.squared_distances().unwrap()[1] > 0.0);
    }
}
