//! Calibration: do predictions of probability p come true in a share p of the cases?
//!
//! [0, 1] is cut into M bins of equal width, the last one closed. Of the N scored positions and K tokens of the vocabulary:
//!
//! * **ECE** looks at the most probable token of each position alone: `Σₘ |Bₘ|/N · |accuracy − confidence|`;
//! * **class-wise ECE** at every token of the vocabulary on its own: `1/K Σₖ Σₘ |Bₘₖ|/N · |Aₘₖ − Cₘₖ|`;
//! * **Full-ECE** (arXiv 2406.11345) at all of them together: `1/N Σₘ |Hₘ − Sₘ|`, Hₘ being how many of the tokens that came
//!   had a probability in bin m, Sₘ the probability mass of all predictions in it. It lies in [0, 2]; half of it is the mass
//!   that lies in the wrong bins. It is no proper score: a uniform prediction has 0 whatever comes.
//!
//! A fourth, **Full-ECE over bins of factors of two**, is Full-ECE with the bins of [`logarithmic`]: with bins of equal width nearly all
//! of a vocabulary lies in the first one, where any distribution of its mass among the tokens looks alike.
//!
//! At most M tokens of a position have a probability of 1/M or more, so only those are looked at one by one; what is in the
//! first bin follows from the sums being N. Standard errors come from leaving out one document after the other (jackknife), those of
//! class-wise ECE one of twenty groups of documents; the 95 % intervals of the others from drawing documents again.

mod class_wise;
mod documents;
mod logarithmic;
mod report;
mod sums;

pub(crate) use documents::DocumentSums;
pub(crate) use logarithmic::{LogRow, log_row};
pub use report::{Bin, Calibration};
pub(crate) use sums::CalibrationSums;
