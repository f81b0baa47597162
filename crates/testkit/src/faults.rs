//! Which request meets which fault: drawn from a seed and the request's number.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What may befall one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// Not done; status 500.
    InternalError,
    /// Not done; status 503 `SlowDown`.
    SlowDown,
    /// Not done; the connection breaks.
    ResetBefore,
    /// Done, but the connection breaks instead of the answer: the outcome is unknown to the client.
    LostAnswer,
    /// Done, but the answer is status 500: looks like a failure.
    ErrorAfter,
    /// Done, late, and what it answers trickles.
    Slow,
    /// Done, but the answer's body breaks off in the middle.
    CutBody,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 7] = [
        Fault::InternalError,
        Fault::SlowDown,
        Fault::ResetBefore,
        Fault::LostAnswer,
        Fault::ErrorAfter,
        Fault::Slow,
        Fault::CutBody,
    ];
}

/// How often which faults happen.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// Another seed, another sequence.
    pub seed: u64,
    /// Requests of a thousand that meet a fault.
    pub per_mille: u64,
    /// The first so many requests meet none.
    pub after: u64,
    /// The faults, equally likely; none if empty.
    pub kinds: Vec<Fault>,
    /// How late a slow answer is, and how long it waits between pieces.
    pub delay: Duration,
}

impl FaultPlan {
    /// All kinds of faults, each equally likely.
    pub fn all(seed: u64, per_mille: u64) -> FaultPlan {
        FaultPlan {
            seed,
            per_mille,
            after: 0,
            kinds: Fault::ALL.to_vec(),
            delay: Duration::from_millis(2),
        }
    }

    /// Every request from number `after` on fails in one way: to its client the store is gone, or the client dies.
    pub fn from_then_on(kind: Fault, after: u64) -> FaultPlan {
        FaultPlan {
            after,
            ..FaultPlan::only(kind, 0, 1000)
        }
    }

    /// One kind only.
    pub fn only(kind: Fault, seed: u64, per_mille: u64) -> FaultPlan {
        FaultPlan {
            kinds: vec![kind],
            ..FaultPlan::all(seed, per_mille)
        }
    }
}

/// Draws faults and counts them; shared by all requests.
#[derive(Debug)]
pub struct FaultSource {
    plan: FaultPlan,
    active: AtomicBool,
    drawn: AtomicU64,
    counts: [AtomicU64; Fault::ALL.len()],
}

impl FaultSource {
    /// Active from the start.
    pub fn new(plan: FaultPlan) -> FaultSource {
        FaultSource {
            plan,
            active: AtomicBool::new(true),
            drawn: AtomicU64::new(0),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Stops or resumes the faults, for the calm before and after.
    pub fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::SeqCst);
    }

    /// How often `fault` has happened.
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts[fault as usize].load(Ordering::SeqCst)
    }

    /// How often any fault has happened.
    pub fn total(&self) -> u64 {
        Fault::ALL.iter().map(|fault| self.count(*fault)).sum()
    }

    pub(crate) fn delay(&self) -> Duration {
        self.plan.delay
    }

    /// The fate of the next request.
    pub(crate) fn draw(&self) -> Option<Fault> {
        if !self.active.load(Ordering::SeqCst) || self.plan.kinds.is_empty() {
            return None;
        }
        let number = self.drawn.fetch_add(1, Ordering::SeqCst);
        if number < self.plan.after {
            return None;
        }
        let random = mix(self.plan.seed ^ mix(number));
        if random % 1000 >= self.plan.per_mille {
            return None;
        }
        let fault = self.plan.kinds[((random >> 32) % self.plan.kinds.len() as u64) as usize];
        self.counts[fault as usize].fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }
}

/// SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
