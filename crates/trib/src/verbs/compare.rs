//! `trib compare A B`.

use clap::Args;
use tributary_jobs::compare_evaluations;
use tributary_store::{Artifact, Store};

use crate::exit::Failure;
use crate::output::{line, pretty};

#[derive(Args)]
#[command(
    after_long_help = "A and B are artifacts of `evaluate` steps. They are compared only if they asked the same: the same text by content, the \
    same tasks, context, device and precision, with the same version of the program. Differences are paired by document (or question), \
    with the 95 % interval of a bootstrap.\n\n\
    Example:\n  trib compare ckpt/yesterday/artifacts/evaluate/0f3a… ckpt/today/artifacts/evaluate/77b1…"
)]
pub(crate) struct Options {
    /// An evaluation: a path, file:// or s3://
    first: String,
    /// Another one, of other models
    second: String,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let open = |place: &str| -> Result<Artifact, Failure> { Ok(Artifact::open(&Store::open(place)?)?) };
    let compared = compare_evaluations(&open(&options.first)?, &open(&options.second)?)
        .map_err(|error| Failure::of_class(error.kind().exit_code(), error.describe()))?;
    if json {
        return pretty(&compared);
    }
    line(format!("both were asked the same: {}", compared.asked))?;
    for row in &compared.rows {
        let found = &row.difference;
        let verdict = match found.includes_zero() {
            true => "no difference to be told",
            false => "different",
        };
        line(format!(
            "{}, {}: {} minus {}: {:+.5} ({:+.5} to {:+.5}), {} paired: {verdict}",
            row.on, row.metric, row.second, row.first, found.value, found.low, found.high, row.count
        ))?;
    }
    Ok(())
}
