//! `trib`: arguments in, one verb run, its outcome on stdout, talk on stderr, an exit code that tells what to do.

mod exit;
mod output;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Trains, merges and evaluates language-model checkpoints; every artifact is verified, locally or in S3.
#[derive(Parser)]
#[command(name = "trib", version, about, propagate_version = true)]
struct Arguments {
    /// Print the outcome as JSON on stdout
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Publish a GGUF file, a llama2.c checkpoint or a Hugging Face directory as an artifact
    Import(verbs::import::Options),
    /// Show what a model directory or artifact holds
    Inspect(verbs::inspect::Options),
    /// Read an artifact again and name every byte range that is wrong
    Verify(verbs::verify::Options),
    /// Score text under a model
    Evaluate(verbs::evaluate::Options),
    /// Continue a text
    Generate(verbs::generate::Options),
    /// Write the report of a pipeline's run, one HTML page
    Report(verbs::report::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    let outcome = match arguments.verb {
        Verb::Import(options) => verbs::import::run(&options, json),
        Verb::Inspect(options) => verbs::inspect::run(&options, json),
        Verb::Verify(options) => verbs::verify::run(&options, json),
        Verb::Evaluate(options) => verbs::evaluate::run(&options, json),
        Verb::Generate(options) => verbs::generate::run(&options, json),
        Verb::Report(options) => verbs::report::run(&options, json),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}
