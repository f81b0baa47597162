//! Plain loops compiled for AVX-512, AVX2 or the baseline and chosen at run time.

use std::sync::OnceLock;

/// Runs `body`, inlined into a function compiled for the best instruction set of this machine.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    ARCH.get_or_init(pulp::Arch::new).dispatch(body)
}
