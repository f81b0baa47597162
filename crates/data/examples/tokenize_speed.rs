//! Prints how fast text becomes tokens: `cargo run --release -p tributary-data --example tokenize_speed -- MODEL_DIR TEXT [TEXT…]`.
//!
//! `MODEL_DIR` has a `tokenizer.json`; with `-` instead a byte-level BPE of 4,096 tokens is trained on the texts first (and
//! that is timed too). Texts are plain text or JSONL. Each measurement is the median of five.
#![expect(clippy::print_stdout, reason = "an example program that prints")]

use std::time::Instant;

use tributary_data::{Record, Source, TokenizeOptions, Tokenizer, tokenize};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, texts @ ..] = arguments.as_slice() else {
        return Err("usage: tokenize_speed MODEL_DIR|- TEXT [TEXT...]".into());
    };
    let mut records: Vec<Record> = Vec::new();
    for text in texts {
        // Paragraphs, so that there is something to do at once; whole books would be one document each.
        for record in Source::open(text)?.with_separator("").records()? {
            records.push(record?);
        }
    }
    let bytes: usize = records.iter().map(Record::text_bytes).sum();
    let megabytes = bytes as f64 / 1e6;
    let tokenizer = if model == "-" {
        let texts = records.iter().filter_map(|record| match record {
            Record::Text(text) => Some(text.clone()),
            _ => None,
        });
        let begin = Instant::now();
        let tokenizer = Tokenizer::train_byte_bpe(texts, 4096, &["<|endoftext|>"])?;
        println!(
            "trained 4096 tokens on {megabytes:.1} MB in {:.2} s",
            begin.elapsed().as_secs_f64()
        );
        tokenizer
    } else {
        Tokenizer::load(&tributary_store::Store::open(model)?)?
    };
    let options = TokenizeOptions {
        add_eos: tokenizer.eos().is_some(),
        ..TokenizeOptions::default()
    };
    for threads in [1, std::thread::available_parallelism()?.get()] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let mut seconds = Vec::new();
        let mut tokens = 0;
        for _ in 0..5 {
            let begin = Instant::now();
            let documents =
                pool.install(|| tokenize(records.iter().cloned().map(Ok), &tokenizer, &options))?;
            seconds.push(begin.elapsed().as_secs_f64());
            tokens = documents.iter().map(|document| document.tokens.len()).sum();
        }
        seconds.sort_by(f64::total_cmp);
        println!(
            "{threads} thread(s): {:.1} MB/s, {:.2} million tokens/s ({} records, {megabytes:.1} MB, {tokens} tokens)",
            megabytes / seconds[2],
            tokens as f64 / seconds[2] / 1e6,
            records.len(),
        );
    }
    Ok(())
}
