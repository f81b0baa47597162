//! `trib merge CONFIG OUT`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tributary_merge::{
    Compat, MergeConfig, MergeOptions, MergePlan, MergeRecord, Portion, Progressed, Published, Source, plan,
};
use tributary_pipeline::ByteSize;
use tributary_store::{Artifact, Store};

use crate::exit::Failure;
use crate::merging::{Intermediates, Interrupt, check_disk, located, open, publish};
use crate::output::{line, say, stdout_width, text};
use crate::screen::{harmless, merge_page, merge_plan_page};

#[derive(Args)]
#[command(
    after_long_help = "A merge file:\n  merge_method: metagpt\n  base_model: ckpt/base\n  models:\n    \
    - model: ckpt/stories\n    - {model: s3://bucket/facts, name: facts}\n  out_dtype: bfloat16\n\n\
    Everything is checked from headers before any work. The very same merge at OUT is success. After Ctrl-C or a \
    kill nothing is to be seen at OUT, and the same command goes on with the files that were finished; an outage of a store is \
    waited out for up to half an hour.\n\n\
    Examples:\n  trib merge merge.yml ckpt/merged\n  trib merge merge.yml s3://bucket/merged --memory 1GiB\n  \
    trib merge merge.yml ckpt/merged --plan\n  trib merge merge.yml s3://bucket/merged --shard $SLURM_ARRAY_TASK_ID/8"
)]
pub(crate) struct Options {
    /// A merge file in mergekit's format; models are paths, file:// or s3://, also MODEL+ADAPTER
    config: PathBuf,
    /// Where the artifact goes: a path, file:// or s3://
    out: String,
    /// The most that block buffers may take, whatever the number and size of the models
    #[arg(long, default_value = "256MiB", value_name = "SIZE", value_parser = size)]
    memory: ByteSize,
    /// Threads (default: one a core)
    #[arg(long, short = 'j', alias = "num-threads")]
    threads: Option<NonZeroUsize>,
    /// Largest file of tensors written; a merge that is killed loses the files in work
    #[arg(long, default_value = "1GB", value_name = "SIZE", value_parser = file_size, alias = "out-shard-size")]
    shard_size: ByteSize,
    /// Do as this program does where it differs from the papers' formulas (as the document's key)
    #[arg(long, value_enum)]
    compat: Option<Program>,
    /// Where the results of named documents go, to be kept (default: beside OUT, and removed at the end)
    #[arg(long, value_name = "PLACE")]
    intermediate_dir: Option<String>,
    /// Make only this part of the files, of so many (1/4 … 4/4, or 0/4 … 3/4): for job arrays. Whoever finishes last publishes
    #[arg(long, value_name = "I/N", value_parser = portion)]
    shard: Option<(usize, usize)>,
    /// How long the processes of a --shard wait for what the others measure, before they measure it themselves
    #[arg(long, default_value = "600", value_name = "SECONDS")]
    wait: u64,
    /// Check everything, say what the merge would read and write, and stop
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    theirs: Theirs,
}

/// Options of `mergekit-yaml` that a command line may carry over; what they are for, a merge here does anyway.
#[derive(Args)]
struct Theirs {
    #[arg(long, hide = true)]
    lazy_unpickle: bool,
    #[arg(long, hide = true)]
    low_cpu_memory: bool,
    #[arg(long, hide = true)]
    copy_tokenizer: bool,
    #[arg(long, hide = true)]
    async_write: bool,
    #[arg(long, hide = true)]
    write_model_card: bool,
    #[arg(long, hide = true)]
    safe_serialization: bool,
    #[arg(long, hide = true)]
    cuda: bool,
    #[arg(long, hide = true)]
    allow_crimes: bool,
    #[arg(long, hide = true)]
    trust_remote_code: bool,
    #[arg(long, hide = true)]
    multi_gpu: bool,
    #[arg(long, hide = true)]
    clone_tensors: bool,
    #[arg(long, hide = true)]
    read_to_gpu: bool,
    #[arg(long, hide = true)]
    gpu_rich: bool,
    #[arg(long, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    transformers_cache: Option<String>,
    #[arg(long, hide = true)]
    lora_merge_cache: Option<String>,
    #[arg(long, hide = true)]
    device: Option<String>,
    #[arg(long, hide = true)]
    write_threads: Option<String>,
    #[arg(long, hide = true)]
    random_seed: Option<String>,
}

impl Theirs {
    /// Those that somebody may believe to do something here.
    fn without_effect(&self) -> Vec<&'static str> {
        let given = [
            ("--cuda", self.cuda),
            ("--multi-gpu", self.multi_gpu),
            ("--gpu-rich", self.gpu_rich),
            ("--read-to-gpu", self.read_to_gpu),
            ("--device", self.device.is_some()),
            ("--allow-crimes", self.allow_crimes),
            ("--trust-remote-code", self.trust_remote_code),
            ("--transformers-cache", self.transformers_cache.is_some()),
            ("--lora-merge-cache", self.lora_merge_cache.is_some()),
            (
                "--random-seed (write \"parameters: {seed: N}\" in the document)",
                self.random_seed.is_some(),
            ),
        ];
        given
            .into_iter()
            .filter(|(_, is_given)| *is_given)
            .map(|(name, _)| name)
            .collect()
    }
}

/// A program whose behaviour may be asked for.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Program {
    Mergekit,
}

/// `I/N`, counted from 0 or from 1.
fn portion(text: &str) -> Result<(usize, usize), String> {
    let numbers = text
        .split_once('/')
        .and_then(|(index, of)| Some((index.parse::<usize>().ok()?, of.parse::<usize>().ok()?)));
    match numbers {
        Some((index, of)) if of > 0 && index <= of => Ok((index % of, of)),
        _ => Err("I/N is needed with I up to N, for instance 1/4".to_owned()),
    }
}

fn file_size(text: &str) -> Result<ByteSize, String> {
    match size(text)? {
        ByteSize(0) => Err("a file has some bytes".to_owned()),
        size => Ok(size),
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse()
}

/// The text of a document; of a file that is longer than any document may be, enough to be refused.
fn read(path: &Path) -> std::io::Result<String> {
    const ENOUGH: u64 = 16 << 20;
    let mut text = String::new();
    File::open(path)?.take(ENOUGH).read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let name = options.config.display().to_string();
    let document = read(&options.config).map_err(|error| {
        let message = format!("cannot read {name}: {error}");
        match error.kind() {
            ErrorKind::InvalidData => Failure::configuration(message),
            _ => Failure::from(error).says(message),
        }
    })?;
    let mut documents = MergeConfig::parse_all(&document, &name)?;
    if let Some(Program::Mergekit) = options.compat {
        documents
            .iter_mut()
            .for_each(|config| config.spec.compat = Some(Compat::Mergekit));
    }
    for option in options.theirs.without_effect() {
        say(format!("{option} changes nothing here"));
    }
    let out = Store::open(&options.out)?;
    let settings = MergeOptions {
        memory: options.memory.0,
        threads: options.threads.map(NonZeroUsize::get),
        max_shard_bytes: options.shard_size.0,
        portion: options.shard.map_or(Portion::WHOLE, |(index, of)| Portion {
            index,
            of,
            patience: Duration::from_secs(options.wait),
        }),
        ..MergeOptions::default()
    };
    if options.shard.is_some() && documents.len() > 1 {
        let message =
            "--shard is for a file of one document: merge the named documents before, each by itself";
        return Err(Failure::configuration(message.to_owned()));
    }
    let plans = plan_all(&documents, &settings)?;
    let (Some(config), Some(mut plan)) = (documents.pop(), plans.into_iter().next_back()) else {
        return Err(Failure::configuration(format!("{name} has no document")));
    };
    let there = if documents.is_empty() {
        plan.find(&out)?
    } else {
        None
    };
    if options.plan {
        let summary = plan.summary();
        if json {
            return line(json!({"cached": there.is_some(), "plan": summary}));
        }
        warn(&summary.warnings);
        return text(&merge_plan_page(&summary, there.is_some()));
    }
    let interrupt = Interrupt::listen()?;
    let middle = Intermediates::new(&options.out, options.intermediate_dir.as_deref(), &documents)?;
    if !documents.is_empty() {
        middle.make(&documents, &settings, &interrupt)?;
        plan = middle.plan(&config, &settings)?;
    }
    let there = match there {
        Some(there) => Some(there),
        None => plan.find(&out)?,
    };
    let (artifact, record, execution) = match there {
        Some((artifact, record)) => (artifact, record, None),
        None => {
            check_disk(&plan, &out)?;
            let published = publish(&plan, &out, &interrupt);
            match published.map_err(|error| located(&config, error, Vec::new()))? {
                Published::Whole(artifact, report) => (artifact, report.record, Some(report.execution)),
                Published::Waiting(progressed) => return show_waiting(&progressed, json),
            }
        }
    };
    middle.remove()?;
    if !json {
        let how = if execution.is_some() {
            "published"
        } else {
            "is there already"
        };
        return show(&artifact, &record, how);
    }
    let mut answer = json!({
        "artifact": out.url(), "digest": artifact.digest(), "cached": execution.is_none(), "record": record,
    });
    if let (Some(execution), Some(answer)) = (execution, answer.as_object_mut()) {
        answer.insert("execution".to_owned(), json!(execution));
    }
    line(answer)
}

/// A plan of every document, the results of earlier ones being models of later ones: nothing is made before all fit.
fn plan_all(documents: &[MergeConfig], settings: &MergeOptions) -> Result<Vec<MergePlan>, Failure> {
    let (mut plans, mut made): (Vec<MergePlan>, Vec<Source>) = (Vec::new(), Vec::new());
    for config in documents {
        let sources = open(config, &made)?;
        let planned =
            plan(&config.spec, &sources, settings).map_err(|error| located(config, error, Vec::new()))?;
        if let Some(name) = &config.spec.name {
            made.push(planned.as_source(name)?);
        }
        plans.push(planned);
    }
    Ok(plans)
}

/// This process is done, others are not.
fn show_waiting(progressed: &Progressed, json: bool) -> Result<(), Failure> {
    if json {
        return line(json!({"finished": progressed.finished, "files": progressed.files}));
    }
    line(format!(
        "{} of {} files are finished; whoever finishes the last one publishes",
        progressed.finished, progressed.files
    ))
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
