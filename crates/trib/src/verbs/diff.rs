//! `trib diff A B`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tributary_merge::{DiffOptions, ModelDiff, diff};

use crate::exit::Failure;
use crate::interrupt::interrupt_flag;
use crate::output::{bar, line, stdout_width, text};
use crate::screen::{diff_page, diff_sheet};
use crate::source_place::open_source;

#[derive(Args)]
#[command(
    after_long_help = "Distances are norms of A−B; relative ones are divided by the norm of A. Tensors are read in blocks on all cores, \
    so memory does not grow with the models.\n\n\
    Examples:\n  trib diff ckpt/base ckpt/tuned\n  trib diff ckpt/base s3://bucket/tuned --top 5 --html diff.html\n  \
    trib diff ckpt/base+ckpt/adapter ckpt/merged --exit-code"
)]
pub(crate) struct Options {
    /// The first model: a path, file://, s3://, or base+adapter
    a: String,
    /// The second model
    b: String,
    /// Show this many of the most distant tensors
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
    /// Show all tensors
    #[arg(long, conflicts_with = "top")]
    all: bool,
    /// Also write a page with a heat map of layers and kinds of weight to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Exit with 1 if the models differ
    #[arg(long)]
    exit_code: bool,
    /// Threads (default: one a core)
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let (a, b) = (open_source(&options.a)?, open_source(&options.b)?);
    let settings = DiffOptions {
        threads: options.threads.map(NonZeroUsize::get),
    };
    let cancel = interrupt_flag("stopping")?;
    let bar = bar(0, "parameters");
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let found = diff(&a, &b, &settings, &progress, &cancel);
    bar.finish_and_clear();
    let found = found?;
    if let Some(file) = &options.html {
        write_page(&found, file)?;
    }
    if json {
        line(json!(found))?;
    } else {
        let top = if options.all { usize::MAX } else { options.top };
        text(&diff_page(&found, top, stdout_width()))?;
        if let Some(file) = &options.html {
            line(format!("\n{}", file.display()))?;
        }
    }
    if options.exit_code && !found.is_equal {
        return Err(Failure::difference());
    }
    Ok(())
}

fn write_page(found: &ModelDiff, file: &Path) -> Result<(), Failure> {
    let page = tributary_report::render_sheet(&diff_sheet(found))?;
    // The system's message does not name the file.
    let named = |error| Failure::io(format!("writing the page to {}: {error}", file.display()));
    std::fs::write(file, page).map_err(named)
}
