//! Bayesian optimisation of merge weights (arXiv 2403.19390, Algorithm 1), and of any few numbers that decide a merge.
//!
//! Floor 4. [`Search`] is asked for a point and told its score ([`search`]); it stands on a Gaussian process ([`gaussian`]) over
//! a [`Space`] of intervals and simplices, and on what a point promises ([`acquisition`]). [`Blend`] makes the model of a
//! point out of models in memory; [`fisher_average`] and
//! [`regmean_average`] are other ways to mix them. Who evaluates, on what text, and what is published, is the jobs' business.

mod acquisition;
mod blend;
mod chance;
mod error;
mod fisher;
mod gaussian;
mod hedge;
mod polish;
mod regmean;
mod search;
mod space;

pub use acquisition::Acquisition;
pub use blend::Blend;
pub use error::{Result, SearchError};
pub use fisher::fisher_average;
pub use gaussian::{GaussianProcess, Posterior};
pub use regmean::regmean_average;
pub use search::{Proposal, Reason, Search, SearchOptions, Several, Strategy};
pub use space::{Block, Space};
