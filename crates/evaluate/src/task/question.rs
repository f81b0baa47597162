//! A task: how a row of a data set becomes something to answer.

use serde_json::{Map, Value};

use super::choice::Question;
use super::exercise::Exercise;
use super::field::{Field, list, text};
use super::reading::Text;
use super::writing::{Generation, Prompt};
use crate::instruction::Instruction;

/// A row of a data set.
pub(super) type Row = Map<String, Value>;

/// Why a task cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The file is no YAML, or has keys or values that are not understood.
    #[error("{0}")]
    File(String),
    /// A row does not fit the task.
    #[error("row {row}: {reason}")]
    Row {
        /// Its number, from 1.
        row: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// `task`.
    pub name: String,
    /// `metadata.version`, as it is written.
    pub version: Option<String>,
    /// `dataset_kwargs.data_files`, if it is one file or has one for `test` or `validation`.
    pub data_file: Option<String>,
    pub(super) description: Field,
    pub(super) text: Field,
    pub(super) target: Field,
    pub(super) target_delimiter: String,
    pub(super) fewshot_delimiter: String,
    pub(super) shots: Shots,
    pub(super) ask: Ask,
}

/// The examples before each question.
#[derive(Clone, Debug)]
pub(super) enum Shots {
    /// Those that the file lists.
    Listed(Vec<Row>),
    /// The first so many rows of another split, which the file names.
    First(usize, String),
}

/// What is asked of a model.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Choice(Field),
    Writing(Box<Generation>),
    Reading(Vec<String>),
}

impl Task {
    /// What the first `limit` rows ask. `examples` are the rows of the split that examples are taken from, if the file names one.
    ///
    /// # Errors
    /// [`TaskError::Row`] for a row that lacks what a template asks for, or has no right answer; [`TaskError::File`] if examples are
    /// missing.
    pub fn exercise(
        &self,
        rows: &[Row],
        examples: Option<&[Row]>,
        limit: usize,
    ) -> Result<Exercise, TaskError> {
        let examples = self.examples(self.shots(examples)?)?;
        let each = |(at, row)| (at, row, examples.as_str());
        let rows = rows.iter().take(limit).enumerate().map(each);
        match &self.ask {
            Ask::Choice(choice) => {
                let question = |(at, row, examples)| self.question(choice, at, row, examples);
                Ok(Exercise::choices(made(rows, question)?))
            }
            Ask::Writing(generation) => {
                let prompt = |(at, row, examples)| self.prompt(generation, at, row, examples);
                Ok(Exercise::writing((**generation).clone(), made(rows, prompt)?))
            }
            Ask::Reading(metrics) => {
                let read = |(row, of, _): (usize, &Row, &str)| {
                    let text = text("doc_to_target", self.target.of(of)?)?;
                    Ok(Text { row, text })
                };
                Ok(Exercise::reading(metrics.clone(), made(rows, read)?))
            }
        }
    }

    /// Are rows of another split needed, for examples?
    pub fn needs_examples(&self) -> bool {
        matches!(self.shots, Shots::First(..))
    }

    fn shots<'a>(&'a self, given: Option<&'a [Row]>) -> Result<&'a [Row], TaskError> {
        let missing = |count: usize, split: &str, given: usize| {
            let has = match given {
                0 => "which was not given".to_owned(),
                given => format!("which has {given}"),
            };
            TaskError::File(format!(
                "the task shows the first {count} rows of its split `{split}`, {has}"
            ))
        };
        match &self.shots {
            Shots::Listed(listed) => Ok(listed),
            Shots::First(count, split) => {
                let given = given.unwrap_or_default();
                given
                    .get(..*count)
                    .ok_or_else(|| missing(*count, split, given.len()))
            }
        }
    }

    /// Questions with their answers, each with the delimiter after it.
    fn examples(&self, shots: &[Row]) -> Result<String, TaskError> {
        let mut examples = String::new();
        for (at, shot) in shots.iter().enumerate() {
            let example = self.example(shot).map_err(|reason| {
                let row = at + 1;
                TaskError::File(format!("example {row}: {reason}"))
            })?;
            examples += &example;
            examples += &self.fewshot_delimiter;
        }
        Ok(examples)
    }

    fn example(&self, row: &Row) -> Result<String, String> {
        let answer = match &self.ask {
            Ask::Choice(choice) => {
                let choices = choices(choice, row)?;
                choices[self.gold(row, &choices)?].clone()
            }
            Ask::Writing(_) | Ask::Reading(_) => self.targets(row)?.swap_remove(0),
        };
        Ok(text("doc_to_text", self.text.of(row)?)? + &self.target_delimiter + &answer)
    }

    fn question(&self, choice: &Field, at: usize, row: &Row, examples: &str) -> Result<Question, String> {
        let choices = choices(choice, row)?;
        let gold = self.gold(row, &choices)?;
        let description = text("description", self.description.of(row)?)?;
        let asked = text("doc_to_text", self.text.of(row)?)?;
        Ok(Question {
            row: at,
            context: format!("{description}{examples}{asked}"),
            choices,
            delimiter: self.target_delimiter.clone(),
            gold,
        })
    }

    fn prompt(
        &self,
        generation: &Generation,
        at: usize,
        row: &Row,
        examples: &str,
    ) -> Result<Prompt, String> {
        let asked = text("doc_to_text", self.text.of(row)?)?;
        Ok(Prompt {
            row: at,
            description: text("description", self.description.of(row)?)?,
            text: format!("{examples}{asked}"),
            targets: self.targets(row)?,
            instructions: match generation.follows_instructions() {
                true => instructions(row)?,
                false => Vec::new(),
            },
        })
    }

    /// The right answers: at least one.
    fn targets(&self, row: &Row) -> Result<Vec<String>, String> {
        let of = |value: Value| match value {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(format!("doc_to_target gives {other}, not a text")),
        };
        let targets = match self.target.of(row)? {
            Value::Array(targets) => targets.into_iter().map(of).collect::<Result<Vec<_>, _>>()?,
            // A template may write a list.
            Value::String(text) if !self.is_column(row) => match list(&text) {
                Some(targets) => targets.into_iter().map(of).collect::<Result<Vec<_>, _>>()?,
                None => vec![text],
            },
            other => vec![of(other)?],
        };
        match targets.is_empty() {
            true => Err("doc_to_target gives no right answer".to_owned()),
            false => Ok(targets),
        }
    }

    fn is_column(&self, row: &Row) -> bool {
        matches!(&self.target, Field::Template(name) if row.contains_key(name))
    }

    /// A column's text is one of the choices; what a template writes may be its number too.
    fn gold(&self, row: &Row, choices: &[String]) -> Result<usize, String> {
        let target = self.target.of(row)?;
        let named = |text: &str| choices.iter().position(|choice| choice == text);
        let number = match &target {
            Value::Number(number) => number.as_u64().and_then(|at| usize::try_from(at).ok()),
            Value::Bool(flag) => Some(usize::from(*flag)),
            Value::String(text) if self.is_column(row) => named(text),
            Value::String(text) => text.trim().parse().ok().or_else(|| named(text)),
            _ => None,
        };
        number.filter(|at| *at < choices.len()).ok_or_else(|| {
            format!(
                "doc_to_target gives {target}, which is none of the {} choices",
                choices.len()
            )
        })
    }
}

/// What every row makes; an error says which row it is of.
fn made<'a, T>(
    rows: impl Iterator<Item = (usize, &'a Row, &'a str)>,
    mut make: impl FnMut((usize, &'a Row, &'a str)) -> Result<T, String>,
) -> Result<Vec<T>, TaskError> {
    rows.map(|each| {
        let row = each.0 + 1;
        make(each).map_err(|reason| TaskError::Row { row, reason })
    })
    .collect()
}

fn choices(choice: &Field, row: &Row) -> Result<Vec<String>, String> {
    let found = match choice.of(row)? {
        // A template that writes a list.
        Value::String(text) => {
            list(&text).ok_or_else(|| format!("doc_to_choice gives {text:?}, not a list"))?
        }
        Value::Array(found) => found,
        Value::Object(found) => found.into_iter().map(|(_, choice)| choice).collect(),
        other => return Err(format!("doc_to_choice gives {other}, not a list")),
    };
    let text = |choice: Value| match choice {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("the choice {other} is no text")),
    };
    let choices: Vec<String> = found.into_iter().map(text).collect::<Result<_, _>>()?;
    match choices.len() {
        0 => Err("there is no choice".to_owned()),
        _ => Ok(choices),
    }
}

/// The columns of IFEval's data.
fn instructions(row: &Row) -> Result<Vec<Instruction>, String> {
    let column = |name: &str| {
        let found = row.get(name).and_then(Value::as_array);
        found.ok_or_else(|| format!("the column `{name}`, a list, is missing"))
    };
    let (ids, arguments) = (column("instruction_id_list")?, column("kwargs")?);
    if ids.is_empty() || ids.len() != arguments.len() {
        return Err(format!(
            "{} instructions have {} arguments",
            ids.len(),
            arguments.len()
        ));
    }
    let instruction = |(id, arguments): (&Value, &Value)| {
        let (Some(id), Some(arguments)) = (id.as_str(), arguments.as_object()) else {
            return Err(format!("{id} with {arguments} is no instruction"));
        };
        Instruction::parse(id, arguments).map_err(|error| error.to_string())
    };
    ids.iter().zip(arguments).map(instruction).collect()
}
