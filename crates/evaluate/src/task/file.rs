//! The file: which keys are understood, and what they make of a row.

use serde_json::{Map, Value};

use super::template::render;

/// Longest chain of `include`.
const MOST_INCLUDES: usize = 8;
/// Keys of the harness that change nothing of what is computed here.
const IGNORED: [&str; 13] = [
    "tag",
    "group",
    "task_alias",
    "dataset_path",
    "dataset_name",
    "training_split",
    "validation_split",
    "test_split",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "metric_list",
    "repeats",
    "metadata",
];

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

/// A multiple-choice task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// `task`.
    pub name: String,
    /// `metadata.version`, as it is written.
    pub version: Option<String>,
    /// `dataset_kwargs.data_files`, if it is one file or has one for `test` or `validation`.
    pub data_file: Option<String>,
    description: Field,
    text: Field,
    target: Field,
    choice: Field,
    target_delimiter: String,
    fewshot_delimiter: String,
    /// Examples before each question.
    shots: Vec<Map<String, Value>>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Number of its row, from 0.
    pub row: usize,
    /// What stands before each choice.
    pub context: String,
    /// The choices, without the delimiter.
    pub choices: Vec<String>,
    /// What stands between the context and a choice.
    pub delimiter: String,
    /// The right choice.
    pub gold: usize,
}

/// A key that is a template, a column's name, or plain.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Template(String),
    Plain(Value),
}

impl Field {
    fn new(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Template(text),
            other => Self::Plain(other),
        }
    }

    /// What it is for a row: a column of that name, or the template rendered.
    fn of(&self, row: &Map<String, Value>) -> Result<Value, String> {
        match self {
            Self::Plain(value) => Ok(value.clone()),
            Self::Template(text) => match row.get(text) {
                Some(column) => Ok(column.clone()),
                None => render(text, row).map(Value::String).map_err(|error| {
                    let detail = error
                        .detail()
                        .map(|detail| format!(": {detail}"))
                        .unwrap_or_default();
                    format!("the template {text:?} fails: {}{detail}", error.kind())
                }),
            },
        }
    }
}

impl Task {
    /// Reads a task file. `include` gives the text of another one by the name that `include:` says.
    ///
    /// # Errors
    /// [`TaskError::File`], for whatever is not understood.
    pub fn parse(
        text: &str,
        include: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Task, TaskError> {
        let mut keys = Keys(keys(text, include, MOST_INCLUDES).map_err(TaskError::File)?);
        keys.task().map_err(TaskError::File)
    }

    /// The questions that rows make, the first `limit` of them.
    ///
    /// # Errors
    /// [`TaskError::Row`] for a row that lacks what a template asks for, or has no right choice.
    pub fn questions(&self, rows: &[Map<String, Value>], limit: usize) -> Result<Vec<Question>, TaskError> {
        let asked = rows.iter().enumerate().take(limit);
        asked
            .map(|(at, row)| {
                self.question(at, row)
                    .map_err(|reason| TaskError::Row { row: at + 1, reason })
            })
            .collect()
    }

    fn question(&self, at: usize, row: &Map<String, Value>) -> Result<Question, String> {
        let choices = self.choices(row)?;
        let gold = self.gold(row, &choices)?;
        let mut context = text("description", self.description.of(row)?)?;
        for shot in &self.shots {
            context += &self.example(shot)?;
            context += &self.fewshot_delimiter;
        }
        context += &text("doc_to_text", self.text.of(row)?)?;
        Ok(Question {
            row: at,
            context,
            choices,
            delimiter: self.target_delimiter.clone(),
            gold,
        })
    }

    /// A row as an example: question and answer.
    fn example(&self, row: &Map<String, Value>) -> Result<String, String> {
        let choices = self.choices(row)?;
        let gold = self.gold(row, &choices)?;
        Ok(text("doc_to_text", self.text.of(row)?)? + &self.target_delimiter + &choices[gold])
    }

    fn choices(&self, row: &Map<String, Value>) -> Result<Vec<String>, String> {
        let found = match self.choice.of(row)? {
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

    /// A column's text is one of the choices; what a template writes may be its number too.
    fn gold(&self, row: &Map<String, Value>, choices: &[String]) -> Result<usize, String> {
        let target = self.target.of(row)?;
        let named = |text: &str| choices.iter().position(|choice| choice == text);
        let is_column = matches!(&self.target, Field::Template(name) if row.contains_key(name));
        let number = match &target {
            Value::Number(number) => number.as_u64().and_then(|at| usize::try_from(at).ok()),
            Value::Bool(flag) => Some(usize::from(*flag)),
            Value::String(text) if is_column => named(text),
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

/// What a key gives where it must give a text.
fn text(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("{key} gives {other}, not a text")),
    }
}

/// A list as JSON or as Python writes it.
fn list(text: &str) -> Option<Vec<Value>> {
    let text = text.trim();
    if let Ok(Value::Array(found)) = serde_json::from_str(text) {
        return Some(found);
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut found = Vec::new();
    let mut rest = inner.trim_start();
    while let Some(quote) = rest.chars().next() {
        if quote != '\'' && quote != '"' {
            return None;
        }
        let (mut item, mut escaped, mut end) = (String::new(), false, None);
        for (at, letter) in rest.char_indices().skip(1) {
            match letter {
                'n' if escaped => item.push('\n'),
                't' if escaped => item.push('\t'),
                _ if escaped => item.push(letter),
                '\\' => {
                    escaped = true;
                    continue;
                }
                _ if letter == quote => {
                    end = Some(at + 1);
                    break;
                }
                _ => item.push(letter),
            }
            escaped = false;
        }
        found.push(Value::String(item));
        rest = rest[end?..].trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(found)
}

/// A file's keys, those of an included file below its own.
fn keys(
    text: &str,
    include: &mut dyn FnMut(&str) -> Result<String, String>,
    left: usize,
) -> Result<Map<String, Value>, String> {
    if let Some(at) = text
        .lines()
        .position(|line| !line.trim_start().starts_with('#') && line.contains("!function"))
    {
        return Err(format!(
            "line {}: `!function` names a Python function, which is not run; say it as a template",
            at + 1
        ));
    }
    let parsed: Value = serde_saphyr::from_str(text).map_err(|error| format!("not YAML: {error}"))?;
    let Value::Object(mut keys_here) = parsed else {
        return Err("a task file is a mapping of keys".to_owned());
    };
    let Some(Value::String(name)) = keys_here.remove("include") else {
        return Ok(keys_here);
    };
    if left == 0 {
        return Err(format!("`include: {name}` is one of too many in a row"));
    }
    let mut below = keys(&include(&name)?, include, left - 1).map_err(|error| format!("{name}: {error}"))?;
    below.extend(keys_here);
    Ok(below)
}

struct Keys(Map<String, Value>);

impl Keys {
    fn task(&mut self) -> Result<Task, String> {
        let name = self.text("task")?.ok_or("`task`, the name, is missing")?;
        match self.text("output_type")?.as_deref() {
            Some("multiple_choice") => {}
            Some(other) => {
                return Err(format!(
                    "`output_type: {other}` is not supported; multiple_choice is"
                ));
            }
            None => return Err("`output_type` is missing; multiple_choice is supported".to_owned()),
        }
        let mut field = |key: &str| {
            let missing = || format!("`{key}` is missing");
            self.0.remove(key).map(Field::new).ok_or_else(missing)
        };
        let (text, target, choice) = (
            field("doc_to_text")?,
            field("doc_to_target")?,
            field("doc_to_choice")?,
        );
        let metadata = self
            .0
            .get("metadata")
            .and_then(|metadata| metadata.get("version"));
        let version = metadata.map(|version| match version {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let task = Task {
            version,
            data_file: self.data_file()?,
            description: Field::Template(self.text("description")?.unwrap_or_default()),
            target_delimiter: self.text("target_delimiter")?.unwrap_or_else(|| " ".to_owned()),
            fewshot_delimiter: self
                .text("fewshot_delimiter")?
                .unwrap_or_else(|| "\n\n".to_owned()),
            shots: self.shots()?,
            name,
            text,
            target,
            choice,
        };
        for metric in self.metrics()? {
            if !matches!(metric.as_str(), "acc" | "acc_norm") {
                return Err(format!(
                    "the metric `{metric}` is not supported; acc and acc_norm are"
                ));
            }
        }
        let unknown = self.0.keys().find(|key| !IGNORED.contains(&key.as_str()));
        match unknown {
            Some(key) => Err(format!("the key `{key}` is not understood")),
            None => Ok(task),
        }
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("`{key}` is {other}, not a text")),
        }
    }

    fn metrics(&self) -> Result<Vec<String>, String> {
        let listed = self.0.get("metric_list").and_then(Value::as_array);
        let name = |metric: &Value| {
            let name = metric.get("metric").and_then(Value::as_str);
            name.map(str::to_owned)
                .ok_or_else(|| format!("`metric_list` has {metric}, which names no metric"))
        };
        listed.into_iter().flatten().map(name).collect()
    }

    fn data_file(&mut self) -> Result<Option<String>, String> {
        let Some(arguments) = self.0.remove("dataset_kwargs") else {
            return Ok(None);
        };
        let files = arguments.get("data_files");
        let split = |name: &str| files.and_then(|files| files.get(name));
        let named = files.filter(|files| files.is_string());
        let found = named.or_else(|| split("test")).or_else(|| split("validation"));
        Ok(found.and_then(Value::as_str).map(str::to_owned))
    }

    /// Examples that the file itself lists. Drawing some from other data is left to who writes the file.
    fn shots(&mut self) -> Result<Vec<Map<String, Value>>, String> {
        let count = match self.0.remove("num_fewshot") {
            None | Some(Value::Null) => 0,
            Some(count) => count
                .as_u64()
                .ok_or_else(|| format!("`num_fewshot` is {count}, not a number"))?,
        };
        let how = self.0.remove("fewshot_config").unwrap_or(Value::Null);
        if count == 0 {
            return Ok(Vec::new());
        }
        let keys = how.as_object().into_iter().flat_map(Map::keys);
        if let Some(key) = keys
            .into_iter()
            .find(|key| !matches!(key.as_str(), "sampler" | "samples"))
        {
            return Err(format!("`fewshot_config.{key}` is not understood"));
        }
        let samples = how.get("samples").and_then(Value::as_array);
        let (Some(samples), Some("first_n")) = (samples, how.get("sampler").and_then(Value::as_str)) else {
            return Err(
                "`num_fewshot` draws examples by Python's random numbers, or from another split; list them: \
                        `fewshot_config: {sampler: first_n, samples: [{…}, …]}`"
                    .to_owned(),
            );
        };
        let row = |sample: &Value| {
            let row = sample.as_object().cloned();
            row.ok_or_else(|| format!("the sample {sample} is no mapping"))
        };
        let found: Vec<_> = samples
            .iter()
            .take(count as usize)
            .map(row)
            .collect::<Result<_, _>>()?;
        match found.len() as u64 == count {
            true => Ok(found),
            false => Err(format!(
                "`num_fewshot` is {count}, and there are {} samples",
                found.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ARC: &str = "
task: arc_easy
dataset_path: json
dataset_kwargs: {data_files: {test: arc.jsonl}}
output_type: multiple_choice
doc_to_text: \"Question: {{question}}\\nAnswer:\"
doc_to_target: \"{{choices.label.index(answerKey)}}\"
doc_to_choice: \"{{choices.text}}\"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}, {metric: acc_norm}]
metadata: {version: 1.0}
";

    fn parse(text: &str) -> Result<Task, TaskError> {
        Task::parse(text, &mut |name| match name {
            "base.yaml" => Ok(ARC.to_owned()),
            _ => Err(format!("no file {name}")),
        })
    }

    fn rows() -> Vec<Map<String, Value>> {
        let row = |question: &str, texts: [&str; 2], key: &str| json!({"question": question, "choices": {"text": texts, "label": ["A", "B"]}, "answerKey": key});
        [
            row("Is it cold?", ["It's not", "yes, \"very\""], "B"),
            row("Is it hot?", ["yes", "no"], "A"),
        ]
        .into_iter()
        .map(|row| row.as_object().unwrap().clone())
        .collect()
    }

    #[test]
    fn a_row_becomes_a_question() {
        let task = parse(ARC).unwrap();
        assert_eq!(
            (task.name.as_str(), task.data_file.as_deref()),
            ("arc_easy", Some("arc.jsonl"))
        );
        let questions = task.questions(&rows(), usize::MAX).unwrap();
        assert_eq!(questions[0].context, "Question: Is it cold?\nAnswer:");
        assert_eq!(questions[0].choices, ["It's not", "yes, \"very\""]);
        assert_eq!((questions[0].gold, questions[1].gold), (1, 0));
        assert_eq!(questions[0].delimiter, " ");
        assert_eq!(task.questions(&rows(), 1).unwrap().len(), 1);
    }

    #[test]
    fn files_include_others_and_show_examples() {
        let text = "include: base.yaml\ntask: mine\nnum_fewshot: 1\nfewshot_config: {sampler: first_n, samples: [{question: 'Is it wet?', choices: {text: ['yes', 'no'], label: [A, B]}, answerKey: A}]}\ndescription: \"Answer.\\n\"\n";
        let task = parse(text).unwrap();
        let questions = task.questions(&rows(), 2).unwrap();
        assert_eq!(
            questions[1].context,
            "Answer.\nQuestion: Is it wet?\nAnswer: yes\n\nQuestion: Is it hot?\nAnswer:"
        );
    }

    #[test]
    fn columns_and_plain_lists_are_choices_too() {
        let text = "task: t\noutput_type: multiple_choice\ndoc_to_text: question\ndoc_to_choice: ['no', 'yes']\ndoc_to_target: label\n";
        let row = json!({"question": "Right?", "label": 1});
        let question = parse(text)
            .unwrap()
            .questions(&[row.as_object().unwrap().clone()], 9)
            .unwrap()
            .remove(0);
        assert_eq!((question.context.as_str(), question.gold), ("Right?", 1));
        // A column names a choice, whatever it looks like; a template may write its number.
        let digits = "task: t\noutput_type: multiple_choice\ndoc_to_text: question\ndoc_to_choice: ['1', '2', '3']\ndoc_to_target: label\n";
        let row = json!({"question": "1 + 1?", "label": "2"});
        let rows = [row.as_object().unwrap().clone()];
        assert_eq!(parse(digits).unwrap().questions(&rows, 9).unwrap()[0].gold, 1);
        let written = digits.replace("doc_to_target: label", "doc_to_target: '{{label}}'");
        assert_eq!(parse(&written).unwrap().questions(&rows, 9).unwrap()[0].gold, 2);
        assert_eq!(list("['it\\'s', \"a, b\"]").unwrap(), ["it's", "a, b"]);
        assert_eq!(list("[]").unwrap(), Vec::<Value>::new());
        assert_eq!(list("[3, x]"), None);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let cases = [
            ("task: t\n", "`output_type` is missing"),
            ("task: t\noutput_type: generate_until\n", "generate_until"),
            (
                &ARC.replace("doc_to_choice", "doc_to_chioce"),
                "`doc_to_choice` is missing",
            ),
            (
                &format!("{ARC}\nprocess_docs: !function utils.process\n"),
                "!function",
            ),
            (&format!("{ARC}\nfilter_list: []\n"), "filter_list"),
            (&format!("{ARC}\nnum_fewshot: 5\n"), "first_n"),
            (&format!("{ARC}\nfewshot_split: train\n"), "fewshot_split"),
            (
                &format!("{ARC}\nnum_fewshot: 1\nfewshot_config: {{sampler: first_n, split: train}}\n"),
                "fewshot_config.split",
            ),
            (&ARC.replace("acc_norm", "bleu"), "bleu"),
            ("include: other.yaml\n", "no file other.yaml"),
            ("- a\n", "mapping"),
            ("a: [\n", "not YAML"),
        ];
        for (text, said) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        let mut rows = rows();
        rows[1]["answerKey"] = json!("C");
        let error = parse(ARC).unwrap().questions(&rows, 9).unwrap_err();
        assert!(matches!(error, TaskError::Row { row: 2, .. }), "{error}");
    }
}
