//! The merging methods: one file a method, to be read beside its formula.
//!
//! A method knows neither files nor formats. It says what it needs ([`Method::base`], [`Method::parameters`],
//! [`Method::first_pass`]) and, for one tensor, how the models combine ([`Method::rule`]); [`crate::engine`] moves
//! the blocks. To add a method: write its file and name it in [`registry`].

mod arcee_fusion;
mod breadcrumbs;
mod contract;
mod dare;
mod della;
mod draw;
mod karcher;
mod linear;
mod measured_sum;
mod metagpt;
mod model_stock;
mod multislerp;
mod nearswap;
mod normalise;
mod nuslerp;
mod passthrough;
mod place;
mod ram;
mod ranks;
mod registry;
mod rule;
mod sce;
mod settings;
mod shares;
mod slerp;
mod sparse;
mod sphere;
mod task_arithmetic;
mod ties;

pub use contract::{BaseUse, Default, FirstPass, Kind, Method, Parameter, Scope, Statistics};
pub use normalise::{effective_number, normalise, sum_in_any_order};
pub use place::TensorPlace;
pub(crate) use place::layer_of;
pub use registry::{METHODS, find};
pub use rule::{Chunk, Measure, Measured, Of, OnlyMeasure, Rule, Step, WeightedSum};
pub use settings::Settings;
