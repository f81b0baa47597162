//! `cargo xtask gpu-check`: packs a CUDA build with a script that tries it on a GPU.
//!
//! The machine that builds has Rust and no GPU, the one that runs has a GPU, Python with torch and transformers, and
//! neither Rust nor a network. `target/gpu-check.tar.gz` is what goes from one to the other:
//!
//! ```text
//! tar xzf gpu-check.tar.gz && python3 gpu-check/run.py --out figures.json
//! ```
//!
//! With `--device` the script is run here as well, after packing: `cargo xtask gpu-check --device cpu --quick` proves it
//! without a GPU.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What [`gpu_check`] runs there.
const SCRIPT: &str = include_str!("../gpu_check/run.py");
/// Timings of PyTorch, which the script has its own of where this is not at hand.
const PEER: &str = "../shared/gpu/peer_baseline.py";

/// Builds, strips, packs; runs the script with `arguments` if there are any.
pub(crate) fn gpu_check(arguments: &[String]) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in the workspace")?;
    let build = ["build", "--release", "--locked", "--features", "cuda"];
    let targets = ["-p", "tributary-trib", "-p", "tributary-train", "--bins"];
    run(Command::new("cargo").current_dir(root).args(build).args(targets))?;
    // This program was built into the same folder.
    let program = std::env::current_exe()?;
    let built = program.parent().context("a program lies in a folder")?;

    let place = root.join("target");
    let packed = place.join("gpu-check");
    if packed.exists() {
        fs::remove_dir_all(&packed)?;
    }
    fs::create_dir_all(packed.join("bin"))?;
    for (from, name) in [(built.join("trib"), "trib"), (built.join("speed"), "speed")] {
        let to = packed.join("bin").join(name);
        run(Command::new("strip").arg("-o").arg(&to).arg(&from))?;
        println!(
            "{name}: {} MB, {} MB stripped",
            megabytes(&from)?,
            megabytes(&to)?
        );
    }
    fs::write(packed.join("run.py"), SCRIPT)?;
    let peer = root.join(PEER);
    if peer.exists() {
        fs::copy(peer, packed.join("peer_baseline.py"))?;
    } else {
        println!("{PEER} is not there: the script uses timings of its own");
    }
    let archive = place.join("gpu-check.tar.gz");
    run(Command::new("tar")
        .args(["--use-compress-program", "gzip -9", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&place)
        .arg("gpu-check"))?;
    println!("{}: {} MB", archive.display(), megabytes(&archive)?);

    if arguments.is_empty() {
        println!(
            "on the GPU machine: tar xzf gpu-check.tar.gz && python3 gpu-check/run.py --out figures.json"
        );
        return Ok(());
    }
    let python = std::env::var_os("TRIBUTARY_PYTHON").unwrap_or_else(|| "python3".into());
    run(Command::new(python).arg(packed.join("run.py")).args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed: {status}");
    }
    Ok(())
}

fn megabytes(file: &Path) -> Result<String> {
    let bytes = fs::metadata(file)
        .with_context(|| file.display().to_string())?
        .len();
    Ok(format!("{:.1}", bytes as f64 / 1e6))
}
