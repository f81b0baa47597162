//! How fast a model is read, trained and continued on a device, and what comes out, on random tokens.
//!
//! `speed [--device cpu|cuda:N|auto] [--model DIR | --shape smollm2-135m|tiny] [--rows 8] [--length 1024] [--repeats 7]
//! [--seed 0] [--on-request yes]`
//!
//! Prints one line of JSON: tokens a second of an evaluation (forward pass and likelihoods), of a training step (forward,
//! backward, clipping, AdamW) and of a greedy continuation (64 tokens after 16), medians after two of each to warm up, and
//! the losses and gradient norms of every training step. Weights (unless a model directory is given) and tokens depend on
//! the seed alone, so two devices can be compared.
//!
//! On request it does one `evaluate`, `train` or `decode` for every such line of its input and answers with its seconds and
//! tokens: `scripts/bench_speed.py` asks us and a peer in turn. Beside `prepare` the peer is told the tokens.

#![expect(clippy::print_stdout, reason = "a program whose outcome is printed")]

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use serde_json::{Value, json};
use tributary_model::{
    Decoder, Device, GenerationOptions, LlamaSizes, ModelConfig, SamplingOptions, TokenBatch, generate, host,
    initial_values, specs,
};
use tributary_tensorfile::LocalDirectory;
use tributary_train::{AdamW, AdamWSettings, GradientSum};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs of each kind before those that count.
const WARM_UP: usize = 2;
/// Small, so that the first losses fall and stay comparable between devices.
const LEARNING_RATE: f64 = 1e-5;
const CLIP: f64 = 1.0;
/// Tokens of a continuation, and of the text before it.
const CONTINUED: usize = 64;
const PROMPT: usize = 16;

struct Options {
    device: String,
    model: Option<String>,
    shape: String,
    rows: usize,
    length: usize,
    repeats: usize,
    seed: u64,
    on_request: bool,
}

fn options() -> Outcome<Options> {
    let (device, shape) = ("auto".to_owned(), "smollm2-135m".to_owned());
    let mut options = Options {
        device,
        model: None,
        shape,
        rows: 8,
        length: 1024,
        repeats: 7,
        seed: 0,
        on_request: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--device" => options.device = value,
            "--model" => options.model = Some(value),
            "--on-request" => options.on_request = value == "yes",
            "--shape" => options.shape = value,
            "--rows" => options.rows = value.parse()?,
            "--length" => options.length = value.parse()?,
            "--repeats" => options.repeats = value.parse()?,
            "--seed" => options.seed = value.parse()?,
            _ => return Err(format!("{name} is not an option; see the head of this file").into()),
        }
    }
    if options.rows == 0 || options.length < PROMPT || options.repeats == 0 {
        return Err("--rows and --repeats must be at least 1, --length at least 16".into());
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

/// A model, what it is tried on, and the state of its training.
struct Bench {
    device: Device,
    decoder: Decoder,
    batch: TokenBatch,
    optimizer: AdamW,
    losses: Vec<f64>,
    norms: Vec<f64>,
}

impl Bench {
    fn new(options: &Options) -> Outcome<Self> {
        let device: Device = options.device.parse()?;
        let mut decoder = match &options.model {
            Some(directory) => Decoder::load(&LocalDirectory::new(directory), device)?,
            None => Decoder::init(config(&options.shape, options.length)?, device, options.seed)?,
        };
        decoder.track_gradients();
        let batch = batch(options, decoder.config().vocab_size)?;
        let masters = match (device, &options.model) {
            // On a GPU the masters of random weights are the values before they were rounded.
            (Device::Cuda(_), None) => specs(decoder.config())
                .iter()
                .map(|spec| initial_values(decoder.config(), spec, options.seed))
                .collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            device,
            decoder,
            batch,
            optimizer: AdamW::restore(AdamWSettings::default(), 0, Vec::new(), masters),
            losses: Vec::new(),
            norms: Vec::new(),
        })
    }

    /// Mean negative log-likelihood of the scored tokens.
    fn evaluate(&self) -> Outcome<f64> {
        let nll = self.decoder.frozen().nll(&self.batch)?;
        Ok(nll.into_iter().map(f64::from).sum::<f64>() / self.batch.scored() as f64)
    }

    /// One step of the optimiser on the whole batch.
    fn train(&mut self) -> Outcome<()> {
        let scored = self.batch.scored() as f64;
        let loss = self.decoder.loss(&self.batch)?;
        let sum = host(loss.clone().inner())?;
        let mut gradients = GradientSum::new(self.device);
        gradients.add(&mut self.decoder.weights, &mut loss.backward())?;
        let norm = gradients.norm()? / scored;
        let scale = (CLIP / norm.max(f64::MIN_POSITIVE)).min(1.0) / scored;
        let weights = &mut self.decoder.weights;
        self.optimizer
            .update(weights, self.device, &gradients, scale, LEARNING_RATE)?;
        self.device.handle().sync()?;
        self.losses.push(f64::from(sum[0]) / scored);
        self.norms.push(norm);
        Ok(())
    }

    /// A greedy continuation of the first tokens.
    fn decode(&self) -> Outcome<Vec<u32>> {
        let options = GenerationOptions {
            max_new_tokens: CONTINUED,
            sampling: SamplingOptions::default(),
            stop: Vec::new(),
        };
        let decoder = self.decoder.frozen();
        Ok(generate(&decoder, &self.batch.tokens[..PROMPT], &options, &mut |_| true)?.tokens)
    }
}

/// Median seconds of `work`, which must leave nothing to be done.
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

/// Does what each line of the input asks for, once, and answers with a line.
fn answer_requests(bench: &mut Bench) -> Outcome<()> {
    for request in std::io::stdin().lock().lines() {
        let start = Instant::now();
        let (tokens, value): (usize, Value) = match request?.as_str() {
            "prepare" => (0, json!(bench.batch.tokens)),
            "evaluate" => (bench.batch.tokens.len(), json!(bench.evaluate()?)),
            "train" => {
                bench.train()?;
                (bench.batch.tokens.len(), json!(bench.losses.last()))
            }
            "decode" => (CONTINUED, json!(bench.decode()?)),
            other => return Err(format!("`{other}` is none of prepare, evaluate, train, decode").into()),
        };
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{}",
            json!({"seconds": seconds, "tokens": tokens, "value": value})
        );
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let options = options()?;
    let started = Instant::now();
    let mut bench = Bench::new(&options)?;
    if options.on_request {
        return answer_requests(&mut bench);
    }
    let tokens = bench.batch.tokens.len() as f64;
    let mut nll = 0.0;
    let evaluation = time(options.repeats, &mut || {
        nll = bench.evaluate()?;
        Ok(())
    })?;
    let decoding = time(options.repeats, &mut || bench.decode().map(|_| ()))?;
    let training = time(options.repeats, &mut || bench.train())?;
    let outcome = json!({
        "device": bench.device.to_string(),
        "shape": options.model.unwrap_or(options.shape),
        "parameters": bench.decoder.config().parameters(),
        "rows": options.rows,
        "length": options.length,
        "evaluate_tokens_per_second": tokens / evaluation,
        "train_tokens_per_second": tokens / training,
        "decode_tokens_per_second": CONTINUED as f64 / decoding,
        "nll": nll,
        "losses": bench.losses,
        "gradient_norms": bench.norms,
        "wall_seconds": started.elapsed().as_secs_f64(),
    });
    println!("{outcome}");
    Ok(())
}
