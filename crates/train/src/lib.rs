//! The step loop: optimiser, schedules, checkpoints with exact resume.

mod error;
mod gradients;
mod optimizer;
mod schedule;

pub use error::{Result, TrainError};
pub use gradients::GradientSum;
pub use optimizer::{AdamW, AdamWSettings, Moments};
pub use schedule::{Decay, Schedule};
