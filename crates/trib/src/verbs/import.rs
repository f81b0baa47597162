//! `trib import SRC OUT`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tributary_jobs::{DEFAULT_SHARD_BYTES, ImportSettings, import};
use tributary_store::Store;

use crate::exit::Failure;
use crate::output::{bar, line};

#[derive(Args)]
#[command(
    after_long_help = "Examples:\n  trib import model.gguf ckpt/model\n  trib import hf-directory s3://bucket/model --dtype bfloat16"
)]
pub(crate) struct Options {
    /// A .gguf file, a llama2.c .bin file (its tok*.bin beside it), or a Hugging Face directory
    source: PathBuf,
    /// Where the artifact goes: a path, file:// or s3://
    out: String,
    /// Store weights as float32, bfloat16 or float16 instead of as they come (quantised ones come as float32)
    #[arg(long)]
    dtype: Option<String>,
    /// Largest shard in bytes
    #[arg(long, default_value_t = DEFAULT_SHARD_BYTES)]
    shard_bytes: u64,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let out = Store::open(&options.out)?;
    let settings = ImportSettings {
        dtype: options.dtype.clone(),
        shard_bytes: options.shard_bytes,
    };
    let bar = bar(0, "B");
    let imported = import(&options.source, &out, &settings, &|progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.bytes);
    })?;
    bar.finish_and_clear();
    let manifest = imported.artifact.manifest();
    let digest = manifest.digest();
    if json {
        let outcome = json!({"artifact": out.url(), "digest": digest, "cached": imported.cached, "facts": manifest.facts});
        return line(outcome);
    }
    let how = if imported.cached {
        "is there already"
    } else {
        "published"
    };
    line(format!(
        "{} {how}: {} parameters, digest {digest}",
        out.url(),
        manifest.facts["parameters"]
    ))
}
