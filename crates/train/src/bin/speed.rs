//! How fast a model of SmolLM2-135M's sizes is read and trained on a device, and what comes out, on random tokens.
//!
//! `speed [--device cpu|cuda:N|auto] [--shape smollm2-135m|tiny] [--rows 8] [--length 1024] [--repeats 7] [--seed 0]`
//!
//! Prints one line of JSON: tokens a second of an evaluation (forward pass and likelihoods) and of a training step
//! (forward, backward, clipping, AdamW), medians after two of each to warm up, and the losses and gradient norms of every
//! training step. Weights and tokens depend on the seed alone, so two devices can be compared.

#![expect(clippy::print_stdout, reason = "a program whose outcome is printed")]

use std::error::Error;
use std::time::Instant;

use serde_json::json;
use tributary_model::{Decoder, Device, LlamaSizes, ModelConfig, TokenBatch, host, initial_values, specs};
use tributary_train::{AdamW, AdamWSettings, GradientSum};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs of each kind before those that count.
const WARM_UP: usize = 2;
/// Small, so that the first losses fall and stay comparable between devices.
const LEARNING_RATE: f64 = 1e-5;
const CLIP: f64 = 1.0;

struct Options {
    device: String,
    shape: String,
    rows: usize,
    length: usize,
    repeats: usize,
    seed: u64,
}

fn options() -> Outcome<Options> {
    let (device, shape) = ("auto".to_owned(), "smollm2-135m".to_owned());
    let mut options = Options {
        device,
        shape,
        rows: 8,
        length: 1024,
        repeats: 7,
        seed: 0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--device" => options.device = value,
            "--shape" => options.shape = value,
            "--rows" => options.rows = value.parse()?,
            "--length" => options.length = value.parse()?,
            "--repeats" => options.repeats = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            _ => return Err(format!("{name} is not an option; see the head of this file").into()),
        }
    }
    if options.rows == 0 || options.length < 2 || options.repeats == 0 {
        return Err("--rows and --repeats must be at least 1, --length at least 2".into());
    }
    Ok(options)
}

fn config(shape: &str, length: usize) -> Outcome<ModelConfig> {
    let sizes = match shape {
        "smollm2-135m" => LlamaSizes {
            hidden_size: 576,
            intermediate_size: 1536,
            layers: 30,
            heads: 9,
            kv_heads: 3,
            vocab_size: 49152,
            max_positions: length.max(8192),
            rope_theta: 1e5,
            tied_head: true,
            bos: None,
            eos: None,
        },
        "tiny" => LlamaSizes {
            hidden_size: 64,
            intermediate_size: 128,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            vocab_size: 512,
            max_positions: length.max(512),
            rope_theta: 1e4,
            tied_head: true,
            bos: None,
            eos: None,
        },
        _ => return Err(format!("{shape} is not a shape; there are smollm2-135m and tiny").into()),
    };
    Ok(ModelConfig::llama(sizes))
}

/// Rows of one document each, of tokens that a model has to learn by heart.
fn batch(options: &Options, vocabulary: usize) -> Outcome<TokenBatch> {
    let mut state = options.seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut token = || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % vocabulary as u64) as u32
    };
    let count = options.rows * options.length;
    let tokens: Vec<u32> = (0..count).map(|_| token()).collect();
    let is_last = |at: usize| at % options.length == options.length - 1;
    let targets = (0..count)
        .map(|at| {
            if is_last(at) {
                -100
            } else {
                i64::from(tokens[at + 1])
            }
        })
        .collect();
    Ok(TokenBatch::packed(
        options.rows,
        options.length,
        tokens,
        &vec![0; count],
        targets,
    )?)
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Seconds of each counted call of `work`, which must leave nothing to be done.
fn time(repeats: usize, work: &mut dyn FnMut() -> Outcome<()>) -> Outcome<f64> {
    let mut seconds = Vec::new();
    for run in 0..WARM_UP + repeats {
        let start = Instant::now();
        work()?;
        if run >= WARM_UP {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    Ok(median(seconds))
}

fn main() -> Outcome<()> {
    let options = options()?;
    let device: Device = options.device.parse()?;
    let config = config(&options.shape, options.length)?;
    let batch = batch(&options, config.vocab_size)?;
    let (parameters, tokens, scored) = (
        config.parameters(),
        batch.tokens.len() as f64,
        batch.scored() as f64,
    );
    let started = Instant::now();

    let mut decoder = Decoder::init(config.clone(), device, options.seed)?;
    let mut nll = 0.0;
    let evaluation = time(options.repeats, &mut || {
        nll = decoder.nll(&batch)?.into_iter().map(f64::from).sum::<f64>() / scored;
        Ok(())
    })?;

    decoder.track_gradients();
    let masters = match device {
        Device::Cpu => Vec::new(),
        Device::Cuda(_) => specs(&config)
            .iter()
            .map(|spec| initial_values(&config, spec, options.seed))
            .collect(),
    };
    let mut optimizer = AdamW::restore(AdamWSettings::default(), 0, Vec::new(), masters);
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    let training = time(options.repeats, &mut || {
        let loss = decoder.loss(&batch)?;
        let sum = host(loss.clone().inner())?;
        let mut gradients = GradientSum::new(device);
        gradients.add(&mut decoder.weights, &mut loss.backward())?;
        let norm = gradients.norm()? / scored;
        let scale = (CLIP / norm.max(f64::MIN_POSITIVE)).min(1.0) / scored;
        optimizer.update(&mut decoder.weights, device, &gradients, scale, LEARNING_RATE)?;
        device.handle().sync()?;
        losses.push(f64::from(sum[0]) / scored);
        norms.push(norm);
        Ok(())
    })?;

    let outcome = json!({
        "device": device.to_string(),
        "shape": options.shape,
        "parameters": parameters,
        "rows": options.rows,
        "length": options.length,
        "evaluate_tokens_per_second": tokens / evaluation,
        "train_tokens_per_second": tokens / training,
        "nll": nll,
        "losses": losses,
        "gradient_norms": norms,
        "wall_seconds": started.elapsed().as_secs_f64(),
    });
    println!("{outcome}");
    Ok(())
}
