//! `trib lora`: one file a verb.

mod extract;
mod merge;

use clap::Subcommand;

use crate::exit::Failure;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Publish a base with an adapter in it as a model of its own
    Merge(merge::Options),
    /// Make an adapter of the difference of two models
    Extract(extract::Options),
}

pub(crate) fn run(verb: &Verb, json: bool) -> Result<(), Failure> {
    match verb {
        Verb::Merge(options) => merge::run(options, json),
        Verb::Extract(options) => extract::run(options, json),
    }
}
