//! `train.tokenizer`: a byte-level BPE learned from text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_data::{Record, Tokenizer};
use tributary_pipeline::{
    InputDeclaration, JobContext, JobError, Outcome, OutputDeclaration, PlanContext, Problem, TypedJob,
};

use crate::blame::Blame;
use crate::data_set::{self, DataSet};

/// Kind of an output that holds tokenizer files.
pub const TOKENIZER_KIND: &str = "tokenizer";

/// Settings of `train.tokenizer`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSettings {
    /// Texts to learn from.
    pub data: Vec<DataSet>,
    /// The most tokens, special ones and the 256 bytes included.
    #[serde(default = "default_vocab_size")]
    pub vocab_size: u32,
    /// Special tokens; they get the first ids, and the first of them begins, ends and pads texts. With `<|im_start|>`
    /// and `<|im_end|>` the tokenizer carries the ChatML chat template.
    #[serde(default = "default_special")]
    pub special: Vec<String>,
}

fn default_vocab_size() -> u32 {
    8192
}

fn default_special() -> Vec<String> {
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        .map(str::to_owned)
        .to_vec()
}

/// The job kind `train.tokenizer`.
#[derive(Clone, Copy, Debug)]
pub struct TrainTokenizer;

impl TypedJob for TrainTokenizer {
    type Settings = TokenizerSettings;
    const KIND: &'static str = "train.tokenizer";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Learns a byte-level BPE tokenizer from text.";
    const EXAMPLE: &'static str = "- id: tokenizer\n  job: train.tokenizer\n  with:\n    data: [{source: \"${corpora.stories}\"}]\n    vocab_size: 1024\n";

    fn is_seeded(&self, _: &TokenizerSettings) -> bool {
        false
    }

    fn inputs(&self, settings: &TokenizerSettings) -> Vec<InputDeclaration> {
        data_set::declare("data", &settings.data)
    }

    fn outputs(&self, _: &TokenizerSettings) -> Vec<OutputDeclaration> {
        vec![OutputDeclaration::new("tokenizer", TOKENIZER_KIND, "")]
    }

    fn check(&self, settings: &TokenizerSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let mut problems = data_set::check("data", &settings.data, plan);
        let least = 256 + settings.special.len();
        if (settings.vocab_size as usize) < least {
            let message = format!(
                "{} has no room for {} special tokens and 256 bytes",
                settings.vocab_size,
                settings.special.len()
            );
            problems.push(Problem::new("vocab_size", message).help(format!("at least {least}")));
        }
        if settings.special.is_empty() {
            problems.push(
                Problem::new("special", "a text needs a token that ends it")
                    .help("leave `special` out for the usual three"),
            );
        }
        problems
    }

    fn run(&self, settings: &TokenizerSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        let mut texts = Vec::new();
        for (index, set) in settings.data.iter().enumerate() {
            context.cancellation.check()?;
            let input = context.input(&format!("data.{index}.source"))?;
            let doing = || format!("reading {}", input.reference);
            context.progress.begin(&doing(), None, "records");
            let records = set.open(input)?.records().blame(doing())?;
            let limit = set
                .limit
                .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
            for record in set.split.filter(records, set.held_out).take(limit) {
                add_texts(record.blame(doing())?, &mut texts);
                context.progress.advance(1);
            }
        }
        context.cancellation.check()?;
        context.progress.message("learning merges");
        let special: Vec<&str> = settings.special.iter().map(String::as_str).collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        let tokenizer = Tokenizer::train_byte_bpe(texts.into_iter(), settings.vocab_size as usize, &special)
            .blame("learning the tokenizer")?;
        for (name, bytes) in tokenizer.to_files() {
            context.publication.put(&name, bytes)?;
        }
        Ok(Outcome::default()
            .fact("vocab_size", tokenizer.vocab_size())
            .fact("bytes_read", bytes))
    }
}

fn add_texts(record: Record, texts: &mut Vec<String>) {
    match record {
        Record::Text(text) => texts.push(text),
        Record::Completion { prompt, completion } => texts.extend([prompt, completion]),
        Record::Messages(messages) => texts.extend(messages.into_iter().map(|message| message.content)),
    }
}
