//! How fast a stretch of work goes now, and when it will end.

use std::collections::VecDeque;

/// Seconds that "now" looks back on.
const WINDOW: f64 = 10.0;

/// Progress of one stretch over the last few seconds. What a resumed job skips over comes as one leap in the
/// beginning, so a mean over the whole stretch would be wrong for long.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Seconds since the stretch began, units done; at most one entry for each event, oldest first.
    samples: VecDeque<(f64, u64)>,
}

impl Pace {
    /// Takes note of `done` units after `seconds`.
    pub(crate) fn note(&mut self, seconds: f64, done: u64) {
        self.samples.push_back((seconds, done));
        while self.samples.len() > 2 && self.samples.get(1).is_some_and(|next| seconds - next.0 >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Units a second; none before there are two points.
    pub(crate) fn per_second(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let (seconds, done) = (last.0 - first.0, last.1.checked_sub(first.1)?);
        (seconds > 0.05).then(|| done as f64 / seconds)
    }

    /// Seconds until `total` units are done.
    pub(crate) fn left(&self, total: u64) -> Option<f64> {
        let rate = self.per_second().filter(|rate| *rate > 0.0)?;
        Some(total.saturating_sub(self.samples.back()?.1) as f64 / rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_decide() {
        let mut pace = Pace::default();
        assert_eq!(pace.per_second(), None);
        pace.note(0.0, 1_000_000);
        assert_eq!(pace.left(2_000_000), None);
        for tenth in 1..=1000 {
            // A hundred a second at first, then fifty.
            let seconds = f64::from(tenth) / 10.0;
            let done = if tenth <= 500 {
                10 * tenth
            } else {
                5000 + 5 * (tenth - 500)
            };
            pace.note(seconds, 1_000_000 + u64::from(done as u32));
            if tenth == 400 {
                assert!((pace.per_second().unwrap() - 100.0).abs() < 1e-9);
            }
        }
        assert!((pace.per_second().unwrap() - 50.0).abs() < 1e-9);
        assert!((pace.left(1_007_600).unwrap() - 2.0).abs() < 1e-9);
        assert!(pace.samples.len() < 110, "{}", pace.samples.len());
    }
}
