//! The rotary scaling of a GGUF model as the `rope_scaling` of a `config.json`.
//!
//! Linear and YaRN scaling stand in the metadata. Llama 3's does not: the file holds the divisor of every frequency
//! as the tensor `rope_freqs.weight`, from which the constants are found again.

use serde_json::{Value, json};

use super::file::Gguf;
use crate::error::{Result, TensorFileError, quoted};

/// What Llama 3.1 and its successors use: low and high frequency factor, and the context before stretching.
const LLAMA3: (f64, f64, f64) = (1.0, 4.0, 8192.0);

/// `rope_scaling` for rotary frequencies of base `theta` in heads of `head` values; null for none.
///
/// # Errors
/// [`TensorFileError::Unsupported`] for a scaling that `config.json` cannot say, or we do not know.
pub(super) fn scaling(file: &Gguf, theta: f64, head: usize) -> Result<Value> {
    let metadata = file.metadata();
    let unsupported = |reason: String| {
        Err(TensorFileError::Unsupported {
            file: file.name().to_owned(),
            reason,
        })
    };
    let kind = metadata.text("llama.rope.scaling.type").unwrap_or("none");
    // Older files have only `scale_linear`.
    let old = metadata.float("llama.rope.scale_linear");
    let factor = metadata.float("llama.rope.scaling.factor").or(old).unwrap_or(1.0);
    if let Some(divisors) = file.get("rope_freqs.weight") {
        let divisors = file.read_f32(divisors)?;
        return match llama3(&divisors, theta, head) {
            Some(scaling) => Ok(scaling),
            None => unsupported("a rope_freqs.weight that is not Llama 3's scaling".into()),
        };
    }
    match kind {
        _ if factor == 1.0 => Ok(Value::Null),
        "none" if old.is_none() => Ok(Value::Null),
        "none" | "linear" => Ok(json!({"rope_type": "linear", "factor": factor})),
        "yarn" => {
            let mut scaling = json!({"rope_type": "yarn", "factor": factor});
            if let Some(context) = metadata.size(file.name(), "llama.rope.scaling.original_context_length")? {
                scaling["original_max_position_embeddings"] = json!(context);
            }
            for (key, name) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
                if let Some(value) = metadata.float(&format!("llama.rope.scaling.{key}")) {
                    scaling[name] = json!(value);
                }
            }
            Ok(scaling)
        }
        other => unsupported(format!(
            "rotary scaling {}; read are none, linear, yarn and Llama 3's",
            quoted(other)
        )),
    }
}

/// Llama 3's scaling, if its divisors are these (to the precision of f32); null if all are 1.
fn llama3(divisors: &[f32], theta: f64, head: usize) -> Option<Value> {
    if divisors.len() != head / 2 {
        return None;
    }
    if divisors.iter().all(|divisor| *divisor == 1.0) {
        return Some(Value::Null);
    }
    let factor = f64::from(divisors.iter().copied().fold(1.0, f32::max));
    let (low, high, context) = LLAMA3;
    let agree = divisors.iter().enumerate().all(|(pair, divisor)| {
        let wavelength = std::f64::consts::TAU * theta.powf(2.0 * pair as f64 / head as f64);
        let smooth = ((context / wavelength - low) / (high - low)).clamp(0.0, 1.0);
        let expected = 1.0 / ((1.0 - smooth) / factor + smooth);
        (f64::from(*divisor) - expected).abs() <= 1e-3 * expected
    });
    agree.then(|| {
        json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": context as u64,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// llama.cpp's own way of writing the tensor, for Llama 3.1 8B.
    fn written(factor: f64, low: f64) -> Vec<f32> {
        let (high, context) = (4.0, 8192.0);
        let divisor = |pair: usize| {
            let wavelength = std::f64::consts::TAU * 500_000f64.powf(pair as f64 / 64.0);
            if wavelength < context / high {
                1.0
            } else if wavelength > context / low {
                factor
            } else {
                let smooth = (context / wavelength - low) / (high - low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        (0..64).map(|pair| divisor(pair) as f32).collect()
    }

    #[test]
    fn the_scaling_of_llama_3_is_found_again() {
        for factor in [8.0, 32.0] {
            let scaling = llama3(&written(factor, 1.0), 500_000.0, 128).unwrap();
            assert_eq!(scaling["factor"], json!(factor));
            assert_eq!(scaling["original_max_position_embeddings"], json!(8192));
        }
        assert_eq!(llama3(&[1.0; 64], 500_000.0, 128), Some(Value::Null));
        assert_eq!(llama3(&written(8.0, 1.5), 500_000.0, 128), None);
        assert_eq!(llama3(&written(8.0, 1.0), 10_000.0, 128), None);
        assert_eq!(llama3(&[], 10_000.0, 128), None);
    }
}
