//! `cargo xtask fuzz`: what `cargo xtask test` fuzzes for seconds, for as long as is wanted.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::USAGE;
use crate::test::cargo;

/// The test programs that hold the targets; each target is the test `fuzz::NAME` of one of them.
const PROGRAMS: [&str; 4] = ["--test", "untrusted", "--test", "formats"];
const TARGETS: [&str; 7] = [
    "safetensors",
    "index",
    "config",
    "tokenizer",
    "manifest",
    "document",
    "gguf",
];

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Options {
    /// All of them if none is named.
    target: Option<String>,
    seconds: u64,
    seed: u64,
    input: Option<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let mut options = Self {
            target: None,
            seconds: 300,
            seed: now.as_ref().map_or(0, Duration::as_secs),
            input: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--seconds" => options.seconds = value()?.parse().context("--seconds takes a number")?,
                "--seed" => options.seed = value()?.parse().context("--seed takes a number")?,
                "--input" => options.input = Some(value()?.clone()),
                name if TARGETS.contains(&name) => options.target = Some(name.to_owned()),
                _ => bail!("there is no target or option {argument:?}\n{USAGE}"),
            }
        }
        if options.input.is_some() && options.target.is_none() {
            bail!("--input is read by one target: name it\n{USAGE}");
        }
        Ok(options)
    }
}

/// Builds and runs the targets, two at a time; the exit status is theirs.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let test = options.target.as_deref().map(|name| format!("fuzz::{name}"));
    let mut command = cargo(&["test", "--release", "--workspace"]);
    command
        .args(PROGRAMS)
        .args(["--", "--nocapture", "--test-threads=2"]);
    match &test {
        Some(test) => command.args([test.as_str(), "--exact"]),
        None => command.arg("fuzz::"),
    };
    command
        .env("TRIBUTARY_FUZZ_SECONDS", options.seconds.to_string())
        .env("TRIBUTARY_FUZZ_SEED", options.seed.to_string());
    if let Some(input) = &options.input {
        // The tests run elsewhere.
        let input = std::fs::canonicalize(input).with_context(|| input.clone())?;
        command.env("TRIBUTARY_FUZZ_INPUT", input);
    }
    let status = command.status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
