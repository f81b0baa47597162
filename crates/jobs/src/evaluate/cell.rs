//! What one model scores on one data set: measured, or taken from the step's checkpoints.

use serde::{Deserialize, Serialize};
use tributary_data::{Document, TokenizeOptions, Tokenizer};
use tributary_evaluate::{
    BlockInfluence, Calibration, DocumentScore, EvaluateError, HiddenStates, Likelihood, LikelihoodOptions,
    measure,
};
use tributary_model::Decoder;
use tributary_pipeline::{JobContext, JobError};

use super::model::{Model, keep, kept};
use super::settings::EvaluateSettings;
use crate::blame::Blame;
use crate::data_set::{self, DataSet};

/// What one model scores on one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cell {
    pub(super) model: String,
    pub(super) data: String,
    pub(super) total: Likelihood,
    pub(super) documents: Vec<DocumentScore>,
    pub(super) calibration: Option<Calibration>,
    pub(super) block_influence: Option<BlockInfluence>,
    pub(super) hidden_states: Option<HiddenStates>,
    /// For each document the negative log-likelihood of each token, null where not scored.
    pub(super) tokens: Option<Vec<Vec<Option<f32>>>>,
}

/// One model on every data set: from the checkpoints, or measured now.
pub(super) fn cells(
    settings: &EvaluateSettings,
    context: &JobContext,
    index: usize,
    model: &mut Model<'_>,
    sets: &[String],
) -> Result<Vec<Cell>, JobError> {
    let mut cells = Vec::new();
    for (column, set) in settings.data.iter().enumerate() {
        context.cancellation.check()?;
        let place = format!("cells/{index}-{column}.json");
        let cell = match kept(context, &place)? {
            Some(cell) => cell,
            None => {
                let (name, window) = (model.name, model.window(settings)?);
                let (decoder, tokenizer) = model.get()?;
                let mut cell = cell(
                    settings,
                    context,
                    (name, decoder, tokenizer),
                    window,
                    (column, set),
                )?;
                cell.data.clone_from(&sets[column]);
                keep(context, &place, &cell)?;
                cell
            }
        };
        cells.push(cell);
    }
    Ok(cells)
}

fn cell(
    settings: &EvaluateSettings,
    context: &JobContext,
    (name, decoder, tokenizer): (&str, &Decoder, &Tokenizer),
    window: usize,
    (column, set): (usize, &DataSet),
) -> Result<Cell, JobError> {
    let input = context.input(&format!("data.{column}.source"))?;
    let data = set.label(input).to_owned();
    let how = TokenizeOptions {
        add_eos: tokenizer.eos().is_some(),
        completion_only: true,
        ..TokenizeOptions::default()
    };
    let documents: Vec<Document> = data_set::documents(set, input, tokenizer, &how)?;
    let options = LikelihoodOptions {
        context: window,
        batch_tokens: settings.batch_tokens as usize,
    };
    let mut before = None;
    let measured = measure(
        decoder,
        &documents,
        &options,
        &settings.wanted(),
        &mut |done, all| {
            if before.is_none() {
                context
                    .progress
                    .begin(&format!("{name} on {data}"), Some(all), "tokens");
            }
            context.progress.advance(done.min(all) - before.unwrap_or(0));
            before = Some(done.min(all));
            !context.cancellation.is_cancelled()
        },
    );
    let measured = match measured {
        Err(EvaluateError::Cancelled) => return Err(JobError::cancelled()),
        other => other.blame(format!("measuring {name} on {data}"))?,
    };
    let scored = measured.scored;
    context.progress.metric(&data, scored.total.nll);
    let finite = |scores: Vec<f32>| {
        scores
            .into_iter()
            .map(|score| (!score.is_nan()).then_some(score))
            .collect()
    };
    let tokens = settings
        .per_token
        .then(|| scored.tokens.into_iter().map(finite).collect());
    Ok(Cell {
        model: name.to_owned(),
        data,
        total: scored.total,
        documents: scored.documents,
        calibration: measured.calibration,
        block_influence: measured.block_influence,
        hidden_states: measured.hidden_states,
        tokens,
    })
}
