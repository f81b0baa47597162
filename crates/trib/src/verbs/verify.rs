//! `trib verify ARTIFACT`.

use clap::Args;
use tributary_store::{Artifact, Depth, Store};

use crate::exit::Failure;
use crate::output::{bar, line};

#[derive(Args)]
#[command(after_long_help = "Example:\n  trib verify s3://bucket/model")]
pub(crate) struct Options {
    /// An artifact: a path, file:// or s3://
    artifact: String,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let store = Store::open(&options.artifact)?;
    let artifact = Artifact::open(&store)?;
    let bar = bar(artifact.manifest().total_bytes(), "B");
    let report = artifact.verify(Depth::Full, &|progress| bar.set_position(progress.bytes))?;
    bar.finish_and_clear();
    if json {
        line(
            serde_json::json!({"artifact": store.url(), "whole": report.problems.is_empty(), "report": report}),
        )?;
    }
    if report.problems.is_empty() {
        return if json {
            Ok(())
        } else {
            line(format!("{}: whole", store.url()))
        };
    }
    let faults: Vec<String> = report
        .problems
        .iter()
        .map(|problem| problem.to_string())
        .collect();
    Err(Failure::data(format!(
        "{} is damaged:\n{}",
        store.url(),
        faults.join("\n")
    )))
}
