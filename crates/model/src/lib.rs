//! The decoder family in burn: configuration, forward pass, key-value cache, sampling, load and save.
//!
//! Floor 2. Below it: `tensorfile` (the bytes of tensors). Above it: `train` and `evaluate`, which turn
//! data into [`TokenBatch`]es. Text never gets here: ids in, ids and likelihoods out.

mod batch;
mod cache;
mod config;
mod decoder;
mod device;
mod error;
mod generate;
mod gpu;
pub mod kernel;
mod load;
mod rotary;
mod sample;
mod save;
mod tree;
mod weights;

pub use batch::TokenBatch;
pub use burn::tensor::{DType as TensorType, Tensor};
pub use cache::KeyValueCache;
pub use config::{Family, LlamaSizes, ModelConfig, RopeScaling};
pub use decoder::{Decoder, MatrixInput, host};
pub use device::Device;
pub use error::{ModelError, Result};
pub use generate::{Continuation, Finish, Generated, GenerationOptions, continue_all, generate};
pub use load::{check_tensors, load_config};
pub use rotary::Rotary;
pub use sample::{SamplingOptions, mix};
pub use save::save;
pub use tree::{Branch, Tree};
pub use weights::{LayerWeights, Parameter, ParameterSpec, Part, Weights, initial_values, specs};
