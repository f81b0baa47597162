//! Formatting and lints; with the feature `cuda`, which is compiled here as far as a machine without a GPU can tell.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

/// Not one warning, in tests neither; and `--features cuda` compiles with nothing but what the lockfile names.
const LINTS: [&str; 11] = [
    "clippy",
    "--release",
    "--locked",
    "--workspace",
    "--bins",
    "--tests",
    "--features",
    "tributary-trib/cuda",
    "--",
    "-D",
    "warnings",
];

/// Holds the workspace to its format and lints.
pub(crate) fn lint() -> Result<()> {
    let started = Instant::now();
    for arguments in [&["fmt", "--all", "--check"][..], &LINTS] {
        if !Command::new("cargo").args(arguments).status()?.success() {
            bail!("cargo {} found something", arguments.join(" "));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("formatting and lints, with the feature `cuda`: fine (checked in {seconds:.0} s)");
    Ok(())
}
