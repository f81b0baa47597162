//! `trib lora extract MODEL BASE OUT`.

use std::num::NonZeroUsize;

use clap::Args;
use serde_json::json;
use tributary_merge::{ExtractOptions, Extraction, Watch, check_pattern};
use tributary_pipeline::ByteSize;
use tributary_store::Store;

use crate::exit::Failure;
use crate::interrupt::interrupt_flag;
use crate::output::{bar, line, say, stdout_width, text};
use crate::screen::{extract_page, harmless};
use crate::source_place::open_source;

#[derive(Args)]
#[command(
    after_long_help = "The adapter is in PEFT's format: a singular value decomposition of MODEL − BASE for every matrix of the layers, \
    scale 1, singular values split evenly between A and B. Norms that differ are saved whole (modules_to_save); what is not covered is \
    named with its distance.\n\n\
    Examples:\n  trib lora extract ckpt/tuned ckpt/base ckpt/adapter --rank 32\n  \
    trib lora extract ckpt/tuned ckpt/base ckpt/adapter --rank 256 --energy 0.99 --include 'self_attn'"
)]
pub(crate) struct Options {
    /// The fine-tuned model: a path, file://, s3://, or base+adapter
    model: String,
    /// The model it was tuned from
    base: String,
    /// Where the adapter goes: a path, file:// or s3://
    out: String,
    /// Largest rank
    #[arg(long, value_name = "R")]
    rank: NonZeroUsize,
    /// Take a smaller rank where it keeps this share of ‖Δ‖² already
    #[arg(long, value_name = "SHARE", value_parser = share)]
    energy: Option<f64>,
    /// Only tensors whose names match this regular expression
    #[arg(long, value_name = "REGEX", value_parser = pattern)]
    include: Option<String>,
    /// No tensors whose names match this regular expression
    #[arg(long, value_name = "REGEX", value_parser = pattern)]
    exclude: Option<String>,
    /// Decompose embedding and head, too
    #[arg(long)]
    embeddings: bool,
    /// Threads, each with one matrix in work (default: one a core)
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// The most that matrices in work may take; one may always be in work
    #[arg(long, default_value = "4GiB", value_name = "SIZE", value_parser = size)]
    memory: ByteSize,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "it is no number above 0 and at most 1".to_owned())
}

fn pattern(text: &str) -> Result<String, String> {
    check_pattern(text).map(|()| text.to_owned())
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let out = Store::open(&options.out)?;
    let (model, base) = (open_source(&options.model)?, open_source(&options.base)?);
    let settings = ExtractOptions {
        rank: options.rank.get(),
        energy: options.energy,
        include: options.include.clone(),
        exclude: options.exclude.clone(),
        embeddings: options.embeddings,
        threads: options.threads.map(NonZeroUsize::get),
        memory: options.memory.0,
    };
    let extraction = Extraction::new(&model, &base, &settings)?;
    let cancel = interrupt_flag("stopping after the matrices in work; nothing will be published")?;
    let bar = bar(extraction.elements(), "parameters");
    let watch = Watch {
        progress: &|progress| bar.set_position(progress.done),
        cancel: &cancel,
    };
    let published = extraction.publish(&out, &watch);
    bar.finish_and_clear();
    let (artifact, report) = published?;
    let digest = artifact.digest();
    if json {
        return line(json!({
            "artifact": out.url(), "digest": digest, "report": report, "warnings": extraction.warnings(),
        }));
    }
    line(format!("{} published: digest {digest}", out.url()))?;
    text(&extract_page(&report, stdout_width()))?;
    for warning in extraction.warnings() {
        say(format!("warning: {}", harmless(warning)));
    }
    Ok(())
}
