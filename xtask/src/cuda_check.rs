//! The feature `cuda`, compiled as far as a machine without a GPU can tell.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

/// Checks that `--features cuda` compiles, with nothing but what the lockfile names.
pub(crate) fn cuda_check() -> Result<()> {
    let started = Instant::now();
    let arguments = [
        "check",
        "--release",
        "--locked",
        "--features",
        "cuda",
        "-p",
        "tributary-trib",
    ];
    if !Command::new("cargo").args(arguments).status()?.success() {
        bail!(
            "the feature `cuda` does not compile (cargo {})",
            arguments.join(" ")
        );
    }
    println!(
        "the feature `cuda` compiles (checked in {:.0} s)",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
