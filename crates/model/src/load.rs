//! Loading a Hugging Face directory, local or remote.

use tributary_tensorfile::{Checkpoint, Directory};

use crate::config::{Family, ModelConfig};
use crate::decoder::Decoder;
use crate::device::Device;
use crate::error::{ModelError, Result};
use crate::weights::{ParameterSpec, Weights, specs};

/// Largest `config.json` accepted, in bytes.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// The head of a model whose head is not the embedding.
const HEAD: &str = "lm_head.weight";

/// Reads and checks `config.json`.
///
/// # Errors
/// [`ModelError::Config`] if it is missing or wrong, [`ModelError::Files`] if it cannot be read.
pub fn load_config(directory: &dyn Directory) -> Result<ModelConfig> {
    let place = format!("{}/config.json", directory.describe());
    match directory.read_small("config.json", MAX_CONFIG_BYTES)? {
        Some(json) => ModelConfig::parse(&json, &place),
        None => Err(ModelError::Config {
            place,
            reason: "no such file: a model directory has config.json beside its safetensors".into(),
        }),
    }
}

/// Where a parameter is stored.
struct Stored {
    name: String,
    shape: Vec<usize>,
    /// Which of the tensor's equal parts it is, of how many.
    part: (usize, usize),
    /// Are its rows divided by their norms before use?
    is_normalised: bool,
}

impl Stored {
    fn of(config: &ModelConfig, spec: &ParameterSpec) -> Self {
        let whole = Self {
            name: spec.name.clone(),
            shape: spec.shape.clone(),
            part: (0, 1),
            is_normalised: false,
        };
        if config.family != Family::Baichuan2 {
            return whole;
        }
        if spec.name == HEAD {
            return Self {
                is_normalised: true,
                ..whole
            };
        }
        let part = ["q_proj", "k_proj", "v_proj"]
            .iter()
            .position(|part| spec.name.contains(part));
        match (part, spec.name.rsplit_once(".self_attn.")) {
            (Some(part), Some((layer, _))) => Self {
                name: format!("{layer}.self_attn.W_pack.weight"),
                shape: vec![3 * spec.shape[0], spec.shape[1]],
                part: (part, 3),
                is_normalised: false,
            },
            _ => whole,
        }
    }

    /// The parameter, of the tensor's values.
    fn values(&self, tensor: &[f32]) -> Vec<f32> {
        let (part, of) = self.part;
        let len = tensor.len() / of;
        let mut values = tensor[part * len..(part + 1) * len].to_vec();
        if self.is_normalised {
            let width = self.shape.last().copied().unwrap_or(1).max(1);
            for row in values.chunks_mut(width) {
                // As torch's `normalize` does it.
                let norm = row
                    .iter()
                    .map(|value| f64::from(*value).powi(2))
                    .sum::<f64>()
                    .sqrt()
                    .max(1e-12);
                row.iter_mut()
                    .for_each(|value| *value = (f64::from(*value) / norm) as f32);
            }
        }
        values
    }
}

/// Checks from headers alone that the tensors are those of the configuration.
///
/// # Errors
/// [`ModelError::Tensors`] with every fault.
pub fn check_tensors(config: &ModelConfig, checkpoint: &Checkpoint, place: &str) -> Result<()> {
    let mut faults: Vec<String> = specs(config)
        .iter()
        .filter_map(|spec| {
            let stored = Stored::of(config, spec);
            match checkpoint.get(&stored.name) {
                None => Some(format!("{} is missing", stored.name)),
                Some(tensor) if tensor.shape != stored.shape => Some(format!(
                    "{} has shape {:?}, expected {:?}",
                    stored.name, tensor.shape, stored.shape
                )),
                Some(tensor) if !tensor.dtype.is_float() => Some(format!(
                    "{} holds {}, expected floating-point values",
                    stored.name,
                    tensor.dtype.name()
                )),
                Some(_) => None,
            }
        })
        .collect();
    // Parts of one tensor have its faults each.
    faults.dedup();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ModelError::Tensors {
            place: place.to_owned(),
            faults,
        })
    }
}

impl Decoder {
    /// Loads the model in `directory` onto `device`.
    ///
    /// # Errors
    /// [`ModelError`] as the parts above.
    pub fn load(directory: &dyn Directory, device: Device) -> Result<Self> {
        let config = load_config(directory)?;
        let checkpoint = Checkpoint::open(directory)?;
        check_tensors(&config, &checkpoint, &directory.describe())?;
        // The tensor whose parts are being taken.
        let mut open: Option<(String, Vec<f32>)> = None;
        let weights = Weights::build(&config, &device.handle(), device.compute_dtype(), &mut |spec| {
            let stored = Stored::of(&config, spec);
            let Some(tensor) = checkpoint.get(&stored.name) else {
                return Err(ModelError::Input(format!("{} vanished", stored.name)));
            };
            if stored.part.1 == 1 && !stored.is_normalised {
                return Ok(checkpoint.read_f32(tensor)?);
            }
            let values = match open.take() {
                Some((name, values)) if name == stored.name => values,
                _ => checkpoint.read_f32(tensor)?,
            };
            let found = stored.values(&values);
            open = Some((stored.name, values));
            Ok(found)
        })?;
        let config = match config.family {
            Family::Baichuan2 => config.into_llama(),
            _ => config,
        };
        Ok(Self::new(config, device, weights))
    }
}
