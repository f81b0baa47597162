//! `trib evaluate MODEL --data FILE`, `trib evaluate MODEL --task FILE`.

mod tasks;

use clap::Args;
use serde_json::{Value, json};
use tributary_data::{Source, TokenizeOptions, Tokenizer, tokenize};
use tributary_evaluate::{
    AnswerOptions, CalibrationWanted, LikelihoodOptions, Measured, ScoredDocuments, StateStatistics, Wanted,
    accuracy, measure,
};
use tributary_model::{Decoder, Device, load_config};

use crate::exit::Failure;
use crate::model_place::open_model;
use crate::output::{bar, line, say};
use crate::pipeline_arguments::device_name;
use tasks::Places;

const METRICS: [&str; 6] = [
    "nll",
    "accuracy",
    "calibration",
    "log_calibration",
    "block_influence",
    "hidden_states",
];
/// The k of the accuracies.
const TOP: [usize; 2] = [1, 5];

#[derive(Args)]
#[command(
    after_long_help = "Running text is scored whole; of prompts with completions and of conversations, only what the \
    model would have to say is.\n\n\
    Examples:\n  trib evaluate ckpt/model --data held-out.txt\n  \
    trib evaluate s3://bucket/model --data a.jsonl --data b.parquet --json\n  \
    trib evaluate ckpt/model --data held-out.txt --metrics accuracy,calibration,block_influence\n  \
    trib evaluate ckpt/model --data held-out.txt --per-token --context 512 --json\n  \
    trib evaluate ckpt/model --task arc_easy.yaml --data arc_easy.jsonl --limit 500\n  \
    trib evaluate ckpt/model --task gsm8k --data gsm8k/test.jsonl --examples gsm8k/train.jsonl\n  \
    trib evaluate ckpt/chat-model --task ifeval --data ifeval/input_data.jsonl --chat"
)]
pub(crate) struct Options {
    /// A model directory or artifact: a path, file:// or s3://
    model: String,
    /// Text, JSONL or parquet; may be given more than once. With --task: its rows, JSONL or parquet
    #[arg(long, required_unless_present = "task")]
    data: Vec<String>,
    /// A task in lm-evaluation-harness's YAML, or built in: gsm8k, gsm8k_zero_shot, ifeval
    #[arg(long, conflicts_with_all = ["metrics", "bins", "per_token", "end_of_text"])]
    task: Option<String>,
    /// The rows that a task takes its examples from, JSONL or parquet: those of its fewshot_split
    #[arg(long, requires = "task")]
    examples: Option<String>,
    /// Put a task's prompts to the model as what a user says, in its chat template
    #[arg(long, requires = "task")]
    chat: bool,
    /// Answer only the first rows of a task
    #[arg(long, requires = "task")]
    limit: Option<usize>,
    /// What to measure: nll is always there; calibration is ECE, class-wise ECE and Full-ECE, log_calibration also Full-ECE
    /// over bins of factors of two
    #[arg(long, default_value = "nll", value_delimiter = ',', value_parser = METRICS)]
    metrics: Vec<String>,
    /// Bins of probability for calibration errors
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    bins: u16,
    /// Give the negative log-likelihood of every token (with --json)
    #[arg(long)]
    per_token: bool,
    /// Tokens of a window: a prediction looks back on one less (default: the model's context, at most 2048)
    #[arg(long)]
    context: Option<usize>,
    /// For plain text: the line that ends a document, "" for blank lines (default: <|endoftext|>)
    #[arg(long, conflicts_with = "task")]
    separator: Option<String>,
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
    let asked = match (&options.task, options.data.as_slice()) {
        (None, _) => None,
        (Some(_), [_, _, ..]) => {
            return Err(Failure::usage("--task asks about the rows of one file of --data"));
        }
        (Some(task), data) => {
            let places = Places {
                task,
                rows: data.first().map(String::as_str),
                examples: options.examples.as_deref(),
            };
            Some(tasks::read(&places, options.limit)?)
        }
    };
    // A missing file is found before the first one is scored.
    let texts = if asked.is_some() {
        &[]
    } else {
        options.data.as_slice()
    };
    let records: Vec<_> = texts
        .iter()
        .map(|data| {
            let mut source = Source::open(data)?;
            source.separator = options.separator.clone();
            source.records()
        })
        .collect::<Result<_, _>>()?;
    let store = open_model(&options.model)?;
    // Says what is missing if this is no model at all; the tokenizer would only miss its own file.
    load_config(&store.directory())?;
    let tokenizer = Tokenizer::load(&store)?;
    let decoder = Decoder::load(&store.directory(), device)?.compact();
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
    if let Some(asked) = asked {
        let how = AnswerOptions {
            likelihood: settings,
            chat: options.chat,
        };
        let result = tasks::ask(&asked, &decoder, &tokenizer, &how, json)?;
        if json {
            line(json!({"model": store.url(), "context": context, "results": [result]}))?;
        }
        return Ok(());
    }
    let wanted = options.wanted();
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
        let measured = measure(&decoder, &documents, &settings, &wanted, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
            true
        })?;
        bar.finish_and_clear();
        let scored = &measured.scored;
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
            for more in details(&measured) {
                line(format!("  {more}"))?;
            }
        }
        let documents = if options.per_token {
            Some(per_token(&documents, scored))
        } else {
            None
        };
        let mut result = json!({"data": data, "nll": scored.total, "documents": documents});
        for (at, k) in wanted.top.iter().enumerate() {
            if let Some((value, stderr)) = accuracy(&scored.documents, at) {
                result[format!("top_{k}_accuracy")] = json!({"value": value, "stderr": stderr});
            }
        }
        if let Some(calibration) = &measured.calibration {
            result["calibration"] = json!(calibration);
        }
        if let Some(influence) = &measured.block_influence {
            result["block_influence"] = json!(influence);
        }
        if let Some(states) = &measured.hidden_states {
            result["hidden_states"] = json!(states);
        }
        results.push(result);
    }
    if json {
        line(json!({"model": store.url(), "context": context, "results": results}))?;
    }
    Ok(())
}

impl Options {
    fn wanted(&self) -> Wanted {
        let has = |name: &str| self.metrics.iter().any(|metric| metric == name);
        Wanted {
            top: if has("accuracy") { TOP.to_vec() } else { Vec::new() },
            calibration: (has("calibration") || has("log_calibration")).then_some(CalibrationWanted {
                bins: usize::from(self.bins),
                logarithmic: has("log_calibration"),
                class_wise: true,
            }),
            block_influence: has("block_influence"),
            hidden_states: has("hidden_states"),
            ..Wanted::default()
        }
    }
}

/// What was measured beside the likelihood, a line each.
fn details(measured: &Measured) -> Vec<String> {
    let with_error = |value: f64, stderr: Option<f64>| match stderr {
        Some(stderr) => format!("{value:.4} ± {stderr:.4}"),
        None => format!("{value:.4}"),
    };
    let mut lines = Vec::new();
    for (at, k) in TOP.iter().enumerate() {
        if let Some((value, stderr)) = accuracy(&measured.scored.documents, at) {
            lines.push(format!("among the top {k}: {}", with_error(value, stderr)));
        }
    }
    if let Some(found) = &measured.calibration {
        let with_interval = |value: f64, stderr: Option<f64>, interval: Option<[f64; 2]>| {
            let interval = interval.map(|[low, high]| format!(" ({low:.4} to {high:.4})"));
            with_error(value, stderr) + &interval.unwrap_or_default()
        };
        let class_wise = match (found.class_wise_ece, found.class_wise_ece_stderr) {
            (Some(value), Some(stderr)) => format!(", class-wise ECE {value:.3e} ± {stderr:.1e}"),
            (Some(value), None) => format!(", class-wise ECE {value:.3e}"),
            (None, _) => String::new(),
        };
        lines.push(format!(
            "{} bins: ECE {}{class_wise}, Full-ECE {}",
            found.bins,
            with_interval(found.ece, found.ece_stderr, found.ece_interval),
            with_interval(found.full_ece, found.full_ece_stderr, found.full_ece_interval),
        ));
        if let Some(value) = found.full_ece_log {
            lines.push(format!(
                "bins of factors of two: Full-ECE {}",
                with_interval(value, found.full_ece_log_stderr, found.full_ece_log_interval)
            ));
        }
    }
    if let Some(found) = &measured.block_influence {
        let ranking = found.ranking();
        let layer = |layer: &usize| format!("{layer} ({:.4})", found.layers[*layer]);
        let layers: Vec<String> = ranking.iter().map(layer).collect();
        lines.push(format!("Block Influence, least first: {}", layers.join(", ")));
    }
    if let Some(found) = &measured.hidden_states {
        lines.push(
            "hidden states after so many layers: mean length, largest component, mean cosine of two tokens"
                .to_owned(),
        );
        for (place, states) in found.places.iter().enumerate() {
            let StateStatistics { norm, largest, alike } = states;
            lines.push(format!("  {place:>3}: {norm:.3}, {largest:.3}, {alike:.4}"));
        }
    }
    lines
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
