//! Where tensors live, chosen at run time.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device as BurnDevice};

use crate::error::{ModelError, Result};

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
        let missing = |reason: String| ModelError::Device { device: text.to_owned(), reason };
        let gpus = gpu_count();
        match text {
            "cpu" => Ok(Self::Cpu),
            "auto" => Ok(if cfg!(feature = "cuda") && gpus > 0 { Self::Cuda(0) } else { Self::Cpu }),
            _ => {
                let index = match text.strip_prefix("cuda") {
                    Some("") => Some(0),
                    Some(rest) => rest.strip_prefix(':').and_then(|index| index.parse().ok()),
                    None => None,
                };
                let index: usize =
                    index.ok_or_else(|| missing("not a device; use `cpu`, `cuda:0` or `auto`".into()))?;
                if !cfg!(feature = "cuda") {
                    return Err(missing("this build has no CUDA; build with `--features cuda`".into()));
                }
                if index >= gpus {
                    return Err(missing(format!("this machine shows {gpus} NVIDIA GPU(s); use `cpu` or `auto`")));
                }
                Ok(Self::Cuda(index))
            }
        }
    }
}

/// NVIDIA GPUs the driver shows, without opening any: burn panics when asked for one that is not there.
fn gpu_count() -> usize {
    std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |gpus| gpus.count())
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
}
