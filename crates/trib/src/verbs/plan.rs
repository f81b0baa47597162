//! `trib plan FILE`.

use clap::Args;

use crate::disk::DiskSpace;
use crate::exit::Failure;
use crate::output::{pretty, stdout_width, text};
use crate::pipeline_arguments::PipelineArguments;
use crate::screen::plan_page;

#[derive(Args)]
#[command(
    after_long_help = "Everything that can be found wrong without doing the work is found, all at once, each with its \
    place: unknown keys, wrong types, missing files, cycles, shapes that do not fit, a disk too small.\n\n\
    Examples:\n  trib plan pipelines/quickstart.yaml\n  \
    trib plan pipelines/quickstart.yaml --set seed=3 --store s3://bucket/experiments --json"
)]
pub(crate) struct Options {
    #[command(flatten)]
    pipeline: PipelineArguments,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let planned = options.pipeline.plan(&tributary_jobs::registry())?;
    let disk = DiskSpace::of(planned.store());
    if json {
        pretty(&planned.plan)?;
    } else {
        text(&plan_page(&planned.plan, disk.as_ref(), stdout_width()))?;
    }
    disk.map_or(Ok(()), |disk| disk.check(&planned.plan))
}
