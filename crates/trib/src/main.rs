//! `trib`: arguments in, one verb run, its outcome on stdout, talk on stderr, an exit code that tells what to do.

mod disk;
mod exit;
mod interrupt;
mod machine;
mod merging;
mod model_place;
mod output;
mod pipeline_arguments;
mod progress;
mod report_page;
mod screen;
mod source_place;
mod verbs;

#[cfg(test)]
#[path = "../../pipeline/tests/toys/mod.rs"]
mod toys;

use std::ffi::OsStr;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::exit::Failure;

/// Trains, merges and evaluates language-model checkpoints; every artifact is verified, locally or in S3.
#[derive(Parser)]
#[command(
    name = "trib",
    version,
    max_term_width = 110,
    after_help = "`trib VERB --help` explains a verb and gives an example.\n\
                  Exit codes: 0 done, 1 bug, 2 usage, 65 bad data, 69 unavailable, 74 input or output, \
                  75 try again, 78 bad configuration."
)]
struct Arguments {
    /// Print the outcome as JSON on stdout, errors as JSON on stderr
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true, help_heading = "Global options")]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a pipeline: make every artifact that is not there yet
    Run(verbs::run::Options),
    /// Check a pipeline and show what a run would do, without doing it
    Plan(verbs::plan::Options),
    /// List the kinds of jobs, or the settings of one
    Jobs(verbs::jobs::Options),
    /// Print the JSON schema of pipeline documents, for editors
    Schema(verbs::schema::Options),
    /// Publish a GGUF file, a llama2.c checkpoint or a Hugging Face directory as an artifact
    Import(verbs::import::Options),
    /// Show what a model directory or artifact holds
    Inspect(verbs::inspect::Options),
    /// Read an artifact again and name every byte range that is wrong
    Verify(verbs::verify::Options),
    /// Merge models as a mergekit file says
    Merge(verbs::merge::Options),
    /// Compare two models: tensors, configuration, tokenizer
    Diff(verbs::diff::Options),
    /// Work with LoRA adapters
    #[command(subcommand)]
    Lora(verbs::lora::Verb),
    /// Score text under a model
    Evaluate(verbs::evaluate::Options),
    /// Compare two evaluations: paired differences with intervals
    Compare(verbs::compare::Options),
    /// Continue a text
    Generate(verbs::generate::Options),
    /// Look at this machine: processor, memory, GPU, disk, object storage
    Doctor(verbs::doctor::Options),
    /// Write the report of a pipeline's run, one HTML page
    Report(verbs::report::Options),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let json = arguments.json;
    if arguments.quiet {
        output::silence_talk();
    }
    if json {
        panic::set_hook(Box::new(|bug| {
            // If stderr is closed there is nobody left to tell.
            let _ = writeln!(
                std::io::stderr(),
                "{}",
                serde_json::json!({"bug": bug.to_string()})
            );
        }));
    }
    match panic::catch_unwind(AssertUnwindSafe(|| run(&arguments.verb, json))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(json),
        Err(_) => Failure::bug("this is a bug; please report it with the message above").report(json),
    }
}

fn run(verb: &Verb, json: bool) -> Result<(), Failure> {
    match verb {
        Verb::Run(options) => verbs::run::run(options, json),
        Verb::Plan(options) => verbs::plan::run(options, json),
        Verb::Jobs(options) => verbs::jobs::run(options, json),
        Verb::Schema(options) => verbs::schema::run(options),
        Verb::Import(options) => verbs::import::run(options, json),
        Verb::Inspect(options) => verbs::inspect::run(options, json),
        Verb::Verify(options) => verbs::verify::run(options, json),
        Verb::Merge(options) => verbs::merge::run(options, json),
        Verb::Diff(options) => verbs::diff::run(options, json),
        Verb::Lora(verb) => verbs::lora::run(verb, json),
        Verb::Evaluate(options) => verbs::evaluate::run(options, json),
        Verb::Compare(options) => verbs::compare::run(options, json),
        Verb::Generate(options) => verbs::generate::run(options, json),
        Verb::Doctor(options) => verbs::doctor::run(options, json),
        Verb::Report(options) => verbs::report::run(options, json),
    }
}

/// Arguments that do not parse, or a question for help, which is none.
fn refuse(error: &clap::Error) -> ExitCode {
    let asks = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let wants_json = std::env::args_os().any(|argument| argument == OsStr::new("--json"));
    if wants_json && !asks {
        let text = error.to_string();
        return Failure::usage(text.trim().trim_start_matches("error: ")).report(true);
    }
    // If nobody reads, there is nobody left to tell.
    let _ = error.print();
    ExitCode::from(if asks { 0 } else { 2 })
}
