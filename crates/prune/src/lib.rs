//! Layers that a model can do without (ShortGPT, arXiv 2403.03853): which ones, what a closed-form correction gives back, and how
//! the model still writes.
//!
//! Floor 4. [`removals`] chooses on a calibration text, [`heal`] corrects a matrix where layers are gone, [`replace`] puts a small network
//! in a layer's place, [`health`] looks at
//! what the rest writes. Nothing here writes a file.

mod error;
mod heal;
mod health;
mod order;
mod regression;
mod replace;

pub use error::{PruneError, Result};
pub use heal::{Healed, heal};
pub use health::{Health, HealthOptions, health};
pub use order::{By, How, Removals, Rule, Text, blind, removals};
pub use replace::{Replaced, replace};
