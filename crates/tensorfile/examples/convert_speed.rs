//! How fast elements are converted, in bytes read and written a second, beside a plain copy of the same memory:
//! `cargo run --release -p tributary-tensorfile --example convert_speed`.
//!
//! Two sizes: blocks that stay in the cache, as a merge converts them, and whole tensors that do not.

use std::time::Instant;

use tributary_tensorfile::{DType, from_f32, to_f32};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for elements in [1 << 14, 1 << 26] {
        let values: Vec<f32> = (0..elements)
            .map(|at| (at % 2003) as f32 * 0.37 - 200.0)
            .collect();
        let mut back = vec![0.0f32; elements];
        let copied = seconds(elements, || {
            back.copy_from_slice(&values);
            Ok(())
        })?;
        report(elements, "copy f32", 8, copied);
        for dtype in [DType::BF16, DType::F16, DType::F64] {
            let mut bytes = vec![0; elements * dtype.size()];
            let moved = 4 + dtype.size();
            let narrow = seconds(elements, || from_f32(dtype, &values, &mut bytes))?;
            report(elements, &format!("f32 -> {dtype}"), moved, narrow);
            let widen = seconds(elements, || to_f32(dtype, &bytes, &mut back))?;
            report(elements, &format!("{dtype} -> f32"), moved, widen);
        }
    }
    Ok(())
}

/// Best of many runs, of one.
fn seconds(
    elements: usize,
    mut run: impl FnMut() -> tributary_tensorfile::Result<()>,
) -> tributary_tensorfile::Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..((1 << 28) / elements).clamp(5, 2000) {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[expect(clippy::print_stdout, reason = "the table is the program's result")]
fn report(elements: usize, what: &str, bytes: usize, seconds: f64) {
    println!(
        "{elements:>9} elements  {what:<12} {:>7.1} GB/s",
        (elements * bytes) as f64 / seconds / 1e9
    );
}
