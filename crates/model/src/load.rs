//! Loading a Hugging Face directory, local or remote.

use tributary_tensorfile::{Checkpoint, Directory};

use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::device::Device;
use crate::error::{ModelError, Result};
use crate::weights::{Weights, specs};

/// Largest `config.json` accepted, in bytes.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

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

/// Checks from headers alone that the tensors are those of the configuration.
///
/// # Errors
/// [`ModelError::Tensors`] with every fault.
pub fn check_tensors(config: &ModelConfig, checkpoint: &Checkpoint, place: &str) -> Result<()> {
    let faults: Vec<String> = specs(config)
        .iter()
        .filter_map(|spec| match checkpoint.get(&spec.name) {
            None => Some(format!("{} is missing", spec.name)),
            Some(tensor) if tensor.shape != spec.shape => Some(format!(
                "{} has shape {:?}, expected {:?}",
                spec.name, tensor.shape, spec.shape
            )),
            Some(tensor) if !tensor.dtype.is_float() => Some(format!(
                "{} holds {}, expected floating-point values",
                spec.name,
                tensor.dtype.name()
            )),
            Some(_) => None,
        })
        .collect();
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
        let weights =
            Weights::build(
                &config,
                &device.handle(),
                device.compute_dtype(),
                &mut |spec| match checkpoint.get(&spec.name) {
                    Some(tensor) => Ok(checkpoint.read_f32(tensor)?),
                    None => Err(ModelError::Input(format!("{} vanished", spec.name))),
                },
            )?;
        Ok(Self::new(config, device, weights))
    }
}
