//! Developer commands: `cargo xtask test`, `cargo xtask gpu-check`.

mod cuda_check;
mod gpu_check;

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("test") => test(),
        Some("gpu-check") => gpu_check::gpu_check(&arguments[1..]),
        other => bail!("unknown command {other:?}; there are: test, gpu-check"),
    }
}

/// Runs every test and says which references were at hand.
fn test() -> Result<()> {
    let nextest = Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|out| out.status.success());
    let arguments: &[&str] = if nextest {
        &["nextest", "run", "--release", "--workspace", "--no-fail-fast"]
    } else {
        println!("cargo-nextest is not installed (`cargo install cargo-nextest`); using cargo test, one test at a time");
        &["test", "--release", "--workspace", "--no-fail-fast", "--", "--test-threads=1"]
    };
    let status = Command::new("cargo").args(arguments).status()?;
    let shared = Path::new("../shared").is_dir();
    let reference = |name: &str| if env::var_os(name).is_some() { "ran" } else { "skipped: the variable is not set" };
    println!("tests against ../shared: {}", if shared { "ran" } else { "skipped: the folder is not there" });
    println!("tests against a Python reference (TRIBUTARY_PYTHON): {}", reference("TRIBUTARY_PYTHON"));
    println!("tests on SmolLM2 (TRIBUTARY_SMOLLM2): {}", reference("TRIBUTARY_SMOLLM2"));
    if !status.success() {
        bail!("tests failed");
    }
    cuda_check::cuda_check()
}
