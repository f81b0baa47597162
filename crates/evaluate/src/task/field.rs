//! A key of a task file, and what it gives for a row.

use serde_json::{Map, Value};

use super::template::render;

/// A key that is a template, a column's name, or plain.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Template(String),
    Plain(Value),
}

impl Field {
    pub(super) fn new(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Template(text),
            other => Self::Plain(other),
        }
    }

    /// What it is for a row: a column of that name, or the template rendered.
    pub(super) fn of(&self, row: &Map<String, Value>) -> Result<Value, String> {
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

/// What a key gives where it must give a text.
pub(super) fn text(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("{key} gives {other}, not a text")),
    }
}

/// A list as JSON or as Python writes it.
pub(super) fn list(text: &str) -> Option<Vec<Value>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_json_and_as_python_writes_them() {
        assert_eq!(list("['it\\'s', \"a, b\"]").unwrap(), ["it's", "a, b"]);
        assert_eq!(list("[\"a\", \"b\"]").unwrap(), ["a", "b"]);
        assert_eq!(list("[]").unwrap(), Vec::<Value>::new());
        assert_eq!(list("[3, x]"), None);
    }
}
