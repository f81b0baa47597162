//! Blocks of quantised values to f32, in the order of operations of llama.cpp's reference code, so that the
//! result is the same to the bit as that of the `gguf` Python package.

use half::f16;

use super::file::QuantType;

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Expands one block of `kind` (`kind.block_bytes()` bytes) into `out` (`kind.block_len()` values).
pub(super) fn expand(kind: QuantType, block: &[u8], out: &mut [f32]) {
    match kind {
        QuantType::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
        QuantType::F16 => out[0] = half_at(block, 0),
        QuantType::BF16 => out[0] = f32::from_bits(u32::from(u16::from_le_bytes([block[0], block[1]])) << 16),
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

    /// Blocks and values made by `goldens/make_gguf.py` with the `gguf` package.
    #[test]
    fn blocks_expand_as_in_the_gguf_package() {
        let goldens: serde_json::Value = serde_json::from_str(include_str!("../../goldens/gguf.json")).unwrap();
        for kind in QuantType::ALL.into_iter().filter(|kind| kind.block_len() > 1) {
            let golden = &goldens[kind.name()];
            let numbers = |key: &str| golden[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect::<Vec<_>>();
            let bytes: Vec<u8> = numbers("blocks").into_iter().map(|byte| byte as u8).collect();
            let expected = numbers("bits");
            assert!(expected.len() >= 2 * kind.block_len());
            let mut out = vec![0.0; kind.block_len()];
            for (block, expected) in bytes.chunks(kind.block_bytes()).zip(expected.chunks(kind.block_len())) {
                expand(kind, block, &mut out);
                for (at, (got, bits)) in out.iter().zip(expected).enumerate() {
                    assert_eq!(u64::from(got.to_bits()), *bits, "{} value {at}", kind.name());
                }
            }
        }
    }
}
