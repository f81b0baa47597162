//! The merging methods: one file a method, to be read beside its formula.
//!
//! A method knows neither files nor formats. It says what it needs ([`Method::base`], [`Method::parameters`],
//! [`Method::first_pass`]) and, for one tensor, how the models combine ([`Method::rule`]); [`crate::engine`] moves
//! the blocks. To add a method: write its file and name it in [`registry`].

mod contract;
mod linear;
mod metagpt;
mod normalise;
mod place;
mod registry;
mod rule;
mod settings;
mod task_arithmetic;

pub use contract::{BaseUse, Default, FirstPass, Kind, Method, Parameter, Scope, Statistics};
pub use normalise::{effective_number, normalise, sum_in_any_order};
pub use place::TensorPlace;
pub(crate) use place::layer_of;
pub use registry::{METHODS, find};
pub use rule::{Chunk, Measure, Measured, Of, OnlyMeasure, Rule, Step, WeightedSum};
pub use settings::Settings;
