//! How a model writes: a likelihood can look well while the text repeats itself for ever.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tributary_data::Document;
use tributary_model::{Decoder, Finish, GenerationOptions, SamplingOptions, generate};

use crate::error::Result;

/// Tokens of a sequence that counts as repeated.
const GRAM: usize = 4;

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthOptions {
    /// Documents whose beginnings are continued.
    pub prompts: usize,
    /// Tokens of a beginning.
    pub prompt_tokens: usize,
    /// Tokens written at most.
    pub new_tokens: usize,
    /// Tokens that end a text.
    pub stop: Vec<u32>,
}

/// What greedy continuations look like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Share of the sequences of 4 tokens that came before in the same continuation.
    pub repetition: f64,
    /// Share of the continuations that ended before they had to.
    pub ended: f64,
    /// Continuations.
    pub continuations: usize,
}

/// Continues the first documents that are long enough, most probable token by most probable token.
///
/// # Errors
/// What the model gives.
pub fn health(decoder: &Decoder, documents: &[Document], options: &HealthOptions) -> Result<Health> {
    let how = GenerationOptions {
        max_new_tokens: options.new_tokens,
        sampling: SamplingOptions::default(),
        stop: options.stop.clone(),
    };
    let long_enough = documents
        .iter()
        .filter(|document| document.tokens.len() > options.prompt_tokens);
    let (mut grams, mut repeated, mut ended, mut continuations) = (0, 0, 0, 0);
    for document in long_enough.take(options.prompts) {
        let written = generate(
            decoder,
            &document.tokens[..options.prompt_tokens],
            &how,
            &mut |_| true,
        )?;
        let mut seen = HashSet::new();
        for gram in written.tokens.windows(GRAM) {
            grams += 1;
            repeated += usize::from(!seen.insert(gram.to_vec()));
        }
        ended += usize::from(written.finish == Finish::Stop);
        continuations += 1;
    }
    let share = |part: usize, whole: usize| {
        if whole == 0 {
            0.0
        } else {
            part as f64 / whole as f64
        }
    };
    Ok(Health {
        repetition: share(repeated, grams),
        ended: share(ended, continuations),
        continuations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::tests::{decoder, documents};

    #[test]
    fn repetition_is_counted_within_a_continuation() {
        let decoder = decoder();
        let options = HealthOptions {
            prompts: 3,
            prompt_tokens: 8,
            new_tokens: 40,
            stop: Vec::new(),
        };
        let found = health(&decoder, &documents(), &options).unwrap();
        assert_eq!((found.continuations, found.ended), (3, 0.0));
        assert!((0.0..=1.0).contains(&found.repetition));
        // Everything ends a text: nothing is written.
        let stops = HealthOptions {
            stop: (0..50).collect(),
            ..options
        };
        let found = health(&decoder, &documents(), &stops).unwrap();
        assert_eq!((found.repetition, found.ended), (0.0, 1.0));
    }
}
