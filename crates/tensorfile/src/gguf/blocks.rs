//! Blocks of quantised values to f32, in the order of operations of llama.cpp's reference code, so that the
//! result is the same to the bit as that of the `gguf` Python package.

use half::f16;

use super::kind::QuantType;
use crate::convert::to_f32;
use crate::error::Result;

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Expands whole blocks of `kind` into `values`.
///
/// # Errors
/// [`crate::TensorFileError::Convert`] if the lengths do not belong together.
pub(super) fn expand(kind: QuantType, bytes: &[u8], values: &mut [f32]) -> Result<()> {
    if let Some(dtype) = kind.float() {
        return to_f32(dtype, bytes, values);
    }
    for (values, block) in values
        .chunks_exact_mut(kind.block_len())
        .zip(bytes.chunks_exact(kind.block_bytes()))
    {
        expand_block(kind, block, values);
    }
    Ok(())
}

/// Expands one block of `kind` (`kind.block_bytes()` bytes) into `out` (`kind.block_len()` values).
fn expand_block(kind: QuantType, block: &[u8], out: &mut [f32]) {
    match kind {
        // Plain floats are converted in bulk.
        QuantType::F32 | QuantType::F16 | QuantType::BF16 => {}
        QuantType::Q8_0 => {
            let d = half_at(block, 0);
            for (out, q) in out.iter_mut().zip(&block[2..]) {
                *out = f32::from(*q as i8) * d;
            }
        }
        QuantType::Q4_0 => {
            let d = half_at(block, 0);
            nibbles(&block[2..18], |at, q| out[at] = (i32::from(q) - 8) as f32 * d);
        }
        QuantType::Q4_1 => {
            let (d, m) = (half_at(block, 0), half_at(block, 2));
            nibbles(&block[4..20], |at, q| out[at] = f32::from(q) * d + m);
        }
        QuantType::Q5_0 => {
            let d = half_at(block, 0);
            let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
            nibbles(&block[6..22], |at, q| {
                let q = i32::from(q) | (((high >> at) & 1) << 4) as i32;
                out[at] = (q - 16) as f32 * d;
            });
        }
        QuantType::Q5_1 => {
            let (d, m) = (half_at(block, 0), half_at(block, 2));
            let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
            nibbles(&block[8..24], |at, q| {
                let q = u32::from(q) | (((high >> at) & 1) << 4);
                out[at] = q as f32 * d + m;
            });
        }
        QuantType::Q4K => {
            let (d, dmin) = (half_at(block, 0), half_at(block, 2));
            for group in 0..8 {
                let (scale, minimum) = scale_and_minimum(&block[4..16], group);
                let (scale, minimum) = (d * scale, dmin * minimum);
                let bytes = &block[16 + 32 * (group / 2)..][..32];
                for (out, byte) in out[32 * group..][..32].iter_mut().zip(bytes) {
                    *out = scale * f32::from((byte >> (4 * (group % 2))) & 15) - minimum;
                }
            }
        }
        QuantType::Q5K => {
            let (d, dmin) = (half_at(block, 0), half_at(block, 2));
            for group in 0..8 {
                let (scale, minimum) = scale_and_minimum(&block[4..16], group);
                let (scale, minimum) = (d * scale, dmin * minimum);
                let bytes = &block[48 + 32 * (group / 2)..][..32];
                for ((out, byte), high) in out[32 * group..][..32].iter_mut().zip(bytes).zip(&block[16..48]) {
                    let q = ((byte >> (4 * (group % 2))) & 15) | (((high >> group) & 1) << 4);
                    *out = scale * f32::from(q) - minimum;
                }
            }
        }
        QuantType::Q6K => {
            let d = half_at(block, 208);
            for (at, out) in out.iter_mut().enumerate() {
                let (part, within) = (at / 128, at % 128);
                let (quarter, lane) = (within / 32, within % 32);
                let low = block[64 * part + 32 * (quarter % 2) + lane] >> (4 * (quarter / 2)) & 15;
                let high = block[128 + 32 * part + lane] >> (2 * quarter) & 3;
                let q = i32::from(low | (high << 4)) - 32;
                let scale = f32::from(block[192 + at / 16] as i8);
                *out = d * scale * q as f32;
            }
        }
    }
}

/// Calls `set(position, nibble)`: low nibbles of the 16 bytes first, then the high ones.
fn nibbles(bytes: &[u8], mut set: impl FnMut(usize, u8)) {
    for (at, byte) in bytes.iter().enumerate() {
        set(at, byte & 15);
        set(at + 16, byte >> 4);
    }
}

/// The 6-bit scale and minimum of a group of 32 values in the K formats' 12 packed bytes.
fn scale_and_minimum(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        (
            (packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4),
            (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4),
        )
    };
    (f32::from(scale), f32::from(minimum))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goldens() -> Vec<(QuantType, serde_json::Value)> {
        let goldens: serde_json::Value =
            serde_json::from_str(include_str!("../../goldens/gguf.json")).unwrap();
        let kinds = QuantType::ALL.into_iter().filter(|kind| kind.float().is_none());
        kinds.map(|kind| (kind, goldens[kind.name()].clone())).collect()
    }

    /// Blocks and values made by `goldens/make_gguf.py` with the `gguf` package.
    #[test]
    fn blocks_expand_as_in_the_gguf_package() {
        for (kind, golden) in goldens() {
            let numbers = |key: &str| -> Vec<u64> {
                golden[key]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|number| number.as_u64().unwrap())
                    .collect()
            };
            let bytes: Vec<u8> = numbers("blocks").into_iter().map(|byte| byte as u8).collect();
            let expected = numbers("bits");
            assert_eq!(expected.len(), 3 * kind.block_len());
            let mut values = vec![0.0; expected.len()];
            expand(kind, &bytes, &mut values).unwrap();
            for (at, (value, bits)) in values.iter().zip(expected).enumerate() {
                assert_eq!(u64::from(value.to_bits()), bits, "{} value {at}", kind.name());
            }
        }
    }

    /// The same with random bytes, as a digest: subnormal and negative scales, every nibble and high bit.
    #[test]
    fn random_blocks_expand_as_in_the_gguf_package() {
        for (kind, golden) in goldens() {
            let (number, scales): (u64, &[usize]) = match kind {
                QuantType::Q4_0 => (2, &[0]),
                QuantType::Q4_1 => (3, &[0, 2]),
                QuantType::Q5_0 => (6, &[0]),
                QuantType::Q5_1 => (7, &[0, 2]),
                QuantType::Q8_0 => (8, &[0]),
                QuantType::Q4K => (12, &[0, 2]),
                QuantType::Q5K => (13, &[0, 2]),
                _ => (14, &[208]),
            };
            let mut state = number;
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            let mut bytes: Vec<u8> = (0..64 * kind.block_bytes()).map(|_| next()).collect();
            for block in bytes.chunks_mut(kind.block_bytes()) {
                scales.iter().for_each(|at| block[at + 1] &= 0xBF);
            }
            let mut values = vec![0.0f32; 64 * kind.block_len()];
            expand(kind, &bytes, &mut values).unwrap();
            let digest = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .fold(0xCBF2_9CE4_8422_2325u64, |digest, byte| {
                    (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
                });
            assert_eq!(
                format!("{digest:016x}"),
                golden["digest_of_64"].as_str().unwrap(),
                "{}",
                kind.name()
            );
        }
    }
}
