//! `trib merge CONFIG OUT`.

use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Args;
use serde_json::json;
use tributary_merge::{
    MergeConfig, MergeError, MergeOptions, MergePlan, MergeRecord, Phase, Source, Watch, plan,
};
use tributary_pipeline::ByteSize;
use tributary_store::{Artifact, Store};

use crate::disk::DiskSpace;
use crate::exit::Failure;
use crate::output::{bar, line, say, stdout_width, text};
use crate::screen::{harmless, merge_page, merge_plan_page};
use crate::source_place::open_source;

#[derive(Args)]
#[command(
    after_long_help = "A merge file:\n  merge_method: metagpt\n  base_model: ckpt/base\n  models:\n    \
    - model: ckpt/stories\n    - {model: s3://bucket/facts, name: facts}\n  out_dtype: bfloat16\n\n\
    Everything is checked from headers before any work. The very same merge at OUT is success; Ctrl-C leaves nothing \
    there.\n\n\
    Examples:\n  trib merge merge.yml ckpt/merged\n  trib merge merge.yml s3://bucket/merged --memory 1GiB\n  \
    trib merge merge.yml ckpt/merged --plan"
)]
pub(crate) struct Options {
    /// A merge file in mergekit's format; models are paths, file:// or s3://, and base+adapter
    config: PathBuf,
    /// Where the artifact goes: a path, file:// or s3://
    out: String,
    /// The most that block buffers may take, whatever the number and size of the models
    #[arg(long, default_value = "256MiB", value_name = "SIZE", value_parser = size)]
    memory: ByteSize,
    /// Threads (default: one a core)
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Check everything, say what the merge would read and write, and stop
    #[arg(long)]
    plan: bool,
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let name = options.config.display().to_string();
    let document = std::fs::read_to_string(&options.config).map_err(|error| {
        let message = format!("cannot read {name}: {error}");
        match error.kind() {
            ErrorKind::InvalidData => Failure::configuration(message),
            _ => Failure::from(error).says(message),
        }
    })?;
    let config = MergeConfig::parse(&document, &name)?;
    let out = Store::open(&options.out)?;
    let sources = open(&config)?;
    let settings = MergeOptions {
        memory: options.memory.0,
        threads: options.threads.map(NonZeroUsize::get),
        ..MergeOptions::default()
    };
    let plan =
        plan(&config.spec, &sources, &settings).map_err(|error| located(&config, error, Vec::new()))?;
    let there = plan.find(&out)?;
    if options.plan {
        let summary = plan.summary();
        if json {
            return line(json!({"cached": there.is_some(), "plan": summary}));
        }
        warn(&summary.warnings);
        return text(&merge_plan_page(&summary, there.is_some()));
    }
    if let Some((artifact, record)) = there {
        if !json {
            return show(&artifact, &record, "is there already");
        }
        return line(
            json!({"artifact": out.url(), "digest": artifact.digest(), "cached": true, "record": record}),
        );
    }
    if let Some(disk) = DiskSpace::of(&out) {
        disk.check_bytes(
            plan.summary().bytes_to_write,
            "the merge is",
            "choose another place",
        )?;
    }
    let (artifact, report) = publish(&plan, &out).map_err(|error| located(&config, error, Vec::new()))?;
    if json {
        let execution = report.execution;
        let digest = artifact.digest();
        return line(json!({
            "artifact": out.url(), "digest": digest, "cached": false, "record": report.record, "execution": execution,
        }));
    }
    show(&artifact, &report.record, "published")
}

/// Opens every model of the document; all that cannot be opened are in the one failure.
fn open(config: &MergeConfig) -> Result<Vec<Source>, Failure> {
    let spec = &config.spec;
    let models = spec.models.iter().map(|model| &model.model);
    let tokenizer = spec.tokenizer_source.iter().filter(|source| *source != "base");
    let mut references: Vec<&String> = spec.base_model.iter().chain(models).chain(tokenizer).collect();
    references.sort();
    references.dedup();
    let (mut sources, mut errors) = (Vec::new(), Vec::new());
    for reference in references {
        match open_source(reference) {
            Ok(source) => sources.push(source),
            Err(error) => errors.push(error),
        }
    }
    let mut errors = errors.into_iter();
    match errors.next() {
        None => Ok(sources),
        Some(first) => Err(located(config, first, errors.collect())),
    }
}

/// The failure of the first of these errors, told at the places of the document where they are about it.
fn located(config: &MergeConfig, first: MergeError, others: Vec<MergeError>) -> Failure {
    let mut errors = others;
    errors.insert(0, first);
    let problems = config.locate(&errors);
    let failure = Failure::from(errors.swap_remove(0));
    match problems {
        Some(problems) => failure.says(problems.to_string()),
        None => failure,
    }
}

/// Merges under a bar; an interrupt ends it with nothing published.
fn publish(plan: &MergePlan, out: &Store) -> Result<(Artifact, tributary_merge::MergeReport), MergeError> {
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    let listening = ctrlc::set_handler(move || {
        // Whoever asks twice wants out now; what is left behind is swept by the next merge to the same place.
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(75);
        }
        say("stopping; nothing will be published");
    });
    listening.map_err(|error| MergeError::Internal(format!("interrupts cannot be caught: {error}")))?;
    let bar = bar(plan.summary().bytes_to_read, "B");
    // Bytes of the pass before this one.
    let before = AtomicU64::new(0);
    let progress = |progress: tributary_merge::Progress| {
        let before = match progress.phase {
            Phase::Statistics => {
                before.store(progress.total, Ordering::Relaxed);
                0
            }
            Phase::Merge => before.load(Ordering::Relaxed),
        };
        bar.set_position(before + progress.done);
    };
    let result = plan.publish(
        out,
        &Watch {
            progress: &progress,
            cancel: &cancel,
        },
    );
    bar.finish_and_clear();
    result
}

fn show(artifact: &Artifact, record: &MergeRecord, how: &str) -> Result<(), Failure> {
    line(format!(
        "{} {how}: {} parameters, digest {}",
        artifact.store().url(),
        record.merged_parameters,
        artifact.digest()
    ))?;
    text(&merge_page(record, stdout_width()))?;
    warn(&record.warnings);
    Ok(())
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        say(format!("warning: {}", harmless(warning)));
    }
}
