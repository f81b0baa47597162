//! Floating-point elements to and from f32, at the speed of memory.
//!
//! Rounding is to nearest, ties to even; NaN stays NaN. The loops are written so that LLVM vectorises
//! them, and run compiled for the best instruction set of the machine; every set gives the same bits.

mod f16;

use crate::dtype::DType;
use crate::error::{Result, TensorFileError};

/// Reads `source`, little-endian elements of `dtype`, into `target`.
///
/// # Errors
/// [`TensorFileError::Convert`] if `dtype` is not a float of 16 bits or more, or the lengths disagree.
pub fn to_f32(dtype: DType, source: &[u8], target: &mut [f32]) -> Result<()> {
    check(dtype, source.len(), target.len())?;
    match dtype {
        DType::F32 => bytemuck::cast_slice_mut::<f32, u8>(target).copy_from_slice(source),
        DType::BF16 => vectorised(|| widen_bf16(source, target)),
        DType::F16 => f16::widen(source, target),
        _ => vectorised(|| narrow_f64(source, target)),
    }
    Ok(())
}

/// Writes `source` as little-endian elements of `dtype` into `target`, rounding once.
///
/// # Errors
/// As [`to_f32`].
pub fn from_f32(dtype: DType, source: &[f32], target: &mut [u8]) -> Result<()> {
    check(dtype, target.len(), source.len())?;
    match dtype {
        DType::F32 => target.copy_from_slice(bytemuck::cast_slice(source)),
        DType::BF16 => vectorised(|| narrow_bf16(source, target)),
        DType::F16 => f16::narrow(source, target),
        _ => vectorised(|| widen_f64(source, target)),
    }
    Ok(())
}

fn check(dtype: DType, bytes: usize, elements: usize) -> Result<()> {
    let fault = |reason: String| {
        Err(TensorFileError::Convert {
            dtype: dtype.name(),
            reason,
        })
    };
    if !dtype.is_float() {
        return fault("only F64, F32, F16 and BF16 hold values this program computes with".into());
    }
    if elements.checked_mul(dtype.size()) != Some(bytes) {
        return fault(format!(
            "{bytes} bytes are not {elements} elements of {} bytes",
            dtype.size()
        ));
    }
    Ok(())
}

#[inline(always)]
fn widen_bf16(source: &[u8], target: &mut [f32]) {
    for (bytes, target) in source.as_chunks::<2>().0.iter().zip(target) {
        *target = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

#[inline(always)]
fn narrow_bf16(source: &[f32], target: &mut [u8]) {
    for (source, target) in source.iter().zip(target.as_chunks_mut::<2>().0) {
        *target = round_to_bf16(*source).to_le_bytes();
    }
}

#[inline(always)]
fn narrow_f64(source: &[u8], target: &mut [f32]) {
    for (bytes, target) in source.as_chunks::<8>().0.iter().zip(target) {
        *target = f64::from_le_bytes(*bytes) as f32;
    }
}

#[inline(always)]
fn widen_f64(source: &[f32], target: &mut [u8]) {
    for (source, target) in source.iter().zip(target.as_chunks_mut::<8>().0) {
        *target = f64::from(*source).to_le_bytes();
    }
}

/// The bits of the bf16 nearest to `value`, ties to even; a NaN keeps its sign and is made quiet.
#[inline(always)]
pub fn round_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x40;
    (if value.is_nan() { nan } else { rounded }) as u16
}

/// Runs `body`, inlined, compiled for AVX-512 or AVX2 where the machine has them.
#[cfg(target_arch = "x86_64")]
fn vectorised(body: impl FnOnce()) {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn wide(body: impl FnOnce()) {
        body();
    }
    #[target_feature(enable = "avx2")]
    fn half_wide(body: impl FnOnce()) {
        body();
    }
    if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") {
        #[expect(unsafe_code)]
        // SAFETY: the instruction set was just detected.
        unsafe {
            wide(body)
        }
    } else if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code)]
        // SAFETY: the instruction set was just detected.
        unsafe {
            half_wide(body)
        }
    } else {
        body();
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectorised(body: impl FnOnce()) {
    body();
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn every_bf16_survives_the_round_trip() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut values = vec![0.0; 1 << 16];
        to_f32(DType::BF16, &bytes, &mut values).unwrap();
        let mut back = vec![0; bytes.len()];
        from_f32(DType::BF16, &values, &mut back).unwrap();
        for (at, value) in values.iter().enumerate() {
            let got = u16::from_le_bytes([back[2 * at], back[2 * at + 1]]);
            let expected = f32::from(bf16::from_bits(at as u16));
            assert!(expected.to_bits() == value.to_bits() || (expected.is_nan() && value.is_nan()));
            assert!(
                got == at as u16 || (value.is_nan() && bf16::from_bits(got).is_nan()),
                "{at:#x}"
            );
        }
    }

    #[test]
    fn every_f16_survives_the_round_trip() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut values = vec![0.0; 1 << 16];
        to_f32(DType::F16, &bytes, &mut values).unwrap();
        let mut back = vec![0; bytes.len()];
        from_f32(DType::F16, &values, &mut back).unwrap();
        for (at, value) in values.iter().enumerate() {
            let got = u16::from_le_bytes([back[2 * at], back[2 * at + 1]]);
            let expected = f16::from_bits(at as u16).to_f32_const();
            assert!(
                expected.to_bits() == value.to_bits() || (expected.is_nan() && value.is_nan()),
                "{at:#x}"
            );
            assert!(
                got == at as u16 || (value.is_nan() && f16::from_bits(got).is_nan()),
                "{at:#x}"
            );
        }
    }

    /// Every sign, exponent and upper mantissa, with lower mantissas around the rounding boundaries of both types.
    #[test]
    fn rounding_agrees_with_the_half_crate() {
        let mut values = Vec::new();
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                values.push(f32::from_bits((u32::from(high) << 16) | low));
            }
        }
        for dtype in [DType::BF16, DType::F16] {
            let mut bytes = vec![0; values.len() * 2];
            from_f32(dtype, &values, &mut bytes).unwrap();
            for (value, bytes) in values.iter().zip(bytes.as_chunks::<2>().0) {
                let got = u16::from_le_bytes(*bytes);
                let (expected, nan) = match dtype {
                    DType::BF16 => (bf16::from_f32(*value).to_bits(), bf16::from_bits(got).is_nan()),
                    _ => (
                        f16::from_f32_const(*value).to_bits(),
                        f16::from_bits(got).is_nan(),
                    ),
                };
                assert!(got == expected || (value.is_nan() && nan), "{dtype} {value:e}");
                assert!(
                    !nan || got >> 15 == (value.to_bits() >> 31) as u16,
                    "{dtype} lost the sign of a NaN"
                );
            }
        }
    }

    #[test]
    fn all_lengths_and_alignments_give_the_same_bits() {
        let values: Vec<f32> = (0..300).map(|at| (at as f32 - 149.3) * 1.7e-3).collect();
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            let mut whole = vec![0; values.len() * dtype.size()];
            from_f32(dtype, &values, &mut whole).unwrap();
            for length in (0..70).chain([255, 256, 257]) {
                let mut bytes = vec![0; length * dtype.size() + 1];
                from_f32(dtype, &values[..length], &mut bytes[1..]).unwrap();
                assert_eq!(bytes[1..], whole[..length * dtype.size()], "{dtype} x {length}");
                let mut back = vec![0.0; length];
                to_f32(dtype, &bytes[1..], &mut back).unwrap();
                for (value, back) in values.iter().zip(&back) {
                    assert!(
                        (value - back).abs() <= value.abs() / 256.0,
                        "{dtype} {value} {back}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_types_and_wrong_lengths_are_refused() {
        assert!(to_f32(DType::I32, &[0; 4], &mut [0.0]).is_err());
        assert!(to_f32(DType::F32, &[0; 5], &mut [0.0]).is_err());
        assert!(from_f32(DType::F8E4M3, &[0.0], &mut [0]).is_err());
        let mut wide = [0; 16];
        from_f32(DType::F64, &[1.5, -2.25], &mut wide).unwrap();
        let mut back = [0.0; 2];
        to_f32(DType::F64, &wide, &mut back).unwrap();
        assert_eq!(back, [1.5, -2.25]);
    }
}
