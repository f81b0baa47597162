//! The file: which keys are understood, and what they mean.

use serde_json::{Map, Value};

use super::field::Field;
use super::filter::Filter;
use super::metric::{Metric, check_keys, listed};
use super::question::{Ask, Row, Shots, Task, TaskError};
use super::reading;
use super::writing::Generation;

/// Longest chain of `include`.
const MOST_INCLUDES: usize = 8;
/// Keys of the harness that change nothing of what is computed here.
const IGNORED: [&str; 12] = [
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
    "repeats",
    "metadata",
];

impl Task {
    /// Reads a task file. `include` gives the text of another one by the name that `include:` says.
    ///
    /// # Errors
    /// [`TaskError::File`], for whatever is not understood.
    pub fn parse(
        text: &str,
        include: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Task, TaskError> {
        let keys = keys(text, include, MOST_INCLUDES).map_err(TaskError::File)?;
        Keys(keys).task().map_err(TaskError::File)
    }
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
    let name = match keys_here.remove("include") {
        None => return Ok(keys_here),
        Some(Value::String(name)) => name,
        Some(other) => return Err(format!("`include` is {other}; one file is included, by its name")),
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
    fn task(mut self) -> Result<Task, String> {
        let name = self.text("task")?.ok_or("`task`, the name, is missing")?;
        let version = self
            .0
            .get("metadata")
            .and_then(|metadata| metadata.get("version"));
        let version = version.map(|version| match version {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let fewshot_delimiter = self
            .text("fewshot_delimiter")?
            .unwrap_or_else(|| "\n\n".to_owned());
        let ask = self.ask(&fewshot_delimiter)?;
        let text = match ask {
            // Only the text itself is read.
            Ask::Reading(_) => self
                .0
                .remove("doc_to_text")
                .map_or(Field::Template(String::new()), Field::new),
            Ask::Choice(_) | Ask::Writing(_) => self.field("doc_to_text")?,
        };
        let task = Task {
            target: self.field("doc_to_target")?,
            data_file: self.data_file()?,
            description: Field::Template(self.text("description")?.unwrap_or_default()),
            target_delimiter: self.text("target_delimiter")?.unwrap_or_else(|| " ".to_owned()),
            shots: self.shots()?,
            fewshot_delimiter,
            version,
            name,
            text,
            ask,
        };
        let unknown = self.0.keys().find(|key| !IGNORED.contains(&key.as_str()));
        match unknown {
            Some(key) => Err(format!("the key `{key}` is not understood")),
            None => Ok(task),
        }
    }

    fn ask(&mut self, fewshot_delimiter: &str) -> Result<Ask, String> {
        let metrics = self.0.remove("metric_list");
        match self.text("output_type")?.as_deref() {
            Some("multiple_choice") => {
                let _ = named(metrics.as_ref(), &["acc", "acc_norm"])?;
                Ok(Ask::Choice(self.field("doc_to_choice")?))
            }
            // The harness's own default.
            Some("generate_until") | None => {
                let filters = Filter::list(self.0.remove("filter_list"))?;
                let metrics = Metric::list(metrics.as_ref())?;
                let how = self.0.remove("generation_kwargs");
                let generation = Generation::new(how, fewshot_delimiter, filters, metrics)?;
                Ok(Ask::Writing(Box::new(generation)))
            }
            Some("loglikelihood_rolling") => {
                let found = named(metrics.as_ref(), &reading::METRICS)?;
                let all = || reading::METRICS.map(str::to_owned).to_vec();
                Ok(Ask::Reading(if found.is_empty() { all() } else { found }))
            }
            Some(other) => Err(format!(
                "`output_type: {other}` is not supported; multiple_choice, generate_until and loglikelihood_rolling are"
            )),
        }
    }

    fn field(&mut self, key: &str) -> Result<Field, String> {
        let missing = || format!("`{key}` is missing");
        self.0.remove(key).map(Field::new).ok_or_else(missing)
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("`{key}` is {other}, not a text")),
        }
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

    /// Examples that the file lists, or the first rows of another split. Drawing some is left to who writes the file.
    fn shots(&mut self) -> Result<Shots, String> {
        let count = match self.0.remove("num_fewshot") {
            None | Some(Value::Null) => 0,
            Some(count) => count
                .as_u64()
                .and_then(|count| usize::try_from(count).ok())
                .ok_or_else(|| format!("`num_fewshot` is {count}, not a number"))?,
        };
        let split = self.text("fewshot_split")?;
        let how = self.0.remove("fewshot_config").unwrap_or(Value::Null);
        if count == 0 {
            return Ok(Shots::Listed(Vec::new()));
        }
        let keys = how.as_object().into_iter().flat_map(Map::keys);
        if let Some(key) = keys
            .into_iter()
            .find(|key| !matches!(key.as_str(), "sampler" | "samples" | "split"))
        {
            return Err(format!("`fewshot_config.{key}` is not understood"));
        }
        if how.get("sampler").and_then(Value::as_str) != Some("first_n") {
            let message = "`num_fewshot` draws examples by Python's random numbers; take the first ones: \
                           `fewshot_config: {sampler: first_n}`, with `fewshot_split` or `samples: [{…}, …]`";
            return Err(message.to_owned());
        }
        let split = how
            .get("split")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .or(split);
        match (how.get("samples").and_then(Value::as_array), split) {
            (_, Some(split)) if self.0.get("test_split").and_then(Value::as_str) == Some(split.as_str()) => {
                Err(
                    "`fewshot_split` is the `test_split`: questions would be shown with their answers"
                        .to_owned(),
                )
            }
            (_, Some(split)) => Ok(Shots::First(count, split)),
            (Some(samples), None) => sampled(samples, count).map(Shots::Listed),
            (None, None) => Err("`num_fewshot` needs `fewshot_split` or `fewshot_config.samples`".to_owned()),
        }
    }
}

fn sampled(samples: &[Value], count: usize) -> Result<Vec<Row>, String> {
    let row = |sample: &Value| {
        let row = sample.as_object().cloned();
        row.ok_or_else(|| format!("the sample {sample} is no mapping"))
    };
    match samples.get(..count) {
        Some(samples) => samples.iter().map(row).collect(),
        None => {
            let there = samples.len();
            Err(format!("`num_fewshot` is {count}, and there are {there} samples"))
        }
    }
}

/// The names of metrics, all of them known.
fn named(metrics: Option<&Value>, known: &[&str]) -> Result<Vec<String>, String> {
    let name = |metric: &Value| {
        let name = metric.get("metric").and_then(Value::as_str);
        let name = name.ok_or_else(|| format!("`metric_list` has {metric}, which names no metric"))?;
        match known.contains(&name) {
            true => {
                check_keys(metric.as_object().unwrap_or(&Map::new()), name, &[])?;
                Ok(name.to_owned())
            }
            false => {
                let known = known.join(", ");
                Err(format!("the metric `{name}` is not supported; {known} are"))
            }
        }
    };
    listed(metrics)?.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::choice::Question;
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

    fn questions(task: &Task, rows: &[Row], limit: usize) -> Vec<Question> {
        task.exercise(rows, None, limit).unwrap().questions().to_vec()
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
        let found = questions(&task, &rows(), usize::MAX);
        assert_eq!(found[0].context, "Question: Is it cold?\nAnswer:");
        assert_eq!(found[0].choices, ["It's not", "yes, \"very\""]);
        assert_eq!((found[0].gold, found[1].gold), (1, 0));
        assert_eq!(found[0].delimiter, " ");
        assert_eq!(questions(&task, &rows(), 1).len(), 1);
    }

    #[test]
    fn files_include_others_and_show_examples() {
        let text = "include: base.yaml\ntask: mine\nnum_fewshot: 1\nfewshot_config: {sampler: first_n, samples: [{question: 'Is it wet?', choices: {text: ['yes', 'no'], label: [A, B]}, answerKey: A}]}\ndescription: \"Answer.\\n\"\n";
        let task = parse(text).unwrap();
        let questions = questions(&task, &rows(), 2);
        assert_eq!(
            questions[1].context,
            "Answer.\nQuestion: Is it wet?\nAnswer: yes\n\nQuestion: Is it hot?\nAnswer:"
        );
    }

    #[test]
    fn columns_and_plain_lists_are_choices_too() {
        let text = "task: t\noutput_type: multiple_choice\ndoc_to_text: question\ndoc_to_choice: ['no', 'yes']\ndoc_to_target: label\n";
        let row = json!({"question": "Right?", "label": 1});
        let question = questions(&parse(text).unwrap(), &[row.as_object().unwrap().clone()], 9).remove(0);
        assert_eq!((question.context.as_str(), question.gold), ("Right?", 1));
        // A column names a choice, whatever it looks like; a template may write its number.
        let digits = "task: t\noutput_type: multiple_choice\ndoc_to_text: question\ndoc_to_choice: ['1', '2', '3']\ndoc_to_target: label\n";
        let row = json!({"question": "1 + 1?", "label": "2"});
        let rows = [row.as_object().unwrap().clone()];
        assert_eq!(questions(&parse(digits).unwrap(), &rows, 9)[0].gold, 1);
        let written = digits.replace("doc_to_target: label", "doc_to_target: '{{label}}'");
        assert_eq!(questions(&parse(&written).unwrap(), &rows, 9)[0].gold, 2);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let cases = [
            ("task: t\n", "`doc_to_text` is missing"),
            (
                "task: t\noutput_type: loglikelihood\n",
                "output_type: loglikelihood",
            ),
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
            (
                &format!("{ARC}\nnum_fewshot: 1\nfewshot_split: train\n"),
                "first_n",
            ),
            (
                &format!("{ARC}\nnum_fewshot: 1\nfewshot_config: {{sampler: first_n, process_docs: x}}\n"),
                "fewshot_config.process_docs",
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
        let error = parse(ARC).unwrap().exercise(&rows, None, 9).unwrap_err();
        assert!(matches!(error, TaskError::Row { row: 2, .. }), "{error}");
    }
}
