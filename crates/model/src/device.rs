//! Where tensors live, chosen at run time.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device as BurnDevice};

use crate::error::{ModelError, Result};
use crate::gpu;

/// A device that was found to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// All cores of this machine, f32.
    Cpu,
    /// A CUDA GPU by index.
    Cuda(usize),
}

impl Device {
    /// The handle burn wants.
    pub fn handle(self) -> BurnDevice {
        match self {
            Self::Cpu => BurnDevice::flex(),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => BurnDevice::cuda(index),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => BurnDevice::flex(),
        }
    }

    /// `cpu` or `cuda`: what results may depend on, whichever GPU it is.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda(_) => "cuda",
        }
    }

    /// Name of [`Self::compute_dtype`].
    pub fn precision(self) -> &'static str {
        match self {
            Self::Cpu => "float32",
            Self::Cuda(_) => "bfloat16",
        }
    }

    /// The type of weights and activations on this device: f32 on the CPU, bf16 on a GPU.
    pub fn compute_dtype(self) -> DType {
        match self {
            Self::Cpu => DType::F32,
            Self::Cuda(_) => DType::BF16,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(index) => write!(formatter, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = ModelError;

    /// `cpu`, `cuda`, `cuda:N`, or `auto`: the first GPU where there is one, else the CPU.
    fn from_str(text: &str) -> Result<Self> {
        let missing = |reason: String| ModelError::Device {
            device: text.to_owned(),
            reason,
        };
        match text {
            "cpu" => Ok(Self::Cpu),
            "auto" => Ok(match gpu::usable() {
                Ok(_) => Self::Cuda(0),
                Err(reason) => {
                    if gpu::is_shown() {
                        tracing::warn!("computing on the CPU although there is a GPU: {reason}");
                    }
                    Self::Cpu
                }
            }),
            _ => {
                let index = match text.strip_prefix("cuda") {
                    Some("") => Some(0),
                    Some(rest) => rest.strip_prefix(':').and_then(|index| index.parse().ok()),
                    None => None,
                };
                let index: usize =
                    index.ok_or_else(|| missing("not a device; use `cpu`, `cuda:0` or `auto`".into()))?;
                let count = gpu::usable().map_err(missing)?;
                if index >= count {
                    return Err(missing(format!(
                        "the NVIDIA driver gives {count} GPU(s), counted from 0 (after CUDA_VISIBLE_DEVICES)"
                    )));
                }
                Ok(Self::Cuda(index))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named() {
        assert_eq!("cpu".parse::<Device>().unwrap(), Device::Cpu);
        assert!("auto".parse::<Device>().is_ok());
        let error = "gpu0".parse::<Device>().unwrap_err().to_string();
        assert!(error.contains("use `cpu`"), "{error}");
    }

    /// Whatever this machine has: a GPU that is not there is an error that names it, never a panic.
    #[test]
    fn a_missing_gpu_is_an_error() {
        let error = "cuda:4096".parse::<Device>().unwrap_err().to_string();
        assert!(error.starts_with("device cuda:4096: "), "{error}");
        match gpu::usable() {
            Ok(count) => assert!(count > 0 && "cuda".parse::<Device>().unwrap() == Device::Cuda(0)),
            Err(reason) => {
                assert!(
                    "cuda"
                        .parse::<Device>()
                        .unwrap_err()
                        .to_string()
                        .contains(&reason)
                );
                assert_eq!("auto".parse::<Device>().unwrap(), Device::Cpu);
            }
        }
    }
}
