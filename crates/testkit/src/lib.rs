//! For tests: an S3 server in this process, faults for it and for object stores, tiny models, fuzzing.
//!
//! Beside the floors: it imports tensorfile only, and nothing but tests and benchmarks imports it. What it injects is
//! drawn from a seed, so a failing run can be repeated.

pub mod allocation;
pub mod faults;
pub mod faulty;
pub mod fuzz;
pub mod s3;
pub mod tiny_model;
