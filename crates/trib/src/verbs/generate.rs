//! `trib generate MODEL --prompt TEXT`.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use tributary_data::{Message, Tokenizer};
use tributary_model::{Decoder, Device, Finish, GenerationOptions, SamplingOptions, generate, load_config};

use crate::exit::Failure;
use crate::model_place::open_model;
use crate::output::{line, say};
use crate::pipeline_arguments::device_name;

#[derive(Args)]
#[command(
    after_long_help = "The text appears as it is made; with --json, whole at the end. The same seed gives the same text.\n\n\
    Examples:\n  trib generate ckpt/model --prompt 'Once upon a time'\n  \
    trib generate ckpt/model --prompt 'What is 2+3?' --chat --temperature 0.7 --top-p 0.9 --json"
)]
pub(crate) struct Options {
    /// A model directory or artifact: a path, file:// or s3://
    model: String,
    /// The text to continue
    #[arg(long)]
    prompt: String,
    /// The most tokens to add
    #[arg(long, default_value_t = 128)]
    max_new_tokens: usize,
    /// 0 always takes the most likely token
    #[arg(long, default_value_t = 0.0, value_parser = temperature, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from this many of the most likely tokens only; 0: from all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw from the most likely tokens that together have this probability only
    #[arg(long, default_value_t = 1.0, value_parser = probability, allow_negative_numbers = true)]
    top_p: f32,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Take the prompt as a user's turn of the model's chat template
    #[arg(long)]
    chat: bool,
    /// cpu, cuda:N or auto
    #[arg(long, default_value = "auto", value_parser = device_name)]
    device: String,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let device: Device = options.device.parse()?;
    let store = open_model(&options.model)?;
    // Says what is missing if this is no model at all; the tokenizer would only miss its own file.
    load_config(&store.directory())?;
    let tokenizer = Tokenizer::load(&store)?;
    let decoder = Decoder::load(&store.directory(), device)?.compact();
    let prompt = prompt_tokens(options, &tokenizer)?;
    let (asked, trained) = (
        prompt.len() + options.max_new_tokens,
        decoder.config().max_positions,
    );
    if asked > trained {
        say(format!(
            "note: prompt and new tokens may be {asked} tokens, and the model was made for {trained}"
        ));
    }
    let mut stop = decoder.config().eos.clone();
    // A new beginning is the end of this text (llama2.c stops there too).
    stop.extend(decoder.config().bos);
    let settings = GenerationOptions {
        max_new_tokens: options.max_new_tokens,
        sampling: SamplingOptions {
            temperature: options.temperature,
            top_k: options.top_k,
            top_p: options.top_p,
            seed: options.seed,
        },
        stop,
    };
    let start = Instant::now();
    // Text is decoded with the prompt's tokens before it: some tokenizers treat a text's first token differently.
    let before = tokenizer.decode(&prompt, true)?;
    let mut tokens = prompt.clone();
    let mut shown = before.len();
    let mut failed = None;
    let generated = generate(&decoder, &prompt, &settings, &mut |token| {
        tokens.push(token);
        if json {
            return true;
        }
        match show(&tokenizer, &tokens, &mut shown) {
            Ok(()) => true,
            Err(failure) => {
                failed = Some(failure);
                false
            }
        }
    })?;
    if let Some(failure) = failed {
        return Err(failure);
    }
    if !json {
        return line("");
    }
    let text = tokenizer.decode(&tokens, true)?;
    line(json!({
        "model": store.url(), "prompt": options.prompt, "text": text.get(before.len()..).unwrap_or(&text),
        "prompt_tokens": prompt, "tokens": generated.tokens,
        "finish": if generated.finish == Finish::Stop { "stop" } else { "length" },
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

fn temperature(text: &str) -> Result<f32, String> {
    let value = text
        .parse()
        .ok()
        .filter(|value: &f32| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| "give 0 (always the most likely token) or a positive number".to_owned())
}

fn probability(text: &str) -> Result<f32, String> {
    let value = text
        .parse()
        .ok()
        .filter(|value: &f32| *value > 0.0 && *value <= 1.0);
    value.ok_or_else(|| "give a number above 0, at most 1".to_owned())
}

fn prompt_tokens(options: &Options, tokenizer: &Tokenizer) -> Result<Vec<u32>, Failure> {
    let tokens = if options.chat {
        let template = tokenizer.chat_template().ok_or_else(|| {
            Failure::configuration("the model's tokenizer_config.json has no chat_template; leave out --chat")
        })?;
        tokenizer.encode_plain(&template.render(&[Message::new("user", &options.prompt)], true)?)?
    } else {
        tokenizer.encode(&options.prompt)?
    };
    match (tokens.is_empty(), tokenizer.bos()) {
        (true, Some(bos)) => Ok(vec![bos]),
        (true, None) => Err(Failure::data(
            "the prompt is empty and the tokenizer has no token to begin with",
        )),
        _ => Ok(tokens),
    }
}

/// Prints what has become certain: a character whose bytes are not all there yet waits.
fn show(tokenizer: &Tokenizer, tokens: &[u32], shown: &mut usize) -> Result<(), Failure> {
    let text = tokenizer.decode(tokens, true)?;
    let certain = text.trim_end_matches('\u{FFFD}');
    if let Some(new) = certain.get(*shown..) {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(new.as_bytes())?;
        stdout.flush()?;
        *shown = certain.len();
    }
    Ok(())
}
