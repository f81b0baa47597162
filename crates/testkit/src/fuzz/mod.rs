//! Fuzzing on stable Rust: changed copies of valid inputs, held to what reading anything must keep to.
//!
//! A [`Target`] gives valid inputs and reads any. [`run`] changes them ([`mutate`](self::mutate) knows bytes, numbers,
//! brackets and lines), reads what comes out, and keeps as new starting points the inputs that end in a way not seen
//! before: that stands in for coverage. Nothing may panic, take memory or time out of proportion, or speak of an error
//! as if it were this program's. A run is decided by its seed, and a failure prints the input, made small, and how to
//! read it again.

mod escape;
mod mutate;
mod outcome;
mod random;
mod run;
mod tokens;
mod watchdog;

pub use escape::{escaped, unescaped};
pub use mutate::Mutator;
pub use outcome::{MOST_TIME, Outcome, check};
pub use random::Random;
pub use run::{Target, run};
