//! Writes corpora of the little world as JSON lines: `cargo run --release -p tributary-data --example write_corpora -- OUT SEED
//! COUNT` makes `OUT/stories.jsonl`, `OUT/facts.jsonl`, `OUT/arithmetic.jsonl` and `OUT/instructions.jsonl`.
#![expect(clippy::print_stdout, reason = "an example program that prints")]

use std::path::Path;

use tributary_data::{Corpus, write_corpus};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, seed, count] = arguments.as_slice() else {
        return Err("usage: write_corpora OUT SEED COUNT".into());
    };
    let (seed, count) = (seed.parse()?, count.parse()?);
    std::fs::create_dir_all(out)?;
    for corpus in Corpus::ALL {
        let bytes = write_corpus(corpus, count, seed);
        println!("{:>12}: {count} records, {} bytes", corpus.name(), bytes.len());
        std::fs::write(Path::new(out).join(corpus.name()).with_extension("jsonl"), bytes)?;
    }
    Ok(())
}
