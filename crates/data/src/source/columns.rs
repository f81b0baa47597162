//! Which keys of a JSON object, or columns of a table, carry what.
//!
//! Without a mapping a record must have exactly one of the three forms `text`, `prompt` + `completion`, `messages`. With one,
//! any file can be read as it is: `columns: {prompt: question, completion: answer}`. Where neither fits, the error lists what
//! is there and suggests the mapping that would do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Place, Result};

/// Names of the keys that carry a record's parts, where they are not called what they are. Give the names of one form only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The key of running text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The key of the given part; goes with `completion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The key of the part to learn; goes with `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// The key of the list of messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<String>,
    /// Inside a message: the key of who speaks (`role` unless given).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Inside a message: the key of what is said (`content` unless given).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// The form of a record and the keys to take it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    Text(String),
    Completion {
        prompt: String,
        completion: String,
    },
    Messages {
        list: String,
        role: String,
        content: String,
    },
}

impl Columns {
    /// Whether a form is stated (and not merely the keys inside a message).
    fn states_a_form(&self) -> bool {
        [&self.text, &self.prompt, &self.completion, &self.messages]
            .into_iter()
            .any(Option::is_some)
    }

    /// Checks that the names make one form.
    pub fn check(&self) -> Result<()> {
        let problem = match (&self.text, &self.prompt, &self.completion, &self.messages) {
            (None, None, None, None) | (Some(_), None, None, None) | (None, None, None, Some(_)) => {
                return Ok(());
            }
            (None, Some(_), Some(_), None) => return Ok(()),
            (None, Some(_), None, None) => {
                "`prompt` needs `completion` beside it (to read prompts as plain text, name the key as `text`)"
            }
            (None, None, Some(_), None) => "`completion` needs `prompt` beside it",
            _ => "names of more than one form: give `text`, or `prompt` and `completion`, or `messages`",
        };
        Err(Error::Option {
            option: "columns",
            problem: problem.to_owned(),
        })
    }

    /// The form of a record with these keys.
    pub(super) fn form(&self, keys: &[&str], path: &str, place: Place) -> Result<Form> {
        let has = |key: &str| keys.contains(&key);
        let error = |problem: String, suggestion: String| Error::Keys {
            path: path.to_owned(),
            place,
            problem,
            found: keys.iter().map(|key| (*key).to_owned()).collect(),
            suggestion,
        };
        let form =
            |text: Option<&str>, prompt: Option<&str>, completion: Option<&str>, list: Option<&str>| {
                let owned = |name: &str| name.to_owned();
                match (text, prompt, completion, list) {
                    (Some(text), ..) => Form::Text(owned(text)),
                    (_, Some(prompt), Some(completion), _) => Form::Completion {
                        prompt: owned(prompt),
                        completion: owned(completion),
                    },
                    (.., list) => Form::Messages {
                        list: owned(list.unwrap_or("messages")),
                        role: self.role.clone().unwrap_or_else(|| owned("role")),
                        content: self.content.clone().unwrap_or_else(|| owned("content")),
                    },
                }
            };
        if self.states_a_form() {
            self.check()?;
            let stated = [&self.text, &self.prompt, &self.completion, &self.messages];
            return match stated.into_iter().flatten().find(|name| !has(name)) {
                Some(missing) => Err(error(
                    format!("no key `{missing}`, which `columns` names"),
                    did_you_mean(missing, keys),
                )),
                None => {
                    let [text, prompt, completion, list] = stated.map(Option::as_deref);
                    Ok(form(text, prompt, completion, list))
                }
            };
        }
        let forms = [has("text"), has("prompt") && has("completion"), has("messages")];
        match forms {
            [true, false, false] => Ok(form(Some("text"), None, None, None)),
            [false, true, false] => Ok(form(None, Some("prompt"), Some("completion"), None)),
            [false, false, true] => Ok(form(None, None, None, Some("messages"))),
            [false, false, false] => Err(error(
                "no `text`, no `prompt` with `completion`, no `messages`".to_owned(),
                suggest(keys),
            )),
            _ => Err(error(
                "more than one form at once".to_owned(),
                "; say which to read, for example `columns: {text: text}`".to_owned(),
            )),
        }
    }
}

/// Names other data sets use for our keys, most telling first.
const TEXT: &[&str] = &[
    "content", "document", "body", "article", "story", "passage", "raw_text", "value",
];
const PROMPT: &[&str] = &[
    "prompt",
    "question",
    "instruction",
    "query",
    "problem",
    "input",
    "source",
    "goal",
];
const COMPLETION: &[&str] = &[
    "completion",
    "answer",
    "output",
    "response",
    "solution",
    "target",
    "reply",
];
const MESSAGES: &[&str] = &[
    "conversations",
    "conversation",
    "dialogue",
    "dialog",
    "chat",
    "turns",
];

/// A mapping that would read a record with these keys, in words.
fn suggest(keys: &[&str]) -> String {
    for wanted in ["text", "messages"] {
        if let Some(near) = nearest(wanted, keys) {
            return format!(
                "; did you mean `{wanted}`? To read it as it is: `columns: {{{wanted}: {near}}}`"
            );
        }
    }
    let known = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| keys.iter().find(|key| key.eq_ignore_ascii_case(name)).copied())
    };
    let prompt = known(PROMPT).or_else(|| nearest("prompt", keys));
    let completion = known(COMPLETION).or_else(|| nearest("completion", keys));
    match (prompt, completion) {
        (Some(prompt), Some(completion)) if prompt != completion => {
            return format!("; state the columns: `columns: {{prompt: {prompt}, completion: {completion}}}`");
        }
        _ => {}
    }
    if let Some(list) = known(MESSAGES) {
        return format!(
            "; state the columns: `columns: {{messages: {list}}}`, with `role` and `content` if those differ too"
        );
    }
    match known(TEXT).or(prompt) {
        Some(text) => format!("; to read one key as plain text: `columns: {{text: {text}}}`"),
        None => "; say which keys to read with `columns`".to_owned(),
    }
}

fn did_you_mean(missing: &str, keys: &[&str]) -> String {
    nearest(missing, keys)
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default()
}

/// The key within two typing errors of `wanted`, or equal to it but for case.
fn nearest<'a>(wanted: &str, keys: &[&'a str]) -> Option<&'a str> {
    keys.iter()
        .map(|key| (strsim::damerau_levenshtein(&key.to_lowercase(), wanted), *key))
        .filter(|(distance, key)| *distance <= 2 && key.len() >= 3)
        .min()
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(columns: &Columns, keys: &[&str]) -> String {
        columns
            .form(keys, "f.jsonl", Place::Line(3))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn keys_of_other_data_sets_are_recognised() {
        let none = Columns::default();
        assert_eq!(
            error(&none, &["question", "answer"]),
            "f.jsonl, line 3: no `text`, no `prompt` with `completion`, no `messages` (found: `question`, `answer`); \
             state the columns: `columns: {prompt: question, completion: answer}`"
        );
        assert!(
            error(&none, &["txet", "id"])
                .ends_with("; did you mean `text`? To read it as it is: `columns: {text: txet}`")
        );
        assert!(error(&none, &["Text"]).contains("did you mean `text`?"));
        assert!(error(&none, &["key", "prompt"]).ends_with("`columns: {text: prompt}`"));
        assert!(error(&none, &["conversations"]).contains("`columns: {messages: conversations}`"));
        assert!(
            error(&none, &["promt", "completion"])
                .ends_with("`columns: {prompt: promt, completion: completion}`")
        );
        assert!(error(&none, &[]).contains("(found: nothing)"));
        assert!(error(&none, &["text", "messages"]).contains("more than one form at once"));
    }

    #[test]
    fn a_stated_form_is_taken_as_stated() {
        let columns = Columns {
            prompt: Some("question".into()),
            completion: Some("answer".into()),
            ..Columns::default()
        };
        let form = columns
            .form(&["text", "question", "answer"], "f", Place::Schema)
            .unwrap();
        assert_eq!(
            form,
            Form::Completion {
                prompt: "question".into(),
                completion: "answer".into()
            }
        );
        assert!(error(&columns, &["qestion", "answer"]).contains("no key `question`, which `columns` names"));
        assert!(error(&columns, &["qestion", "answer"]).ends_with("; did you mean `qestion`?"));
    }

    #[test]
    fn half_a_form_is_refused() {
        let columns = Columns {
            prompt: Some("question".into()),
            ..Columns::default()
        };
        assert!(
            columns
                .check()
                .unwrap_err()
                .to_string()
                .contains("`prompt` needs `completion`")
        );
        let columns = Columns {
            text: Some("a".into()),
            messages: Some("b".into()),
            ..Columns::default()
        };
        assert!(
            columns
                .check()
                .unwrap_err()
                .to_string()
                .contains("more than one form")
        );
    }
}
