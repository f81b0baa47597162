//! The step loop: optimiser, schedules, checkpoints with exact resume.
//!
//! Floor 3: above `model` (what is trained), `data` (what it reads) and `store` (where checkpoints go). A [`Trainer`]
//! does steps; [`Session`] loops, saves and goes on; the job above says where everything comes from. Invariant: a
//! session killed anywhere and begun again ends with the bytes of one that was not.

mod error;
mod gradients;
mod metrics;
mod optimizer;
mod schedule;
mod session;
mod start;
mod state;
mod trainer;

pub use error::{Result, TrainError};
pub use gradients::GradientSum;
pub use metrics::{StepMetrics, from_json_lines, to_json_lines};
pub use optimizer::{AdamW, AdamWSettings, Moments};
pub use schedule::{Decay, Schedule};
pub use session::{Cadence, Follower, Provenance, STATE_KIND, Session};
pub use start::Start;
pub use state::{METRICS_FILE, OPTIMIZER_FILE, TRAINER_FILE, TrainerState};
pub use trainer::{Trainer, TrainerOptions};
