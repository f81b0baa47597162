//! CPU kernels over plain `f32` slices, row-major, knowing nothing of burn.
//!
//! They stand between the `gemm` crate (matrix products) and [`super::flex`], which hands them the
//! storage of burn's tensors. Invariants: every reduction has a fixed order, so results do not depend
//! on the number of threads; every loop over elements runs in [`simd::vectorised`].

pub mod attention;
pub mod loss;
pub mod matrix;
pub mod norm;
pub mod simd;
pub mod states;
pub mod sum;
pub mod swiglu;
