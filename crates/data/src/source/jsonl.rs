//! JSON lines: one object a line.

use serde_json::{Map, Value};

use crate::error::{Place, Result};
use crate::record::{Message, Record};
use crate::source::Input;
use crate::source::columns::{Columns, Form};
use crate::source::lines::{Line, Lines};

pub(super) struct JsonRecords {
    lines: Lines,
    columns: Columns,
}

impl JsonRecords {
    pub(super) fn new(input: Input, columns: &Columns) -> Self {
        Self {
            lines: Lines::new(input),
            columns: columns.clone(),
        }
    }

    fn record(&self, line: &Line) -> Result<Record> {
        let malformed = |problem: String| self.lines.malformed(line.number, problem);
        let mut object = match serde_json::from_str(&line.text) {
            Ok(Value::Object(object)) => object,
            Ok(Value::Array(_)) => {
                return Err(malformed(
                    "an array, not an object a line; `jq -c '.[]' FILE` makes JSON lines of a JSON array"
                        .to_owned(),
                ));
            }
            Ok(other) => return Err(malformed(format!("{}, not an object", kind(&other)))),
            Err(err) => {
                let array = if line.number == 1 && matches!(line.text.trim(), "[" | "{") {
                    "; this looks like one JSON document over many lines: `jq -c '.[]' FILE` makes JSON lines of an array"
                } else {
                    ""
                };
                return Err(malformed(format!("not JSON: {}{array}", without_line(&err))));
            }
        };
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        match self
            .columns
            .form(&keys, self.lines.name(), Place::Line(line.number))?
        {
            Form::Text(text) => Ok(Record::Text(take(&mut object, &text).map_err(malformed)?)),
            Form::Completion { prompt, completion } => Ok(Record::Completion {
                prompt: take(&mut object, &prompt).map_err(malformed)?,
                completion: take(&mut object, &completion).map_err(malformed)?,
            }),
            Form::Messages { list, role, content } => match object.remove(&list) {
                Some(Value::Array(turns)) => {
                    let message = |(turn, value): (usize, Value)| match value {
                        Value::Object(mut message) => {
                            let at = |problem: String| format!("`{list}`, message {}: {problem}", turn + 1);
                            let role = take(&mut message, &role).map_err(at)?;
                            Ok(Message {
                                role,
                                content: take(&mut message, &content).map_err(at)?,
                            })
                        }
                        other => Err(format!(
                            "`{list}`, message {}: {}, not an object",
                            turn + 1,
                            kind(&other)
                        )),
                    };
                    turns
                        .into_iter()
                        .enumerate()
                        .map(message)
                        .collect::<Result<_, _>>()
                        .map(Record::Messages)
                        .map_err(malformed)
                }
                other => Err(malformed(format!(
                    "`{list}` is {}, not a list",
                    other.as_ref().map_or("missing", kind)
                ))),
            },
        }
    }
}

impl Iterator for JsonRecords {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.lines.next()? {
                Ok(line) if line.text.trim().is_empty() => {}
                Ok(line) => return Some(self.record(&line)),
                Err(err) => return Some(Err(err)),
            }
        }
    }
}

/// Takes the text under `key`.
fn take(object: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    match object.get_mut(key) {
        Some(Value::String(text)) => Ok(std::mem::take(text)),
        Some(other) => Err(format!("`{key}` is {}, not a text", kind(other))),
        None => Err(format!(
            "no `{key}` (found: {})",
            object
                .keys()
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
                .join(", ")
        )),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// serde_json's message with the column only: its line is always 1 here.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<Record>> {
        JsonRecords::new(Input::from_bytes("f.jsonl", text.to_owned()), &Columns::default()).collect()
    }

    fn error(text: &str) -> String {
        read(text)
            .into_iter()
            .find_map(Result::err)
            .expect("an error")
            .to_string()
    }

    #[test]
    fn the_three_forms_round_trip() {
        let records = [
            Record::Text("a \"b\"\n".into()),
            Record::Completion {
                prompt: "q".into(),
                completion: " a".into(),
            },
            Record::Messages(vec![Message::new("user", "hi"), Message::new("assistant", "yo")]),
        ];
        let text: String = records
            .iter()
            .map(|record| record.to_json_line() + "\n\n")
            .collect();
        assert_eq!(
            read(&text).into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            records
        );
    }

    #[test]
    fn every_fault_names_its_line_and_what_is_wrong() {
        let good = "{\"text\": \"ok\"}\n";
        assert_eq!(
            error(&format!("{good}{good}{{\"text\": \"open")),
            "f.jsonl, line 3: not JSON: EOF while parsing a string at column 14"
        );
        assert!(error("{\"text\": 7}").ends_with("line 1: `text` is a number, not a text"));
        assert!(error("[1, 2]").contains("`jq -c '.[]' FILE`"));
        assert!(error("[\n{\"text\": 1}\n]").contains("`jq -c '.[]' FILE`"));
        assert!(error("7").ends_with("a number, not an object"));
        assert!(error("{\"messages\": 3}").ends_with("`messages` is a number, not a list"));
        assert!(
            error("{\"messages\": [{\"role\": \"user\"}]}")
                .ends_with("message 1: no `content` (found: `role`)")
        );
        assert!(
            error("{\"messages\": [{\"role\": \"assistant\", \"content\": null}]}")
                .ends_with("message 1: `content` is null, not a text")
        );
        assert!(error(&"[".repeat(100_000)).contains("recursion limit"));
    }
}
