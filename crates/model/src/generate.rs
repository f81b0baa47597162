//! Generation: prompts in, tokens out one by one.

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
    let mut writer = [Continuation::begin(decoder, prompt, options.clone())?];
    let mut heard = 0;
    loop {
        let [continuation] = &mut writer;
        if let Some(token) = continuation.tokens.get(heard) {
            heard += 1;
            if !receive(*token) {
                continuation.finish = Some(Finish::Cancelled);
            }
        }
        if let Some(finish) = continuation.finish {
            let [continuation] = writer;
            return Ok(Generated {
                tokens: continuation.tokens,
                finish,
            });
        }
        continue_all(decoder, &mut writer)?;
    }
}

/// A prompt that is being continued: what was read, and what was added so far.
#[derive(Debug)]
pub struct Continuation {
    cache: KeyValueCache,
    options: GenerationOptions,
    tokens: Vec<u32>,
    finish: Option<Finish>,
}

impl Continuation {
    /// Reads `prompt` and chooses the first token after it.
    ///
    /// # Errors
    /// As [`Decoder::extend`].
    pub fn begin(decoder: &Decoder, prompt: &[u32], options: GenerationOptions) -> Result<Self> {
        let mut continuation = Self {
            cache: KeyValueCache::new(decoder.config(), decoder.device()),
            tokens: Vec::new(),
            finish: (options.max_new_tokens == 0).then_some(Finish::Length),
            options,
        };
        if continuation.finish.is_none() {
            let logits = decoder.extend(prompt, &mut continuation.cache)?;
            continuation.choose(&logits)?;
        }
        Ok(continuation)
    }

    /// The tokens added so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Why it ended; none while it goes on.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Ends it where it is.
    pub fn end(&mut self) {
        self.finish.get_or_insert(Finish::Cancelled);
    }

    /// Adds the token that follows from `logits` (`[vocab]`), or ends.
    fn choose(&mut self, logits: &[f32]) -> Result<()> {
        if logits.iter().any(|logit| logit.is_nan()) || logits.iter().all(|logit| logit.is_infinite()) {
            let message = "the model gives no numbers here: its weights or activations overflow";
            return Err(ModelError::Input(message.to_owned()));
        }
        let token = self.options.sampling.choose(logits, self.tokens.len() as u64);
        if self.options.stop.contains(&token) {
            self.finish = Some(Finish::Stop);
            return Ok(());
        }
        self.tokens.push(token);
        if self.tokens.len() == self.options.max_new_tokens {
            self.finish = Some(Finish::Length);
        }
        Ok(())
    }
}

/// Adds a token to each continuation that has not ended, in one pass over the weights.
///
/// # Errors
/// As [`Decoder::extend_each`].
pub fn continue_all(decoder: &Decoder, continuations: &mut [Continuation]) -> Result<()> {
    let mut open: Vec<&mut Continuation> = continuations
        .iter_mut()
        .filter(|continuation| continuation.finish.is_none())
        .collect();
    let last = open
        .iter()
        .filter_map(|continuation| continuation.tokens.last().copied());
    let last: Vec<u32> = last.collect();
    let mut caches: Vec<&mut KeyValueCache> = open
        .iter_mut()
        .map(|continuation| &mut continuation.cache)
        .collect();
    if caches.is_empty() {
        return Ok(());
    }
    let logits = decoder.extend_each(&last, &mut caches)?;
    let rows = logits.chunks_exact(decoder.config().vocab_size);
    open.iter_mut()
        .zip(rows)
        .try_for_each(|(continuation, logits)| continuation.choose(logits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LlamaSizes, ModelConfig};
    use crate::device::Device;

    fn decoder() -> Decoder {
        let config = ModelConfig::llama(LlamaSizes {
            hidden_size: 32,
            intermediate_size: 48,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            vocab_size: 60,
            max_positions: 128,
            rope_theta: 1e4,
            tied_head: false,
            bos: None,
            eos: None,
        });
        Decoder::init(config, Device::Cpu, 5).unwrap()
    }

    fn options(max_new_tokens: usize, stop: &[u32]) -> GenerationOptions {
        GenerationOptions {
            max_new_tokens,
            sampling: SamplingOptions::default(),
            stop: stop.to_vec(),
        }
    }

    #[test]
    fn prompts_continued_together_are_continued_as_each_alone() {
        let decoder = decoder();
        let prompts: Vec<Vec<u32>> = (0..6)
            .map(|number| {
                (0..3 + number * 4)
                    .map(|at| (at * 7 + number * 13) % 60)
                    .collect()
            })
            .collect();
        // Lengths differ, so some end before others.
        let most = |number: usize| 4 + number * 3;
        let mut together: Vec<Continuation> = prompts
            .iter()
            .enumerate()
            .map(|(number, prompt)| {
                Continuation::begin(&decoder, prompt, options(most(number), &[])).unwrap()
            })
            .collect();
        while together.iter().any(|open| open.finish().is_none()) {
            continue_all(&decoder, &mut together).unwrap();
        }
        for (number, (prompt, written)) in prompts.iter().zip(&together).enumerate() {
            let alone = generate(&decoder, prompt, &options(most(number), &[]), &mut |_| true).unwrap();
            assert_eq!(
                (alone.tokens.as_slice(), Some(alone.finish)),
                (written.tokens(), written.finish())
            );
            assert_eq!(alone.tokens.len(), most(number));
        }
        continue_all(&decoder, &mut together).unwrap();
    }

    #[test]
    fn tokens_that_end_a_text_are_not_part_of_it() {
        let decoder = decoder();
        let free = generate(&decoder, &[1, 2, 3], &options(8, &[]), &mut |_| true).unwrap();
        let stop = free.tokens[3];
        let before = free.tokens.iter().position(|token| *token == stop).unwrap();
        let stopped = generate(&decoder, &[1, 2, 3], &options(8, &[stop]), &mut |_| true).unwrap();
        assert_eq!(
            (stopped.tokens.as_slice(), stopped.finish),
            (&free.tokens[..before], Finish::Stop)
        );
        let mut heard = 0;
        let cancelled = generate(&decoder, &[1, 2, 3], &options(8, &[]), &mut |_| {
            heard += 1;
            heard < 2
        });
        let cancelled = cancelled.unwrap();
        assert_eq!((cancelled.tokens.len(), cancelled.finish), (2, Finish::Cancelled));
        let none = generate(&decoder, &[1], &options(0, &[]), &mut |_| true).unwrap();
        assert_eq!((none.tokens.len(), none.finish), (0, Finish::Length));
    }
}
