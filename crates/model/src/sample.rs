//! Choosing the next token from logits.

/// How to choose. Temperature 0 is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keep only this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the most likely tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Seed.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
        }
    }
}

/// The finaliser of SplitMix64 (Steele et al. 2014): a bijection of 64 bits that scatters well.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl SamplingOptions {
    /// The token chosen at `step`. The draw depends on (seed, step) alone.
    pub fn choose(&self, logits: &[f32], step: u64) -> u32 {
        if self.temperature <= 0.0 {
            return greedy(logits);
        }
        let mut candidates: Vec<(u32, f32)> = logits
            .iter()
            .enumerate()
            .map(|(id, &logit)| (id as u32, logit))
            .collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let keep = if self.top_k == 0 {
            candidates.len()
        } else {
            self.top_k.min(candidates.len())
        };
        if keep < candidates.len() {
            candidates.select_nth_unstable_by(keep, order);
            candidates.truncate(keep);
        }
        candidates.sort_unstable_by(order);
        let peak = candidates.first().map_or(0.0, |best| best.1);
        let weight = |logit: f32| f64::from((logit - peak) / self.temperature).exp();
        let total: f64 = candidates.iter().map(|(_, logit)| weight(*logit)).sum();
        if self.top_p < 1.0 {
            let mut reached = 0.0;
            let kept = candidates
                .iter()
                .position(|(_, logit)| {
                    reached += weight(*logit) / total;
                    reached >= f64::from(self.top_p)
                })
                .map_or(candidates.len(), |at| at + 1);
            candidates.truncate(kept.max(1));
        }
        let total: f64 = candidates.iter().map(|(_, logit)| weight(*logit)).sum();
        let draw = (mix(mix(self.seed) ^ step) >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = draw * total;
        for (id, logit) in &candidates {
            left -= weight(*logit);
            if left < 0.0 {
                return *id;
            }
        }
        candidates.last().map_or(0, |last| last.0)
    }
}

/// The index of the largest logit, the first of equals.
fn greedy(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(SamplingOptions::default().choose(&[0.1, 3.0, 3.0, -1.0], 0), 1);
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_cuts() {
        let logits = [1.0f32.ln(), 2.0f32.ln(), 5.0f32.ln(), 2.0f32.ln()];
        let counts = |options: SamplingOptions| {
            let mut counts = [0usize; 4];
            (0..20_000).for_each(|step| counts[options.choose(&logits, step) as usize] += 1);
            counts
        };
        let all = counts(SamplingOptions {
            temperature: 1.0,
            ..Default::default()
        });
        for (count, share) in all.iter().zip([0.1, 0.2, 0.5, 0.2]) {
            assert!((*count as f64 / 20_000.0 - share).abs() < 0.02, "{all:?}");
        }
        let two = counts(SamplingOptions {
            temperature: 1.0,
            top_k: 2,
            ..Default::default()
        });
        assert_eq!((two[0], two[3]), (0, 0));
        let nucleus = counts(SamplingOptions {
            temperature: 1.0,
            top_p: 0.6,
            ..Default::default()
        });
        assert_eq!((nucleus[0], nucleus[3]), (0, 0));
        assert!(nucleus[1] > 0);
    }

    #[test]
    fn a_seed_fixes_every_draw() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let options = SamplingOptions {
            temperature: 0.8,
            top_k: 20,
            top_p: 0.9,
            seed: 3,
        };
        let first: Vec<u32> = (0..100).map(|step| options.choose(&logits, step)).collect();
        let second: Vec<u32> = (0..100).map(|step| options.choose(&logits, step)).collect();
        assert_eq!(first, second);
    }
}
