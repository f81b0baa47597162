//! f16 to and from f32: by the processor's own instructions (F16C) where it has them, else in software.

use half::f16;

/// Values an instruction converts at once.
const LANES: usize = 8;

/// Reads little-endian f16 into f32; the lengths belong together.
pub(super) fn widen(source: &[u8], target: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("f16c") {
        #[expect(unsafe_code)]
        // SAFETY: the instruction set was just detected.
        unsafe {
            x86::widen(source, target);
        }
        return;
    }
    widen_in_software(source, target);
}

/// Writes f32 as little-endian f16; the lengths belong together.
pub(super) fn narrow(source: &[f32], target: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("f16c") {
        #[expect(unsafe_code)]
        // SAFETY: the instruction set was just detected.
        unsafe {
            x86::narrow(source, target);
        }
        return;
    }
    narrow_in_software(source, target);
}

fn widen_in_software(source: &[u8], target: &mut [f32]) {
    for (bytes, target) in source.as_chunks::<2>().0.iter().zip(target) {
        *target = f16::from_le_bytes(*bytes).to_f32();
    }
}

fn narrow_in_software(source: &[f32], target: &mut [u8]) {
    for (source, target) in source.iter().zip(target.as_chunks_mut::<2>().0) {
        *target = f16::from_f32(*source).to_le_bytes();
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _MM_FROUND_TO_NEAREST_INT, _mm_loadu_si128, _mm_storeu_si128, _mm256_cvtph_ps, _mm256_cvtps_ph,
        _mm256_loadu_ps, _mm256_storeu_ps,
    };

    use super::{LANES, narrow_in_software, widen_in_software};

    #[target_feature(enable = "f16c")]
    pub(super) fn widen(source: &[u8], target: &mut [f32]) {
        let (sources, source_rest) = source.as_chunks::<{ 2 * LANES }>();
        let (targets, target_rest) = target.as_chunks_mut::<LANES>();
        for (source, target) in sources.iter().zip(targets) {
            #[expect(unsafe_code)]
            // SAFETY: both arrays are as long as the unaligned load and store, 16 bytes and 8 floats.
            unsafe {
                let values = _mm256_cvtph_ps(_mm_loadu_si128(source.as_ptr().cast()));
                _mm256_storeu_ps(target.as_mut_ptr(), values);
            }
        }
        widen_in_software(source_rest, target_rest);
    }

    #[target_feature(enable = "f16c")]
    pub(super) fn narrow(source: &[f32], target: &mut [u8]) {
        let (sources, source_rest) = source.as_chunks::<LANES>();
        let (targets, target_rest) = target.as_chunks_mut::<{ 2 * LANES }>();
        for (source, target) in sources.iter().zip(targets) {
            #[expect(unsafe_code)]
            // SAFETY: both arrays are as long as the unaligned load and store, 8 floats and 16 bytes.
            unsafe {
                let values = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(source.as_ptr()));
                _mm_storeu_si128(target.as_mut_ptr().cast(), values);
            }
        }
        narrow_in_software(source_rest, target_rest);
    }
}
