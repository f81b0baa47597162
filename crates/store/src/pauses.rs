//! How often and how long a request is repeated: at most [`TRIES`] times within [`BUDGET`], with growing pauses.

use std::time::{Duration, Instant};

use crate::lock::nonce;

/// Most times one request is tried.
pub(crate) const TRIES: usize = 10;
/// Longest time after the first try at which another is begun.
pub(crate) const BUDGET: Duration = Duration::from_secs(180);
/// Pauses between tries.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The pauses between tries: exponential with jitter, bounded in number and in time.
pub(crate) struct Pauses {
    start: Instant,
    tries: usize,
    pause: Duration,
}

impl Pauses {
    pub(crate) fn new(first: Duration) -> Pauses {
        Pauses {
            start: Instant::now(),
            tries: 1,
            pause: first,
        }
    }

    /// How long to wait before the next try; `None` if there should be none.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        if self.tries >= TRIES || self.start.elapsed() > BUDGET {
            return None;
        }
        self.tries += 1;
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        // Between half and all of it, so that writers who collided once do not collide again.
        let jitter = (nonce() % 1000) as u32;
        Some(pause / 2 + pause / 2000 * jitter)
    }
}
