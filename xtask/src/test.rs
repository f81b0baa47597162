//! `cargo xtask test`: sets up what the tests compare with, builds everything once, runs every test, says what was
//! skipped. Its exit status is the tests'.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::junit::Summary;
use crate::lints::lint;
use crate::reference::Found;
use crate::{USAGE, python, smollm2};

/// The same selection for everything that cargo builds here: another one would have other features of the dependencies,
/// and would build half of them anew. Examples are left out; nothing runs them.
const SELECTION: [&str; 4] = ["--release", "--workspace", "--bins", "--tests"];

/// What the command line says.
#[derive(Debug, Default)]
pub(crate) struct Options {
    no_downloads: bool,
    install_nextest: bool,
    /// For the test runner.
    rest: Vec<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--no-downloads" => options.no_downloads = true,
                "--install-nextest" => options.install_nextest = true,
                "--" => options.rest = arguments.by_ref().cloned().collect(),
                _ => bail!("there is no option {argument:?}\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

/// What the tests run with.
struct Surroundings {
    /// `<target>`.
    target: PathBuf,
    /// Variable and value, or why it is not set.
    references: Vec<(&'static str, Found)>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    // `<target>/release/xtask`
    let target = env::current_exe()?
        .ancestors()
        .nth(2)
        .context("this program is outside a target directory")?
        .to_owned();
    // References are downloaded while the processor builds.
    let references = [python::reference(), smollm2::reference()].map(|reference| {
        let may_download = !options.no_downloads;
        (
            reference.variable,
            thread::spawn(move || reference.find(may_download)),
        )
    });
    let nextest = has_nextest(options)?;
    let built = cargo(&["build"]).args(SELECTION).status()?;
    stage("building", start.elapsed());
    if !built.success() {
        bail!("building failed");
    }
    let references = references.map(|(variable, made)| {
        (
            variable,
            made.join()
                .unwrap_or_else(|_| Err("setting it up panicked".to_owned())),
        )
    });
    let surroundings = Surroundings {
        target,
        references: references.into(),
    };
    stage("references", start.elapsed());
    let runner = if nextest { run_nextest } else { run_cargo_test };
    let (status, summary) = runner(&surroundings, &options.rest)?;
    stage("tests", start.elapsed());
    surroundings.report(&summary);
    if !status.success() {
        // Not 0, and a code where the tests have one.
        return Ok(status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from));
    }
    // Some tests, asked for by name, are all that is wanted.
    if options.rest.is_empty() {
        lint()?;
        stage("everything", start.elapsed());
    }
    Ok(ExitCode::SUCCESS)
}

fn stage(what: &str, elapsed: Duration) {
    println!("{what}: done after {}", clock(elapsed));
}

fn clock(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Is cargo-nextest there, installed now if that was asked for?
fn has_nextest(options: &Options) -> Result<bool> {
    let answers = || {
        cargo(&["nextest", "--version"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if answers() {
        return Ok(true);
    }
    if options.install_nextest {
        let status = cargo(&["install", "--locked", "cargo-nextest"]).status()?;
        if !status.success() {
            bail!("installing cargo-nextest failed");
        }
        return Ok(answers());
    }
    println!(
        "cargo-nextest is not installed (--install-nextest does that): using cargo test, one test at a time"
    );
    Ok(false)
}

impl Surroundings {
    fn apply(&self, command: &mut Command) {
        let program = self
            .target
            .join("release")
            .join(format!("trib{}", env::consts::EXE_SUFFIX));
        command.env("TRIBUTARY_TRIB", program).env("HF_HUB_OFFLINE", "1");
        // A Python that may keep what it compiled starts in a third of the time.
        command.env_remove("PYTHONDONTWRITEBYTECODE");
        for (variable, found) in &self.references {
            if let Ok(path) = found {
                command.env(variable, path);
            }
        }
    }

    fn report(&self, summary: &Summary) {
        println!();
        for (variable, found) in &self.references {
            match found {
                Ok(path) => println!("{variable}: {}", path.display()),
                Err(reason) => println!("{variable}: not set; {reason}"),
            }
        }
        if summary.skips.is_empty() {
            println!("no test skipped anything");
        } else {
            println!("skipped, as a whole or in part:");
        }
        for (test, reason) in &summary.skips {
            println!("  {test}: {reason}");
        }
        println!("{} tests ran, {} of them failed", summary.tests, summary.failed);
    }
}

fn run_nextest(surroundings: &Surroundings, rest: &[String]) -> Result<(ExitStatus, Summary)> {
    // Nextest's own folder lies in the workspace, wherever cargo's target directory is.
    let report = root().join("target/nextest/default/junit.xml");
    // An old report is no report of this run.
    let _ = std::fs::remove_file(&report);
    let mut command = cargo(&["nextest", "run"]);
    command.args(SELECTION).args(rest);
    surroundings.apply(&mut command);
    let status = command.status()?;
    let text = std::fs::read_to_string(&report)
        .with_context(|| format!("the tests left no {}", report.display()))?;
    Ok((status, Summary::of_junit(&text)))
}

fn run_cargo_test(surroundings: &Surroundings, rest: &[String]) -> Result<(ExitStatus, Summary)> {
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command
        .args(SELECTION)
        .args(["--", "--test-threads=1", "--show-output"])
        .args(rest);
    surroundings.apply(&mut command);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let (mut summary, mut test) = (Summary::default(), String::new());
    if let Some(words) = child.stdout.take() {
        for line in BufReader::new(words).lines() {
            let line = line?;
            println!("{line}");
            summary.read_cargo(&mut test, &line);
        }
    }
    Ok((child.wait()?, summary))
}
