//! The weights a training begins with, readable again at any time.
//!
//! Distances from the start are measured tensor by tensor against this, so no second copy of the model is held.

use tributary_model::{ModelConfig, ModelError, ParameterSpec, initial_values};
use tributary_tensorfile::Checkpoint;

/// Where the first weights come from.
#[derive(Clone)]
pub enum Start {
    /// Drawn from a seed; see [`initial_values`].
    Random {
        /// The seed.
        seed: u64,
    },
    /// Those of a model.
    Model(Checkpoint),
}

impl Start {
    /// The first values of a parameter.
    ///
    /// # Errors
    /// The model lacks the parameter, or cannot be read.
    pub fn values(&self, config: &ModelConfig, spec: &ParameterSpec) -> Result<Vec<f32>, ModelError> {
        match self {
            Self::Random { seed } => Ok(initial_values(config, spec, *seed)),
            Self::Model(checkpoint) => {
                let tensor = checkpoint.get(&spec.name).ok_or_else(|| ModelError::Tensors {
                    place: checkpoint.place().to_owned(),
                    faults: vec![format!("{} is missing", spec.name)],
                })?;
                Ok(checkpoint.read_f32(tensor)?)
            }
        }
    }
}
