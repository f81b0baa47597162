//! What a written answer counts for: lm-evaluation-harness's `exact_match`; ROUGE; the instructions of IFEval.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::answer::Part;
use super::filter::pattern;
use crate::instruction::{Instruction, loose, strict};
use crate::rouge::{Measure, Variant, best_rouge};

/// The punctuation of Python's `string.punctuation`: all of ASCII's.
fn is_punctuation(letter: char) -> bool {
    letter.is_ascii_punctuation()
}

/// How written answers are scored.
#[derive(Clone, Debug)]
pub(super) enum Metric {
    ExactMatch(Box<ExactMatch>),
    /// F1 by the rules of Google's package.
    Rouge(&'static str, Variant, Measure),
    /// Of the columns `instruction_id_list` and `kwargs`: by prompt and by instruction, strict and loose.
    Instructions,
}

#[derive(Clone, Debug)]
pub(super) struct ExactMatch {
    ignored: Vec<Regex>,
    ignore_case: bool,
    ignore_punctuation: bool,
    ignore_numbers: bool,
}

/// The measures of ROUGE under the names that tables know.
const ROUGES: [(&str, Measure); 4] = [
    ("rouge1", Measure::One),
    ("rouge2", Measure::Two),
    ("rougeL", Measure::L),
    ("rougeLsum", Measure::Lsum),
];

impl Metric {
    /// The metrics of a file.
    pub(super) fn list(value: Option<&Value>) -> Result<Vec<Metric>, String> {
        let listed = listed(value)?;
        if listed.is_empty() {
            return Ok(vec![Metric::ExactMatch(Box::new(ExactMatch::new(&Map::new())?))]);
        }
        let metric = |value: &Value| {
            let keys = value
                .as_object()
                .ok_or_else(|| format!("`metric_list` has {value}, no mapping"))?;
            let name = keys.get("metric").and_then(Value::as_str);
            let name = name.ok_or_else(|| format!("`metric_list` has {value}, which names no metric"))?;
            if let Some((rouge, measure)) = ROUGES.iter().find(|(rouge, _)| *rouge == name) {
                check_keys(keys, rouge, &["use_stemmer"])?;
                let variant = match flag(keys, "use_stemmer")? {
                    true => Variant::GoogleStemmed,
                    false => Variant::Google,
                };
                return Ok(Metric::Rouge(rouge, variant, *measure));
            }
            match name {
                "exact_match" => Ok(Metric::ExactMatch(Box::new(ExactMatch::new(keys)?))),
                "instructions" => check_keys(keys, name, &[]).map(|()| Metric::Instructions),
                other => Err(format!(
                    "the metric `{other}` is not supported; of written answers exact_match, rouge1, rouge2, rougeL, rougeLsum \
                     and instructions are"
                )),
            }
        };
        listed.iter().map(metric).collect()
    }

    /// What an answer counts for, by name.
    pub(super) fn of(
        &self,
        answer: &str,
        targets: &[String],
        instructions: &[Instruction],
    ) -> BTreeMap<&'static str, Part> {
        let one = |value: f64| Part { value, weight: 1 };
        match self {
            Self::ExactMatch(how) => {
                let answer = how.reduced(answer);
                let is_right = targets.iter().any(|target| how.reduced(target) == answer);
                BTreeMap::from([("exact_match", one(f64::from(u8::from(is_right))))])
            }
            Self::Rouge(name, variant, measure) => {
                let found = best_rouge(*variant, *measure, answer, targets);
                BTreeMap::from([(*name, one(found.map_or(0.0, |found| found.f1)))])
            }
            Self::Instructions => {
                let of = |held: &[bool]| {
                    let all = held.iter().all(|held| *held);
                    let part = Part {
                        value: held.iter().filter(|held| **held).count() as f64,
                        weight: held.len() as u64,
                    };
                    (one(f64::from(u8::from(all))), part)
                };
                let (strict_prompt, strict_each) = of(&strict(instructions, answer));
                let (loose_prompt, loose_each) = of(&loose(instructions, answer));
                BTreeMap::from([
                    ("prompt_level_strict_acc", strict_prompt),
                    ("inst_level_strict_acc", strict_each),
                    ("prompt_level_loose_acc", loose_prompt),
                    ("inst_level_loose_acc", loose_each),
                ])
            }
        }
    }
}

/// The metrics that a file lists.
pub(super) fn listed(value: Option<&Value>) -> Result<&[Value], String> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(listed)) => Ok(listed),
        Some(other) => Err(format!("`metric_list` is {other}, not a list")),
    }
}

/// Refuses keys that a metric has no use for, and another way to sum it up than the one it has.
pub(super) fn check_keys(keys: &Map<String, Value>, metric: &str, own: &[&str]) -> Result<(), String> {
    let usual = ["metric", "aggregation", "higher_is_better", "hf_evaluate"];
    let is_known = |key: &str| usual.contains(&key) || own.contains(&key);
    if let Some(key) = keys.keys().find(|key| !is_known(key)) {
        return Err(format!("`{key}` of {metric} is not understood"));
    }
    match keys.get("aggregation").and_then(Value::as_str) {
        None | Some("mean" | "weighted_perplexity" | "bits_per_byte") => Ok(()),
        Some(other) => Err(format!("`aggregation: {other}` of {metric} is not understood")),
    }
}

fn flag(keys: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!("`{key}` is {other}, not true or false")),
    }
}

impl ExactMatch {
    fn new(keys: &Map<String, Value>) -> Result<ExactMatch, String> {
        let own = [
            "regexes_to_ignore",
            "ignore_case",
            "ignore_punctuation",
            "ignore_numbers",
        ];
        check_keys(keys, "exact_match", &own)?;
        let ignored = match keys.get("regexes_to_ignore") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(ignored)) => ignored.as_slice(),
            Some(other) => return Err(format!("`regexes_to_ignore` is {other}, not a list")),
        };
        let ignored = ignored.iter().map(|text| {
            let text = text.as_str();
            pattern(text.ok_or("`regexes_to_ignore` has something that is no text")?)
        });
        Ok(ExactMatch {
            ignored: ignored.collect::<Result<_, String>>()?,
            ignore_case: flag(keys, "ignore_case")?,
            ignore_punctuation: flag(keys, "ignore_punctuation")?,
            ignore_numbers: flag(keys, "ignore_numbers")?,
        })
    }

    /// What of a text counts.
    fn reduced(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for ignored in &self.ignored {
            text = ignored.replace_all(&text, "").into_owned();
        }
        if self.ignore_case {
            text = text.to_lowercase();
        }
        text.retain(|letter| {
            let is_ignored = (self.ignore_punctuation && is_punctuation(letter))
                || (self.ignore_numbers && letter.is_ascii_digit());
            !is_ignored
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exact(keys: Value) -> Metric {
        Metric::list(Some(&json!([keys]))).unwrap().remove(0)
    }

    fn value(metric: &Metric, answer: &str, targets: &[&str]) -> f64 {
        let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
        metric.of(answer, &targets, &[])["exact_match"].value
    }

    #[test]
    fn exact_matches_leave_out_what_the_file_says() {
        let gsm8k = exact(
            json!({"metric": "exact_match", "aggregation": "mean", "ignore_case": true,
            "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"]}),
        );
        assert_eq!(value(&gsm8k, "$1,007.", &["3 + 4\n#### 1007"]), 1.0);
        assert_eq!(value(&gsm8k, "1008", &["3 + 4\n#### 1007"]), 0.0);
        let plain = Metric::list(None).unwrap().remove(0);
        assert_eq!(
            (value(&plain, "a", &["b", "a"]), value(&plain, "A", &["a"])),
            (1.0, 0.0)
        );
        let loose =
            exact(json!({"metric": "exact_match", "ignore_punctuation": true, "ignore_numbers": true}));
        assert_eq!(value(&loose, "a-1!", &["a2"]), 1.0);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let refused = |value: Value| Metric::list(Some(&value)).unwrap_err();
        assert!(refused(json!([{"metric": "bleu"}])).contains("bleu"));
        assert!(refused(json!([{"metric": "exact_match", "ignore_kase": true}])).contains("ignore_kase"));
        assert!(refused(json!([{"aggregation": "mean"}])).contains("names no metric"));
        assert!(refused(json!({"metric": "rouge1"})).contains("not a list"));
        assert!(refused(json!([{"metric": "rouge1", "aggregation": "median"}])).contains("median"));
        assert!(refused(json!([{"metric": "exact_match", "regexes_to_ignore": ","}])).contains("not a list"));
    }
}
