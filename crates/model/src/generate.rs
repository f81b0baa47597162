//! Generation: prompts in, tokens out one by one.

use crate::cache::KeyValueCache;
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::sample::SamplingOptions;

/// Fewest tokens at the beginning of prompts that are read apart from the rest: a pass costs what some tokens do.
const WORTH_SHARING: usize = 16;

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
        let nothing = KeyValueCache::new(decoder.config(), decoder.device());
        Self::begin_after(decoder, nothing, prompt, options)
    }

    /// [`Self::begin`] for several prompts with options of their own: the tokens that all begin with are read once.
    ///
    /// # Errors
    /// As [`Decoder::extend`].
    pub fn begin_all(decoder: &Decoder, prompts: Vec<(Vec<u32>, GenerationOptions)>) -> Result<Vec<Self>> {
        let mut read = KeyValueCache::new(decoder.config(), decoder.device());
        let shared = shared_beginning(prompts.iter().map(|(prompt, _)| prompt.as_slice()));
        if prompts.len() > 1 && shared >= WORTH_SHARING {
            decoder.extend(&prompts[0].0[..shared], &mut read)?;
        }
        let known = read.len();
        prompts
            .into_iter()
            .map(|(prompt, options)| Self::begin_after(decoder, read.clone(), &prompt[known..], options))
            .collect()
    }

    /// Reads what follows the tokens of a cache.
    fn begin_after(
        decoder: &Decoder,
        cache: KeyValueCache,
        rest: &[u32],
        options: GenerationOptions,
    ) -> Result<Self> {
        let mut continuation = Self {
            cache,
            tokens: Vec::new(),
            finish: (options.max_new_tokens == 0).then_some(Finish::Length),
            options,
        };
        if continuation.finish.is_none() {
            let logits = decoder.extend(rest, &mut continuation.cache)?;
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

/// How many tokens all prompts begin with, of each the last left out: it has to be read to say what follows.
fn shared_beginning<'p>(mut prompts: impl Iterator<Item = &'p [u32]>) -> usize {
    let Some(first) = prompts.next() else { return 0 };
    let shared = |most: usize, prompt: &[u32]| {
        let equal = prompt.iter().zip(first).take_while(|(a, b)| a == b).count();
        most.min(equal).min(prompt.len().saturating_sub(1))
    };
    prompts.fold(first.len().saturating_sub(1), shared)
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
    fn prompts_begun_together_are_continued_as_each_alone() {
        let decoder = decoder();
        // The first is all that the others begin with.
        let head: Vec<u32> = (0..40).map(|at| (at * 11) % 60).collect();
        let prompts: Vec<Vec<u32>> = [&[][..], &[5, 9, 1], &[5, 8]]
            .iter()
            .map(|rest| [&head, *rest].concat())
            .collect();
        assert_eq!(shared_beginning(prompts.iter().map(Vec::as_slice)), 39);
        let asked = prompts.iter().map(|prompt| (prompt.clone(), options(6, &[])));
        let mut together = Continuation::begin_all(&decoder, asked.collect()).unwrap();
        while together.iter().any(|open| open.finish().is_none()) {
            continue_all(&decoder, &mut together).unwrap();
        }
        for (prompt, written) in prompts.iter().zip(&together) {
            let alone = generate(&decoder, prompt, &options(6, &[]), &mut |_| true).unwrap();
            assert_eq!(alone.tokens, written.tokens());
        }
        assert_eq!(shared_beginning([].into_iter()), 0);
        assert!(Continuation::begin_all(&decoder, Vec::new()).unwrap().is_empty());
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
