//! `trib evaluate MODEL --data FILE`.

use clap::Args;
use serde_json::{Value, json};
use tributary_data::{Source, TokenizeOptions, Tokenizer, tokenize};
use tributary_evaluate::{LikelihoodOptions, ScoredDocuments, likelihood};
use tributary_model::{Decoder, Device, load_config};

use crate::exit::Failure;
use crate::model_place::open_model;
use crate::output::{bar, line, say};
use crate::pipeline_arguments::device_name;

#[derive(Args)]
#[command(
    after_long_help = "Running text is scored whole; of prompts with completions and of conversations, only what the \
    model would have to say is.\n\n\
    Examples:\n  trib evaluate ckpt/model --data held-out.txt\n  \
    trib evaluate s3://bucket/model --data a.jsonl --data b.parquet --metrics nll --json\n  \
    trib evaluate ckpt/model --data held-out.txt --per-token --context 512 --json"
)]
pub(crate) struct Options {
    /// A model directory or artifact: a path, file:// or s3://
    model: String,
    /// Text, JSONL or parquet; may be given more than once
    #[arg(long, required = true)]
    data: Vec<String>,
    /// What to measure
    #[arg(long, default_value = "nll", value_parser = ["nll"])]
    metrics: String,
    /// Give the negative log-likelihood of every token (with --json)
    #[arg(long)]
    per_token: bool,
    /// Tokens of a window: a prediction looks back on one less (default: the model's context, at most 2048)
    #[arg(long)]
    context: Option<usize>,
    /// Also score the token that ends a text, at the end of each document (the step kind evaluate does)
    #[arg(long)]
    end_of_text: bool,
    /// cpu, cuda:N or auto
    #[arg(long, default_value = "auto", value_parser = device_name)]
    device: String,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    if options.per_token && !json {
        return Err(Failure::usage(
            "--per-token needs --json: a table of every token is nothing to read",
        ));
    }
    if options.context.is_some_and(|context| context < 2) {
        let message = "--context must be at least 2: one token to read and one to predict";
        return Err(Failure::usage(message));
    }
    let device: Device = options.device.parse()?;
    // A missing file is found before the first one is scored.
    let records: Vec<_> = options
        .data
        .iter()
        .map(|data| Source::open(data)?.records())
        .collect::<Result<_, _>>()?;
    let store = open_model(&options.model)?;
    // Says what is missing if this is no model at all; the tokenizer would only miss its own file.
    load_config(&store.directory())?;
    let tokenizer = Tokenizer::load(&store)?;
    let decoder = Decoder::load(&store.directory(), device)?;
    let context = options
        .context
        .unwrap_or(decoder.config().max_positions.min(2048));
    if context > decoder.config().max_positions {
        let trained = decoder.config().max_positions;
        say(format!(
            "note: a context of {context} tokens, and the model was made for {trained}"
        ));
    }
    let settings = LikelihoodOptions {
        context,
        ..LikelihoodOptions::default()
    };
    let mut results = Vec::new();
    for (data, records) in options.data.iter().zip(records) {
        // Prompts are given, so only completions and answers are scored; running text is scored whole.
        let how = TokenizeOptions {
            add_eos: options.end_of_text,
            completion_only: true,
            ..TokenizeOptions::default()
        };
        let documents = tokenize(records, &tokenizer, &how)?;
        let bar = bar(0, "tokens");
        let scored = likelihood(&decoder, &documents, &settings, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
            true
        })?;
        bar.finish_and_clear();
        if !json {
            let total = &scored.total;
            let error = total
                .nll_stderr
                .map(|error| format!(" ± {error:.4}"))
                .unwrap_or_default();
            line(format!(
                "{data}: nll {:.4}{error} nats a token, perplexity {:.3}, {} tokens in {} document(s)",
                total.nll, total.perplexity, total.tokens, total.documents
            ))?;
        }
        let documents = if options.per_token {
            Some(per_token(&documents, &scored))
        } else {
            None
        };
        results.push(json!({"data": data, "nll": scored.total, "documents": documents}));
    }
    if json {
        line(json!({"model": store.url(), "context": context, "results": results}))?;
    }
    Ok(())
}

/// Token ids and their negative log-likelihoods, null where not scored.
fn per_token(documents: &[tributary_data::Document], scored: &ScoredDocuments) -> Value {
    let list = documents.iter().zip(&scored.tokens).map(|(document, scores)| {
        let scores: Vec<Option<f32>> = scores
            .iter()
            .map(|score| (!score.is_nan()).then_some(*score))
            .collect();
        json!({"id": document.id, "tokens": document.tokens, "nll": scores})
    });
    list.collect()
}
