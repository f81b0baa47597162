//! `trib inspect MODEL`.

use clap::Args;
use serde_json::json;
use tributary_model::load_config;
use tributary_store::{Artifact, Store};
use tributary_tensorfile::Checkpoint;

use crate::exit::Failure;
use crate::output::line;

#[derive(Args)]
#[command(after_long_help = "Example:\n  trib inspect ckpt/model --tensors")]
pub(crate) struct Options {
    /// A model directory or artifact: a path, file:// or s3://
    model: String,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let store = Store::open(&options.model)?;
    let directory = store.directory();
    let checkpoint = Checkpoint::open(&directory)?;
    let config = load_config(&directory)?;
    let artifact = Artifact::try_open(&store)?;
    let tensors = || {
        checkpoint
            .tensors()
            .iter()
            .map(|tensor| (tensor, format!("{:?}", tensor.shape)))
    };
    if json {
        let mut outcome = json!({
            "model": store.url(), "parameters": checkpoint.parameters(), "bytes": checkpoint.total_bytes(),
            "shards": checkpoint.shards().len(), "config": config.raw,
            "manifest": artifact.as_ref().map(Artifact::manifest),
        });
        if options.tensors {
            let list = tensors().map(|(tensor, _)| json!({"name": tensor.name, "dtype": tensor.dtype.name(), "shape": tensor.shape}));
            outcome["tensors"] = list.collect();
        }
        return line(outcome);
    }
    line(format!("{}: {}", store.url(), config.family.architecture()))?;
    line(format!(
        "  {} parameters, {} bytes in {} shard(s)",
        checkpoint.parameters(),
        checkpoint.total_bytes(),
        checkpoint.shards().len()
    ))?;
    line(format!(
        "  {} layers of width {}, {} heads ({} key-value), vocabulary {}, context {}",
        config.layers,
        config.hidden_size,
        config.heads,
        config.kv_heads,
        config.vocab_size,
        config.max_positions
    ))?;
    match artifact {
        Some(artifact) => line(format!("  artifact {}", artifact.manifest().digest()))?,
        None => line("  no manifest: a plain directory, not an artifact")?,
    }
    if options.tensors {
        for (tensor, shape) in tensors() {
            line(format!(
                "  {:<5} {shape:<18} {}",
                tensor.dtype.name(),
                tensor.name
            ))?;
        }
    }
    Ok(())
}
