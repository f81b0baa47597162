//! Developer commands: `cargo xtask test`, `cargo xtask fuzz`, `cargo xtask gpu-check`.

mod fuzz;
mod gpu_check;
mod junit;
mod limited;
mod lints;
mod python;
mod reference;
mod smollm2;
mod test;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask test [--no-downloads] [--install-nextest] [-- ARGUMENTS]
    Builds everything, runs every test, and says what was skipped and why.
    What the tests compare with is set up first, outside the clone, once: a Python with transformers, and SmolLM2.
      --no-downloads     use what is there; tests that need more are skipped
      --install-nextest  install cargo-nextest if it is not there (minutes); cargo test does without
      -- ARGUMENTS       for the test runner, for instance a name: only those tests

cargo xtask fuzz [TARGET] [--seconds N] [--seed S] [--input FILE]
    Changes good inputs and reads them, for 300 seconds a target; the tests do so for four. A failure prints its input.
    Targets: safetensors, index, config, tokenizer, manifest, document, gguf; all where none is named.
      --seconds N    for each target
      --seed S       the same seed makes the same inputs
      --input FILE   read this one input instead

cargo xtask gpu-check
    Packs a CUDA build with a script that checks and times it on a machine with a GPU.";

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "test" => test::run(&test::Options::parse(rest)?),
        Some((command, rest)) if command == "fuzz" => fuzz::run(&fuzz::Options::parse(rest)?),
        Some((command, rest)) if command == "gpu-check" => {
            gpu_check::gpu_check(rest)?;
            Ok(ExitCode::SUCCESS)
        }
        Some((command, _)) if ["help", "--help", "-h"].contains(&command.as_str()) => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Some((command, _)) => bail!("there is no command {command:?}\n{USAGE}"),
        None => bail!("say what to do\n{USAGE}"),
    }
}
