//! Merges what a mergekit document says: `merge CONFIG OUT [--memory BYTES] [--no-diagnostics]`; prints the report as
//! JSON. The library in twenty lines, and what `scripts/bench_merge.py` can time without the whole program.

use std::error::Error;
use std::io::Write;
use std::sync::atomic::AtomicBool;

use tributary_merge::{MergeConfig, MergeOptions, Published, Source, Watch, plan};
use tributary_store::Store;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: merge CONFIG OUT [--memory BYTES] [--no-diagnostics]".into());
    };
    let mut options = MergeOptions::default();
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--memory" => options.memory = arguments.next().ok_or("--memory needs a number")?.parse()?,
            "--no-diagnostics" => options.diagnostics = false,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let config = MergeConfig::parse(&std::fs::read_to_string(&file)?, &file)?;
    let spec = &config.spec;
    let mut references: Vec<&str> = spec
        .references()
        .into_iter()
        .map(|(_, reference)| reference)
        .collect();
    references.sort_unstable();
    references.dedup();
    let sources = references
        .into_iter()
        .map(|reference| Ok(Source::open(reference, &Store::open(reference)?)?))
        .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let Published::Whole(_, report) = plan(spec, &sources, &options)?.publish(&Store::open(&out)?, &watch)?
    else {
        return Err("other processes are at work".into());
    };
    serde_json::to_writer_pretty(std::io::stdout(), &report)?;
    Ok(writeln!(std::io::stdout())?)
}
