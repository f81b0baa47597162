//! Toy jobs, and a place to run them.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "every test file uses some of these"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod jobs;
mod playground;

pub use jobs::*;
pub use playground::*;
