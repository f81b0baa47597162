//! Generation: prompt in, tokens out one by one.

use crate::cache::KeyValueCache;
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::sample::SamplingOptions;

/// When to stop and how to choose.
#[derive(Clone, Debug)]
pub struct GenerationOptions {
    /// The most tokens to add.
    pub max_new_tokens: usize,
    /// How each token is chosen.
    pub sampling: SamplingOptions,
    /// Tokens that end the text; they are not part of the result.
    pub stop: Vec<u32>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token was chosen.
    Stop,
    /// `max_new_tokens` were added.
    Length,
    /// The receiver asked to end.
    Cancelled,
}

/// The tokens added, and why there are no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// New tokens.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Continues `prompt`; `receive` gets each token as it is chosen and returns whether to go on.
///
/// # Errors
/// As [`Decoder::extend`].
pub fn generate(
    decoder: &Decoder,
    prompt: &[u32],
    options: &GenerationOptions,
    receive: &mut dyn FnMut(u32) -> bool,
) -> Result<Generated> {
    let mut cache = KeyValueCache::new(decoder.config(), decoder.device());
    let mut tokens = Vec::new();
    if options.max_new_tokens == 0 {
        return Ok(Generated {
            tokens,
            finish: Finish::Length,
        });
    }
    let mut logits = decoder.extend(prompt, &mut cache)?;
    loop {
        if logits.iter().any(|logit| logit.is_nan()) || logits.iter().all(|logit| logit.is_infinite()) {
            let message = "the model gives no numbers here: its weights or activations overflow";
            return Err(ModelError::Input(message.to_owned()));
        }
        let token = options.sampling.choose(&logits, tokens.len() as u64);
        if options.stop.contains(&token) {
            return Ok(Generated {
                tokens,
                finish: Finish::Stop,
            });
        }
        tokens.push(token);
        if !receive(token) {
            return Ok(Generated {
                tokens,
                finish: Finish::Cancelled,
            });
        }
        if tokens.len() == options.max_new_tokens {
            return Ok(Generated {
                tokens,
                finish: Finish::Length,
            });
        }
        logits = decoder.extend(&[token], &mut cache)?;
    }
}
