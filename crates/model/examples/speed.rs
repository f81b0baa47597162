//! Tokens per second of a model directory: evaluation, a training step without the optimiser, decoding.
//!
//! `cargo run --release -p tributary-model --example speed -- DIR [ROWS LEN]`

#![expect(clippy::print_stdout)]

use std::time::Instant;

use tributary_model::{Decoder, Device, KeyValueCache, TokenBatch};
use tributary_tensorfile::LocalDirectory;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = LocalDirectory::new(arguments.next().ok_or("give a model directory")?);
    let rows: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let len: usize = arguments.next().map_or(Ok(512), |text| text.parse())?;
    let mut decoder = Decoder::load(&directory, Device::Cpu)?;
    let vocab = decoder.config().vocab_size as u64;
    let tokens: Vec<u32> = (0..(rows * len) as u64).map(|at| ((at * at * 7919 + at * 31) % vocab) as u32).collect();
    let targets: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
    let batch = TokenBatch::packed(rows, len, tokens.clone(), &vec![0; rows * len], targets)?;
    let mut best = [0.0f64; 3];
    for _ in 0..3 {
        let start = Instant::now();
        decoder.nll(&batch)?;
        best[0] = best[0].max((rows * len) as f64 / start.elapsed().as_secs_f64());
        let mut cache = KeyValueCache::new(decoder.config(), Device::Cpu);
        decoder.extend(&tokens[..16], &mut cache)?;
        let start = Instant::now();
        for token in &tokens[..32] {
            decoder.extend(&[*token], &mut cache)?;
        }
        best[2] = best[2].max(32.0 / start.elapsed().as_secs_f64());
    }
    decoder.track_gradients();
    for _ in 0..3 {
        let start = Instant::now();
        let _gradients = decoder.loss(&batch)?.backward();
        best[1] = best[1].max((rows * len) as f64 / start.elapsed().as_secs_f64());
    }
    println!("evaluate {:.0} tokens/s, forward and backward {:.0} tokens/s, decode {:.1} tokens/s", best[0], best[1], best[2]);
    Ok(())
}
