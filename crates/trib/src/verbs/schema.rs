//! `trib schema`.

use clap::Args;

use crate::exit::Failure;
use crate::output::pretty;

#[derive(Args)]
#[command(after_long_help = "Example:\n  trib schema > tributary.schema.json\n\n\
    An editor with a YAML language server checks and completes a pipeline that begins with\n  \
    # yaml-language-server: $schema=tributary.schema.json")]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<(), Failure> {
    pretty(&tributary_pipeline::schema(&tributary_jobs::registry()))
}
