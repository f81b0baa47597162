//! Learning-rate schedules as functions of the step alone, so that resuming needs no state.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Half a cosine down to the minimum (Loshchilov & Hutter 2017).
    #[default]
    Cosine,
    /// No decay.
    Constant,
    /// Constant, then linear to the minimum over the last part ("WSD", Hu et al. 2024).
    WarmupStableDecay,
}

/// A schedule over `steps` optimiser steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Peak learning rate.
    pub peak: f64,
    /// Minimum, as a share of the peak.
    pub minimum_ratio: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Share of all steps that [`Decay::WarmupStableDecay`] decays over.
    pub decay_ratio: f64,
    /// All steps.
    pub steps: u64,
    /// Shape after the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let minimum = self.peak * self.minimum_ratio;
        let share = |from: f64, to: f64| ((step as f64 - from) / (to - from).max(1.0)).clamp(0.0, 1.0);
        let (start, end) = (self.warmup_steps as f64, self.steps as f64);
        match self.decay {
            Decay::Constant => self.peak,
            Decay::Cosine => {
                let angle = std::f64::consts::PI * share(start, end);
                minimum + (self.peak - minimum) * 0.5 * (1.0 + angle.cos())
            }
            Decay::WarmupStableDecay => {
                let decay_start = (end - end * self.decay_ratio).max(start);
                self.peak - (self.peak - minimum) * share(decay_start, end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> Schedule {
        Schedule {
            peak: 1.0,
            minimum_ratio: 0.1,
            warmup_steps: 10,
            decay_ratio: 0.2,
            steps: 110,
            decay,
        }
    }

    #[test]
    fn warm_up_is_linear_and_reaches_the_peak() {
        for decay in [Decay::Cosine, Decay::Constant, Decay::WarmupStableDecay] {
            assert_eq!(schedule(decay).rate(0), 0.1);
            assert_eq!(schedule(decay).rate(9), 1.0);
            assert_eq!(schedule(decay).rate(10), 1.0);
        }
    }

    #[test]
    fn each_shape_ends_where_it_should() {
        assert!((schedule(Decay::Cosine).rate(60) - 0.55).abs() < 1e-12);
        assert!((schedule(Decay::Cosine).rate(110) - 0.1).abs() < 1e-12);
        assert_eq!(schedule(Decay::Constant).rate(109), 1.0);
        assert_eq!(schedule(Decay::WarmupStableDecay).rate(87), 1.0);
        assert!((schedule(Decay::WarmupStableDecay).rate(99) - 0.55).abs() < 1e-12);
        assert!((schedule(Decay::WarmupStableDecay).rate(110) - 0.1).abs() < 1e-12);
    }
}
