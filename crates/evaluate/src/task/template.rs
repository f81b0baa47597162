//! Jinja templates over one row, as lm-evaluation-harness renders them: what is not there is an error, a last line break stays.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};
use serde_json::Map;

/// Instructions (and 64-byte blocks of output) that a rendering may use.
const FUEL: u64 = 10_000_000;

/// Renders `template` over a row.
pub(super) fn render(template: &str, row: &Map<String, serde_json::Value>) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(|state, value, method, arguments| match (method, value.kind()) {
        ("index", ValueKind::Seq) => index(value, arguments),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments),
    });
    environment.set_fuel(Some(FUEL));
    environment.add_filter("regex_replace", regex_replace);
    environment.render_str(template, Value::from(Serde(row)))
}

/// `list.index(item)` of Python.
fn index(list: &Value, arguments: &[Value]) -> Result<Value, Error> {
    let (item,): (&Value,) = minijinja::value::from_args(arguments)?;
    let at = list.try_iter()?.position(|other| other == *item);
    let missing = || {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("{item:?} is not in the list"),
        )
    };
    at.map(Value::from).ok_or_else(missing)
}

/// `regex_replace(text, pattern, value='', count=0)`: the harness's own filter.
fn regex_replace(
    text: String,
    pattern: String,
    value: Option<String>,
    options: Kwargs,
) -> Result<String, Error> {
    let value = match value {
        Some(value) => value,
        None => options.get::<Option<String>>("value")?.unwrap_or_default(),
    };
    let count = options.get::<Option<usize>>("count")?.unwrap_or(0);
    options.assert_all_used()?;
    let broken = |error: regex::Error| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let pattern = regex::RegexBuilder::new(&pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(broken)?;
    // Python writes groups as \1.
    let groups = regex::Regex::new(r"\\(\d+)").map_err(broken)?;
    let value = groups
        .replace_all(&value.replace('$', "$$"), "$${$1}")
        .into_owned();
    Ok(pattern.replacen(&text, count, value.as_str()).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str) -> Result<String, Error> {
        let row = json!({"question": "Two  and two?", "choices": {"label": ["A", "B"]}, "key": "B"});
        render(template, row.as_object().unwrap())
    }

    #[test]
    fn templates_are_pythons() {
        assert_eq!(rendered("Q: {{question}}\n").unwrap(), "Q: Two  and two?\n");
        assert_eq!(rendered("{{choices.label.index(key)}}").unwrap(), "1");
        assert_eq!(rendered("{{question.strip().lower()}}").unwrap(), "two  and two?");
        assert_eq!(
            rendered(r"{{question|regex_replace('(\s)\s+', '\\1')}}").unwrap(),
            "Two and two?"
        );
        assert!(rendered("{{nothing}}").is_err());
    }
}
