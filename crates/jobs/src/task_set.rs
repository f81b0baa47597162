//! Tasks as settings name them, for every job that asks some: their inputs, what is wrong with them, what their rows ask.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_data::{Format, Source, Tokenizer};
use tributary_evaluate::{BuiltIn, Exercise, Task};
use tributary_model::load_config;
use tributary_pipeline::{
    FILE_KIND, InputDeclaration, InputRef, JobContext, JobError, PlanContext, Problem, ResolvedInput,
};

use crate::blame::Blame;
use crate::data_set::ACCEPTED;
use crate::names::distinct;

/// Longest task file.
const MAX_FILE: u64 = 4 << 20;

/// A task and what it asks about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSet {
    /// The task, a file in lm-evaluation-harness's YAML that includes no other.
    #[serde(default)]
    pub task: Option<InputRef>,
    /// Or one that the program knows.
    #[serde(default)]
    pub built_in: Option<BuiltInTask>,
    /// The rows it asks about, JSON lines or a parquet table.
    pub rows: InputRef,
    /// The rows that its examples are taken from, likewise: those of its `fewshot_split`.
    #[serde(default)]
    pub examples: Option<InputRef>,
    /// Put the prompt to the model as what a user says, in its chat template; for tasks that are answered in writing.
    #[serde(default)]
    pub chat: bool,
    /// What tables call it; its own name unless given.
    #[serde(default)]
    pub name: Option<String>,
    /// Only the first so many rows.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// A task that needs no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuiltInTask {
    /// Grade-school word problems, after five examples; columns `question` and `answer`.
    Gsm8k,
    /// The same without examples.
    Gsm8kZeroShot,
    /// Instructions that a program can check; columns `prompt`, `instruction_id_list` and `kwargs`.
    Ifeval,
}

impl BuiltInTask {
    fn task(self) -> Result<Task, JobError> {
        let built_in = match self {
            Self::Gsm8k => BuiltIn::Gsm8k,
            Self::Gsm8kZeroShot => BuiltIn::Gsm8kZeroShot,
            Self::Ifeval => BuiltIn::Ifeval,
        };
        built_in.task().map_err(|error| JobError::bug(error.to_string()))
    }
}

/// A task with what its rows ask.
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) exercise: Exercise,
    /// Are prompts what a user says?
    pub(crate) is_chat: bool,
}

/// Their inputs, under `field`.
pub(crate) fn declare(field: &str, tasks: &[TaskSet]) -> Vec<InputDeclaration> {
    let declare = |(index, set): (usize, &TaskSet)| {
        let input =
            |part: &str, kinds, input| InputDeclaration::new(format!("{field}.{index}.{part}"), kinds, input);
        let task = set
            .task
            .as_ref()
            .map(|task| input("task", &[FILE_KIND], task).named());
        let examples = set
            .examples
            .as_ref()
            .map(|examples| input("examples", ACCEPTED, examples));
        [task, Some(input("rows", ACCEPTED, &set.rows)), examples]
    };
    tasks.iter().enumerate().flat_map(declare).flatten().collect()
}

/// What is wrong with tasks, as far as it is there already.
pub(crate) fn check(
    field: &str,
    tasks: &[TaskSet],
    models: &[&ResolvedInput],
    plan: &PlanContext<'_>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, set) in tasks.iter().enumerate() {
        let place = |part: &str| format!("{field}.{index}.{part}");
        if set.limit == Some(0) {
            problems.push(Problem::new(place("limit"), "no row is taken").help("leave it out to take all"));
            continue;
        }
        let task = match (&set.task, set.built_in) {
            (Some(_), None) => plan.input(&place("task")).map(read),
            (None, Some(built_in)) => Some(built_in.task()),
            _ => {
                let problem = Problem::new(place("task"), "a task is either a file or built in");
                problems.push(problem.help("give one of `task` and `built_in`"));
                continue;
            }
        };
        let task = match task {
            Some(Ok(task)) => task,
            Some(Err(error)) => {
                problems.push(Problem::new(place("task"), error.describe()));
                continue;
            }
            None => continue,
        };
        let examples = set.examples.as_ref().map(|_| plan.input(&place("examples")));
        if task.needs_examples() && examples.is_none() {
            let problem = Problem::new(
                place("examples"),
                format!("{} shows examples from other rows", task.name),
            );
            problems.push(problem.help("name the rows of its other split, JSON lines or parquet"));
            continue;
        }
        // Given, but not there yet.
        if matches!(examples, Some(None)) {
            continue;
        }
        let Some(rows) = plan.input(&place("rows")) else {
            continue;
        };
        match exercise(&task, rows, examples.flatten(), set) {
            Err(error) => problems.push(Problem::new(place("rows"), error.describe())),
            Ok(exercise) => {
                let fits = |model: &&ResolvedInput| fits(&exercise, set, model).err();
                let place = place(if set.task.is_some() { "task" } else { "built_in" });
                problems.extend(
                    models
                        .iter()
                        .find_map(fits)
                        .map(|error| Problem::new(place, error.describe())),
                );
            }
        }
    }
    problems
}

/// Can this model be asked?
fn fits(exercise: &Exercise, set: &TaskSet, model: &ResolvedInput) -> Result<(), JobError> {
    // Anything else wrong with the model is said elsewhere.
    let (Ok(config), Ok(tokenizer)) = (
        load_config(&model.directory()?),
        Tokenizer::load(&model.folder()?),
    ) else {
        return Ok(());
    };
    exercise
        .check(config.max_positions, &tokenizer, set.chat)
        .blame(format!("asking {}", model.label))
}

/// Every task with what its rows ask.
pub(crate) fn ask(field: &str, tasks: &[TaskSet], context: &JobContext) -> Result<Vec<Asked>, JobError> {
    let mut asked: Vec<Asked> = Vec::new();
    for (index, set) in tasks.iter().enumerate() {
        let input = |part: &str| context.input(&format!("{field}.{index}.{part}"));
        let task = match (&set.task, set.built_in) {
            (None, Some(built_in)) => built_in.task()?,
            _ => read(input("task")?)?,
        };
        let examples = set.examples.as_ref().map(|_| input("examples")).transpose()?;
        let exercise = exercise(&task, input("rows")?, examples, set)?;
        let names: Vec<String> = asked.iter().map(|task| task.name.clone()).collect();
        asked.push(Asked {
            name: distinct(set.name.clone().unwrap_or(task.name), index, &names),
            version: task.version,
            exercise,
            is_chat: set.chat,
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

fn exercise(
    task: &Task,
    rows: &ResolvedInput,
    examples: Option<&ResolvedInput>,
    set: &TaskSet,
) -> Result<Exercise, JobError> {
    let read = |input: &ResolvedInput, what: &str| {
        let source = Source::new(input.root.clone(), input.path.clone());
        // Whatever its ending says, a file that is no table holds JSON lines.
        let is_table = input.file_name().and_then(Format::from_name) == Some(Format::Parquet);
        let source = match input.is_file && !is_table {
            true => source.with_format(Format::Jsonl),
            false => source,
        };
        source.rows().blame(format!("reading its {what}"))
    };
    let (rows, examples) = (
        read(rows, "rows")?,
        examples.map(|input| read(input, "examples")).transpose()?,
    );
    let limit = set
        .limit
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let exercise = task
        .exercise(&rows, examples.as_deref(), limit)
        .map_err(|error| JobError::bad_input(format!("{}: {error}", task.name)))?;
    match exercise.is_empty() {
        true => Err(JobError::bad_input("there is nothing to answer")),
        false => Ok(exercise),
    }
}
