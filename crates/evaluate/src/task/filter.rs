//! What is done to a written answer before it is scored: lm-evaluation-harness's `filter_list`.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// Largest compiled pattern, bytes.
const PATTERN_SIZE: usize = 4 << 20;

/// Some steps under a name.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    /// One of all matches (negative numbers count from the end), or what stands for none.
    Regex {
        pattern: Regex,
        group_select: i64,
        fallback: String,
    },
    Trim,
    Lowercase,
    Uppercase,
    Map {
        to: BTreeMap<String, String>,
        otherwise: String,
    },
    /// There is one answer a row.
    First,
}

impl Filter {
    /// The filters of a file; without any, one that changes nothing and has no name.
    pub(super) fn list(value: Option<Value>) -> Result<Vec<Filter>, String> {
        let listed = match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(listed)) => listed,
            Some(other) => return Err(format!("`filter_list` is {other}, not a list")),
        };
        if listed.is_empty() {
            return Ok(vec![Filter {
                name: String::new(),
                steps: Vec::new(),
            }]);
        }
        listed.iter().map(Self::new).collect()
    }

    fn new(value: &Value) -> Result<Filter, String> {
        let name = value.get("name").and_then(Value::as_str);
        let name = name.ok_or("a filter of `filter_list` has no `name`")?;
        let steps = value.get("filter").and_then(Value::as_array);
        let steps = steps.ok_or_else(|| format!("the filter `{name}` lists no steps under `filter`"))?;
        let step = |step: &Value| {
            let keys = step.as_object().ok_or_else(|| format!("{step} is no mapping"))?;
            Step::new(keys).map_err(|reason| format!("the filter `{name}`: {reason}"))
        };
        Ok(Filter {
            // What the harness calls a task without filters.
            name: if name == "none" {
                String::new()
            } else {
                name.to_owned()
            },
            steps: steps.iter().map(step).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for step in &self.steps {
            text = step.apply(text);
        }
        text
    }

    /// The name of a metric under this filter, as the harness writes it.
    pub(super) fn score(&self, metric: &str) -> String {
        match self.name.as_str() {
            "" => metric.to_owned(),
            name => format!("{metric},{name}"),
        }
    }
}

impl Step {
    fn new(keys: &Map<String, Value>) -> Result<Step, String> {
        let function = keys.get("function").and_then(Value::as_str);
        let function = function.ok_or("a step has no `function`")?;
        let known: &[&str] = match function {
            "regex" => &["regex_pattern", "group_select", "fallback"],
            "map" => &["mapping_dict", "default_value"],
            _ => &[],
        };
        let unknown = |key: &&String| key.as_str() != "function" && !known.contains(&key.as_str());
        if let Some(key) = keys.keys().find(unknown) {
            return Err(format!("`{key}` of `{function}` is not understood"));
        }
        match function {
            "regex" => Ok(Step::Regex {
                pattern: pattern(
                    text(keys, "regex_pattern")?
                        .as_deref()
                        .unwrap_or(r"#### (\-?[0-9\.\,]+)"),
                )?,
                group_select: match keys.get("group_select") {
                    None => 0,
                    Some(number) => number
                        .as_i64()
                        .ok_or_else(|| format!("`group_select` is {number}, not a whole number"))?,
                },
                fallback: text(keys, "fallback")?.unwrap_or_else(|| "[invalid]".to_owned()),
            }),
            "map" => Step::map(keys),
            "remove_whitespace" => Ok(Step::Trim),
            "lowercase" => Ok(Step::Lowercase),
            "uppercase" => Ok(Step::Uppercase),
            "take_first" => Ok(Step::First),
            other => Err(format!(
                "the function `{other}` is not supported; regex, map, remove_whitespace, lowercase, uppercase and take_first are"
            )),
        }
    }

    fn map(keys: &Map<String, Value>) -> Result<Step, String> {
        let entries = keys.get("mapping_dict").and_then(Value::as_object);
        let entries = entries.ok_or("`mapping_dict` is no mapping")?;
        let entry = |(from, to): (&String, &Value)| match to {
            Value::String(to) => (from.clone(), to.clone()),
            other => (from.clone(), other.to_string()),
        };
        Ok(Step::Map {
            to: entries.iter().map(entry).collect(),
            otherwise: text(keys, "default_value")?.unwrap_or_default(),
        })
    }

    fn apply(&self, text: String) -> String {
        match self {
            Step::Regex {
                pattern,
                group_select,
                fallback,
            } => selected(pattern, *group_select, &text).map_or_else(|| fallback.clone(), str::to_owned),
            Step::Trim => text.trim().to_owned(),
            Step::Lowercase => text.to_lowercase(),
            Step::Uppercase => text.to_uppercase(),
            Step::Map { to, otherwise } => to.get(&text).unwrap_or(otherwise).clone(),
            Step::First => text,
        }
    }
}

/// Match number `at`, trimmed: the whole of it if the pattern has no groups, else its first group that is not empty (of a single
/// group, that one).
fn selected<'t>(pattern: &Regex, at: i64, text: &'t str) -> Option<&'t str> {
    let found: Vec<regex::Captures<'t>> = pattern.captures_iter(text).collect();
    let at = match usize::try_from(at) {
        Ok(at) => at,
        Err(_) => found
            .len()
            .checked_sub(usize::try_from(at.unsigned_abs()).ok()?)?,
    };
    let captures = found.get(at)?;
    let groups = || captures.iter().skip(1);
    let chosen = match captures.len() {
        1 => captures.get(0).map_or("", |whole| whole.as_str()),
        2 => captures.get(1).map_or("", |group| group.as_str()),
        _ => groups().flatten().find(|group| !group.is_empty())?.as_str(),
    };
    Some(chosen.trim())
}

/// A pattern in Python's words, as far as they are the same here.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(text).size_limit(PATTERN_SIZE).build();
    built.map_err(|error| format!("the pattern {text:?} cannot be used here: {error}"))
}

fn text(keys: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(format!("`{key}` is {other}, not a text")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filter(steps: Value) -> Filter {
        Filter::list(Some(json!([{"name": "f", "filter": steps}])))
            .unwrap()
            .remove(0)
    }

    #[test]
    fn patterns_select_one_of_their_matches() {
        let strict = filter(
            json!([{"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"}, {"function": "take_first"}]),
        );
        assert_eq!(strict.apply("so 3 + 4\n#### 1,007\n#### 8"), "1,007");
        assert_eq!(strict.apply("nothing"), "[invalid]");
        let last = filter(
            json!([{"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"}]),
        );
        assert_eq!(last.apply("from 12 take 5"), "5");
        assert_eq!(last.apply("from 5 take 12."), "12.");
        let whole = filter(
            json!([{"function": "regex", "regex_pattern": "[A-D]", "group_select": 1, "fallback": "?"}]),
        );
        assert_eq!(
            (whole.apply("A or B"), whole.apply("A")),
            ("B".into(), "?".into())
        );
        assert_eq!(strict.score("exact_match"), "exact_match,f");
    }

    #[test]
    fn steps_follow_each_other() {
        let steps = filter(
            json!([{"function": "remove_whitespace"}, {"function": "lowercase"}, {"function": "map", "mapping_dict": {"yes": 1}, "default_value": "0"}]),
        );
        assert_eq!(
            (steps.apply(" Yes\n"), steps.apply("no")),
            ("1".into(), "0".into())
        );
        let none = Filter::list(None).unwrap().remove(0);
        assert_eq!(
            (none.apply(" a "), none.score("exact_match")),
            (" a ".into(), "exact_match".into())
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let refused = |steps: Value| Filter::list(Some(json!([{"name": "f", "filter": steps}]))).unwrap_err();
        assert!(refused(json!([{"function": "majority_vote"}])).contains("majority_vote"));
        assert!(refused(json!([{"function": "regex", "regex_patern": "a"}])).contains("regex_patern"));
        assert!(refused(json!([{"function": "regex", "regex_pattern": "a(?=b)"}])).contains("look-around"));
        assert!(
            Filter::list(Some(json!([{"filter": []}])))
                .unwrap_err()
                .contains("no `name`")
        );
    }
}
