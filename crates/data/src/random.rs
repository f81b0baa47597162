//! Random numbers without state: a value is a function of a key and a counter.
//!
//! Everything random in this crate (the order of an epoch, the little world of [`crate::synth`]) draws from here, so a
//! resumed run needs to remember only where it was, never a generator's state. The generator is SplitMix64 read at any
//! point of its sequence (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): the value at
//! counter `c` under key `k` is `mix(k + (c + 1) * GOLDEN)`. Changing anything here changes the order of every epoch and
//! every synthetic corpus; a test pins it.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A key for [`Draws`] from any number of words, such as (seed, epoch, purpose). Different words or a different number of
/// words give unrelated keys.
pub(crate) fn key(words: &[u64]) -> u64 {
    words.iter().fold(mix(words.len() as u64 ^ GOLDEN), |key, &word| {
        mix(key.wrapping_add(GOLDEN) ^ mix(word))
    })
}

/// A reader of the sequence under one key.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    key: u64,
    counter: u64,
}

impl Draws {
    /// The sequence under `key(words)`, from its beginning.
    pub(crate) fn new(words: &[u64]) -> Self {
        Self {
            key: key(words),
            counter: 0,
        }
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.counter += 1;
        mix(self.key.wrapping_add(self.counter.wrapping_mul(GOLDEN)))
    }

    /// A number in `0..bound`, each equally likely (Lemire's multiplication with rejection). `bound` 0 counts as 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `numerator` times out of `denominator`.
    pub(crate) fn chance(&mut self, numerator: usize, denominator: usize) -> bool {
        self.below(denominator) < numerator
    }

    /// Fisher–Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_pinned() {
        // SplitMix64 seeded with 0 starts with this value in every published implementation.
        assert_eq!(mix(GOLDEN), 0xE220_A839_7B1D_CDAF);
        let mut order: Vec<u32> = (0..10).collect();
        Draws::new(&[7, 3]).shuffle(&mut order);
        assert_eq!(order, [3, 4, 6, 9, 0, 1, 7, 8, 2, 5]);
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut draws = Draws::new(&[1]);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[draws.below(7)] += 1;
        }
        assert!(
            counts.iter().all(|&count| (9_500..10_500).contains(&count)),
            "{counts:?}"
        );
    }

    #[test]
    fn keys_differ_by_every_word() {
        let keys = [key(&[]), key(&[0]), key(&[0, 0]), key(&[1, 0]), key(&[0, 1])];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }
}
