//! Random numbers that depend on what they are for, not on when they are drawn: (seed, model, tensor, element).
//!
//! So a merge with dropped elements is the same for any number of threads, block size and shard layout, and a model keeps its
//! mask when others are added after it.

/// Uniform numbers for the elements of one tensor of one model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    key: u64,
}

impl Draw {
    pub(super) fn new(seed: u64, model: usize, tensor: &str) -> Draw {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(model as u64).to_le_bytes());
        hasher.update(tensor.as_bytes());
        let mut key = [0; 8];
        hasher.finalize_xof().fill(&mut key);
        Draw {
            key: u64::from_le_bytes(key),
        }
    }

    /// Uniform in [0, 1) with 24 bits.
    #[inline(always)]
    pub(super) fn uniform(self, element: usize) -> f32 {
        self.bits(element) as f32 * (1.0 / SCALE)
    }

    /// Is the uniform number below the chance? The bits are those of [`Self::uniform`].
    #[inline(always)]
    pub(super) fn keeps(self, element: usize, chance: Chance) -> bool {
        self.bits(element) < chance.0
    }

    /// 24 random bits.
    #[inline(always)]
    fn bits(self, element: usize) -> u32 {
        // SplitMix64, counted by the element.
        let mut z = self
            .key
            .wrapping_add((element as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as u32
    }
}

/// 2²⁴.
const SCALE: f32 = (1u32 << 24) as f32;

/// A probability as the number that 24 random bits must be below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chance(u32);

impl Chance {
    pub(super) fn of(probability: f32) -> Chance {
        // Scaling by a power of two is exact, and an integer is below x where it is below ⌈x⌉.
        Chance((probability * SCALE).ceil() as u32)
    }
}

/// The value, or 0 where it is dropped: by its bits, since a branch taken at random costs more than all else here.
#[inline(always)]
pub(super) fn kept(value: f32, keeps: bool) -> f32 {
    f32::from_bits(value.to_bits() & 0u32.wrapping_sub(u32::from(keeps)))
}

/// How what is kept makes up for what was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rescale {
    /// Not at all.
    No,
    /// Divided by the probability that it is kept, as in the papers: the expectation stays.
    Inverse,
    /// So that Σ|δ̂| = Σ|δ| in each tensor, as in mergekit.
    L1,
}

impl Rescale {
    /// The words for it in a document.
    pub(super) const WORDS: &'static [&'static str] = &["inverse", "l1", "none"];

    pub(super) fn from_word(word: Option<&str>) -> Rescale {
        match word {
            Some("l1") => Rescale::L1,
            Some("none") => Rescale::No,
            _ => Rescale::Inverse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chance_is_a_probability() {
        let draw = Draw::new(7, 1, "y");
        for probability in [0.0, 1e-9, 0.1, 0.25, 0.5, 0.7, 1.0 - f32::EPSILON, 1.0] {
            let chance = Chance::of(probability);
            for at in 0..10_000 {
                assert_eq!(
                    draw.keeps(at, chance),
                    draw.uniform(at) < probability,
                    "{probability}, {at}"
                );
            }
        }
        assert_eq!((kept(-3.5, true), kept(f32::NAN, false)), (-3.5, 0.0));
    }

    #[test]
    fn draws_are_uniform_and_of_their_own() {
        let draw = Draw::new(1, 0, "x");
        let count = 100_000;
        let mean: f64 =
            (0..count).map(|at| f64::from(draw.uniform(at))).sum::<f64>() / f64::from(count as u32);
        // Standard deviation of the mean: 1/√(12n) ≈ 0.0009.
        assert!((mean - 0.5).abs() < 0.004, "{mean}");
        let other = [Draw::new(2, 0, "x"), Draw::new(1, 1, "x"), Draw::new(1, 0, "y")];
        for other in other {
            let equal = (0..1000)
                .filter(|at| draw.uniform(*at) == other.uniform(*at))
                .count();
            assert!(equal < 5, "{equal}");
        }
    }
}
