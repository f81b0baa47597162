//! What one model answers to a task.

use serde::{Deserialize, Serialize};
use tributary_evaluate::{
    Answer, AnswerOptions, EvaluateError, LikelihoodOptions, TaskScore, summarise_answers,
};
use tributary_pipeline::{JobContext, JobError, Score};

use super::model::{Model, keep, kept};
use super::settings::EvaluateSettings;
use crate::blame::Blame;
use crate::task_set::Asked;

/// One model's answers to one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    pub(super) model: String,
    pub(super) task: String,
    pub(super) version: Option<String>,
    pub(super) answers: Vec<Answer>,
}

/// One model's answers to every task: from the checkpoints, or given now, portion by portion.
pub(super) fn answers(
    settings: &EvaluateSettings,
    context: &JobContext,
    index: usize,
    model: &mut Model<'_>,
    asked: &[Asked],
) -> Result<Vec<Answers>, JobError> {
    let mut all = Vec::new();
    for (number, task) in asked.iter().enumerate() {
        let name = model.name.to_owned();
        let what = format!("{name} on {}", task.name);
        let rows = task.exercise.len() as u64;
        context.progress.begin(&what, Some(rows), "answers");
        let mut answers: Vec<Answer> = Vec::new();
        for (place, portion) in task.exercise.portions().into_iter().enumerate() {
            context.cancellation.check()?;
            let place = format!("answers/{index}-{number}-{place}.json");
            let given: Vec<Answer> = match kept(context, &place)? {
                Some(given) => {
                    context.progress.advance(portion.len() as u64);
                    given
                }
                None => {
                    let given = answer(settings, context, model, task, portion)?;
                    keep(context, &place, &given)?;
                    given
                }
            };
            answers.extend(given);
        }
        if let Some(score) = summarise_answers(&answers).first() {
            context.progress.metric(&task.name, score.value);
        }
        all.push(Answers {
            model: name,
            task: task.name.clone(),
            version: task.version.clone(),
            answers,
        });
    }
    Ok(all)
}

fn answer(
    settings: &EvaluateSettings,
    context: &JobContext,
    model: &mut Model<'_>,
    asked: &Asked,
    portion: std::ops::Range<usize>,
) -> Result<Vec<Answer>, JobError> {
    let what = format!("asking {} on {}", model.name, asked.name);
    let window = model.window(settings)?;
    let (decoder, tokenizer) = model.get()?;
    let options = AnswerOptions {
        likelihood: LikelihoodOptions {
            context: window,
            batch_tokens: settings.batch_tokens as usize,
        },
        chat: asked.is_chat,
    };
    let mut heard = |more: u64| {
        context.progress.advance(more);
        !context.cancellation.is_cancelled()
    };
    match asked
        .exercise
        .answer(portion, decoder, tokenizer, &options, &mut heard)
    {
        Err(EvaluateError::Cancelled) => Err(JobError::cancelled()),
        other => other.blame(what),
    }
}

/// The scores, for the table.
pub(super) fn scores(answers: &Answers) -> Vec<Score> {
    let score = |found: TaskScore| Score {
        model: answers.model.clone(),
        dataset: answers.task.clone(),
        metric: found.name,
        value: found.value,
        stderr: found.stderr,
        count: found.rows,
        lower_is_better: found.lower_is_better,
    };
    summarise_answers(&answers.answers)
        .into_iter()
        .map(score)
        .collect()
}
