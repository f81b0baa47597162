//! What one model answers to the questions of a task.

use serde::{Deserialize, Serialize};
use tributary_data::{Format, Source};
use tributary_evaluate::{
    ChoiceRecord, ChoiceScores, EvaluateError, LikelihoodOptions, Question, Task, choose, summarise_choices,
};
use tributary_pipeline::{
    FILE_KIND, InputDeclaration, JobContext, JobError, PlanContext, Problem, ResolvedInput, Score,
};

use super::model::{Model, keep, kept};
use super::names::distinct;
use super::settings::{EvaluateSettings, TaskSet};
use crate::blame::Blame;
use crate::data_set::ACCEPTED;

/// Longest task file.
const MAX_FILE: u64 = 4 << 20;

/// One model's answers to one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    pub(super) model: String,
    pub(super) task: String,
    pub(super) version: Option<String>,
    pub(super) scores: ChoiceScores,
    pub(super) questions: Vec<ChoiceRecord>,
}

/// A task with its questions.
pub(super) struct Asked {
    pub(super) name: String,
    version: Option<String>,
    questions: Vec<Question>,
}

pub(super) fn declare(tasks: &[TaskSet]) -> Vec<InputDeclaration> {
    let declare = |(index, set): (usize, &TaskSet)| {
        [
            InputDeclaration::new(format!("tasks.{index}.task"), &[FILE_KIND], &set.task).named(),
            InputDeclaration::new(format!("tasks.{index}.rows"), ACCEPTED, &set.rows),
        ]
    };
    tasks.iter().enumerate().flat_map(declare).collect()
}

/// What is wrong with tasks that exist already.
pub(super) fn check(settings: &EvaluateSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, set) in settings.tasks.iter().enumerate() {
        let [task, rows] = ["task", "rows"].map(|part| format!("tasks.{index}.{part}"));
        let read = plan.input(&task).map(read);
        match (read, plan.input(&rows)) {
            (Some(Err(error)), _) => problems.push(Problem::new(task, error.describe())),
            (Some(Ok(read)), Some(input)) => {
                if let Err(error) = questions(&read, input, set) {
                    problems.push(Problem::new(rows, error.describe()));
                }
            }
            _ => {}
        }
    }
    problems
}

/// Every task with its questions.
pub(super) fn ask(settings: &EvaluateSettings, context: &JobContext) -> Result<Vec<Asked>, JobError> {
    let mut asked: Vec<Asked> = Vec::new();
    for (index, set) in settings.tasks.iter().enumerate() {
        let task = read(context.input(&format!("tasks.{index}.task"))?)?;
        let questions = questions(&task, context.input(&format!("tasks.{index}.rows"))?, set)?;
        let names: Vec<String> = asked.iter().map(|task| task.name.clone()).collect();
        asked.push(Asked {
            name: distinct(set.name.clone().unwrap_or(task.name), index, &names),
            version: task.version,
            questions,
        });
    }
    Ok(asked)
}

fn read(input: &ResolvedInput) -> Result<Task, JobError> {
    let name = input.file_name().unwrap_or_default();
    let folder = input.folder()?;
    if folder.head(name)?.is_some_and(|found| found.size > MAX_FILE) {
        return Err(JobError::bad_input(format!(
            "{name} is too large for a task file"
        )));
    }
    let text = String::from_utf8(folder.get(name)?.to_vec())
        .map_err(|_| JobError::bad_input(format!("{name} is no text")))?;
    // What is included would not be part of the step's key.
    let mut include = |other: &str| Err(format!("`include: {other}`: put everything into one file here"));
    Task::parse(&text, &mut include).map_err(|error| JobError::config(format!("{name}: {error}")))
}

fn questions(task: &Task, rows: &ResolvedInput, set: &TaskSet) -> Result<Vec<Question>, JobError> {
    let source = Source::new(rows.root.clone(), rows.path.clone());
    let source = match rows.is_file {
        true => source.with_format(Format::Jsonl),
        false => source,
    };
    let rows = source.rows().blame("reading its rows")?;
    let limit = set
        .limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let questions = task
        .questions(&rows, limit)
        .map_err(|error| JobError::bad_input(format!("{}: {error}", task.name)))?;
    match questions.is_empty() {
        true => Err(JobError::bad_input("there is no question")),
        false => Ok(questions),
    }
}

/// One model's answers to every task: from the checkpoints, or given now.
pub(super) fn answers(
    settings: &EvaluateSettings,
    context: &JobContext,
    index: usize,
    model: &mut Model<'_>,
    asked: &[Asked],
) -> Result<Vec<Answers>, JobError> {
    let mut all = Vec::new();
    for (number, task) in asked.iter().enumerate() {
        context.cancellation.check()?;
        let place = format!("answers/{index}-{number}.json");
        let answers = match kept(context, &place)? {
            Some(answers) => answers,
            None => {
                let answers = answer(settings, context, model, task)?;
                keep(context, &place, &answers)?;
                answers
            }
        };
        all.push(answers);
    }
    Ok(all)
}

fn answer(
    settings: &EvaluateSettings,
    context: &JobContext,
    model: &mut Model<'_>,
    asked: &Asked,
) -> Result<Answers, JobError> {
    let name = model.name.to_owned();
    let (decoder, tokenizer) = model.get()?;
    let options = LikelihoodOptions {
        context: settings
            .context
            .map_or(decoder.config().max_positions.min(2048), |context| {
                context as usize
            }),
        batch_tokens: settings.batch_tokens as usize,
    };
    let what = format!("{name} on {}", asked.name);
    let mut before = None;
    let records = choose(
        decoder,
        tokenizer,
        &asked.questions,
        &options,
        &mut |done, all| {
            if before.is_none() {
                context.progress.begin(&what, Some(all), "tokens");
            }
            context.progress.advance(done - before.unwrap_or(0));
            before = Some(done);
            !context.cancellation.is_cancelled()
        },
    );
    let questions = match records {
        Err(EvaluateError::Cancelled) => return Err(JobError::cancelled()),
        other => other.blame(format!("asking {what}"))?,
    };
    let scores = summarise_choices(&questions).ok_or_else(|| JobError::bug("a task without a question"))?;
    context.progress.metric(&asked.name, scores.acc);
    Ok(Answers {
        model: name,
        task: asked.name.clone(),
        version: asked.version.clone(),
        scores,
        questions,
    })
}

/// Both shares, for the table.
pub(super) fn scores(answers: &Answers) -> [Score; 2] {
    let score = |metric: &str, value: f64, stderr: Option<f64>| Score {
        model: answers.model.clone(),
        dataset: answers.task.clone(),
        metric: metric.to_owned(),
        value,
        stderr,
        count: answers.scores.questions,
        lower_is_better: false,
    };
    let found = &answers.scores;
    [
        score("acc", found.acc, found.acc_stderr),
        score("acc_norm", found.acc_norm, found.acc_norm_stderr),
    ]
}
