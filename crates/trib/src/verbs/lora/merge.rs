//! `trib lora merge BASE ADAPTER OUT`.

use std::num::NonZeroUsize;

use clap::Args;
use serde_json::json;
use tributary_merge::{FloatType, LoraMerge, LoraMergeOptions, MergeError, Watch};
use tributary_store::Store;

use crate::disk::DiskSpace;
use crate::exit::Failure;
use crate::interrupt::interrupt_flag;
use crate::output::{bar, line};
use crate::screen::count;
use crate::source_place::{open_adapter, open_source};

#[derive(Args)]
#[command(
    after_long_help = "Every weight that the adapter changes becomes W + s·(B·A), computed in double precision and rounded once; \
    memory does not grow with the model. DoRA and other kinds than plain LoRA are refused.\n\n\
    A merge file, `trib diff` and `trib lora extract` take an adapter without this, written base+adapter.\n\n\
    Examples:\n  trib lora merge ckpt/base ckpt/adapter ckpt/merged\n  \
    trib lora merge s3://bucket/base ckpt/adapter s3://bucket/merged --dtype bfloat16"
)]
pub(crate) struct Options {
    /// The base model: a path, file:// or s3://
    base: String,
    /// A LoRA adapter as PEFT saves it (adapter_config.json, adapter_model.safetensors)
    adapter: String,
    /// Where the artifact goes: a path, file:// or s3://
    out: String,
    /// Store weights as float32, float16 or bfloat16 [default: each as the base has it]
    #[arg(long, value_parser = float_type)]
    dtype: Option<FloatType>,
    /// Threads (default: one a core)
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

fn float_type(text: &str) -> Result<FloatType, String> {
    FloatType::from_name(text).ok_or_else(|| "it is none of float32, float16 and bfloat16".to_owned())
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let out = Store::open(&options.out)?;
    let adapter = open_adapter(&options.adapter)?;
    let base = open_source(&options.base)?;
    let settings = LoraMergeOptions {
        dtype: options.dtype,
        threads: options.threads.map(NonZeroUsize::get),
        ..LoraMergeOptions::default()
    };
    let merge = LoraMerge::new(&base, &adapter, &settings)?;
    if let Some(disk) = DiskSpace::of(&out) {
        disk.check_bytes(merge.bytes_to_write(), "the merge is", "choose another place")?;
    }
    let cancel = interrupt_flag("stopping; nothing will be published")?;
    let bar = bar(merge.elements(), "parameters");
    let watch = Watch {
        progress: &|progress| bar.set_position(progress.done),
        cancel: &cancel,
    };
    let published: Result<_, MergeError> = merge.publish(&out, &watch);
    bar.finish_and_clear();
    let (artifact, report) = published?;
    let digest = artifact.digest();
    if json {
        return line(json!({"artifact": out.url(), "digest": digest, "report": report}));
    }
    line(format!(
        "{} published: {} parameters, {} of {} tensors changed, digest {digest}",
        out.url(),
        count(report.parameters),
        report.tensors_changed,
        report.tensors,
    ))
}
