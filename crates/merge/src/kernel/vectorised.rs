//! Plain loops compiled for AVX-512, AVX2 or the baseline and chosen at run time.

use std::sync::OnceLock;

fn arch() -> pulp::Arch {
    static ARCH: OnceLock<pulp::Arch> = OnceLock::new();
    *ARCH.get_or_init(pulp::Arch::new)
}

/// Runs `body`, inlined into a function compiled for the best instruction set of this machine.
#[inline(always)]
pub(crate) fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    arch().dispatch(body)
}

/// Is a fused multiply-add one instruction inside [`vectorised`]? Elsewhere it would be a slow function.
pub(crate) fn fuses() -> bool {
    !matches!(arch(), pulp::Arch::Scalar)
}
