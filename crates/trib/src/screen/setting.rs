//! The settings of a job as rows, read from their JSON schema.
//!
//! Follows what `schemars` makes of settings types: `$ref`, `anyOf` with null for an option, `oneOf` for choices,
//! objects for structs and for variants with fields. Anything else is named by its JSON type.

use serde_json::{Map, Value};

use super::harmless;

/// Deeper settings are not listed; no job has them, but a schema may refer to itself.
const DEEPEST: usize = 6;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Dotted path below `with:`; `[]` stands for every item of a list.
    pub(crate) name: String,
    /// What may be written.
    pub(crate) kind: String,
    /// What it is if it is left out; `required` if it must not be.
    pub(crate) default: String,
    /// What it does.
    pub(crate) description: String,
}

/// All settings of a job, nested ones behind the one they belong to.
pub(crate) fn settings(schema: &Value) -> Vec<Setting> {
    let mut reader = Reader {
        root: schema,
        rows: Vec::new(),
    };
    reader.object("", schema, None, 0);
    reader.rows
}

struct Reader<'a> {
    root: &'a Value,
    rows: Vec<Setting>,
}

impl<'a> Reader<'a> {
    /// What a `$ref` points to, and its name.
    fn resolve(&self, schema: &'a Value) -> (&'a Value, Option<&'a str>) {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else {
            return (schema, None);
        };
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| self.root.pointer(pointer));
        (target.unwrap_or(schema), reference.rsplit('/').next())
    }

    /// The choices of a schema, null left out; the schema itself if it offers none.
    fn choices(&self, schema: &'a Value) -> Vec<&'a Value> {
        let (resolved, _) = self.resolve(schema);
        let listed = resolved
            .get("anyOf")
            .or_else(|| resolved.get("oneOf"))
            .and_then(Value::as_array);
        match listed {
            Some(choices) => choices
                .iter()
                .filter(|choice| choice.get("type") != Some(&"null".into()))
                .collect(),
            None => vec![schema],
        }
    }

    fn object(&mut self, prefix: &str, schema: &'a Value, defaults: Option<&Value>, depth: usize) {
        let (schema, _) = self.resolve(schema);
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (key, property) in properties {
            // The tag of a variant is named by the setting above it.
            if property.get("const").is_some() {
                continue;
            }
            let default = defaults
                .and_then(|defaults| defaults.get(key))
                .or_else(|| property.get("default"));
            let name = format!("{prefix}{key}");
            let (resolved, definition) = self.resolve(property);
            let described = property.get("description").or_else(|| {
                // The name of the type says the same.
                resolved
                    .get("description")
                    .filter(|_| name_of(definition).is_none())
            });
            self.rows.push(Setting {
                kind: self.kind(property),
                default: match default {
                    _ if required.contains(&key.as_str()) => "required".to_owned(),
                    Some(default) => shown(default),
                    None => String::new(),
                },
                description: described
                    .and_then(Value::as_str)
                    .map_or_else(String::new, one_line),
                name: name.clone(),
            });
            if depth < DEEPEST {
                self.nested(&name, property, default, depth + 1);
            }
        }
    }

    fn nested(&mut self, name: &str, schema: &'a Value, default: Option<&Value>, depth: usize) {
        for choice in self.choices(schema) {
            let (resolved, _) = self.resolve(choice);
            match resolved.get("items") {
                Some(items) => self.nested(&format!("{name}[]"), items, None, depth),
                None => self.object(&format!("{name}."), resolved, default, depth),
            }
        }
    }

    /// What may be written for a schema: `integer`, `a | b`, `list of input`.
    fn kind(&self, schema: &'a Value) -> String {
        let (resolved, definition) = self.resolve(schema);
        if let Some(name) = name_of(definition) {
            return name.to_owned();
        }
        if let Some(fixed) = resolved.get("const") {
            return shown(fixed);
        }
        if let Some(values) = resolved.get("enum").and_then(Value::as_array) {
            return values
                .iter()
                .filter(|value| !value.is_null())
                .map(shown)
                .collect::<Vec<_>>()
                .join(" | ");
        }
        if resolved.get("anyOf").or_else(|| resolved.get("oneOf")).is_some() {
            let kinds: Vec<String> = self
                .choices(schema)
                .into_iter()
                .map(|choice| self.kind(choice))
                .collect();
            return kinds.join(" | ");
        }
        match json_type(resolved) {
            "array" => match resolved.get("items") {
                Some(items) => format!("list of {}", self.kind(items)),
                None => "list".to_owned(),
            },
            "object" => self.object_kind(resolved),
            "string" => "text".to_owned(),
            "boolean" => "true | false".to_owned(),
            number @ ("integer" | "number") => number.to_owned() + &range(resolved),
            other => other.to_owned(),
        }
    }

    fn object_kind(&self, schema: &'a Value) -> String {
        let empty = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let tag = properties
            .iter()
            .find_map(|(key, property)| Some((key, property.get("const")?)));
        if let Some((key, value)) = tag {
            return format!("{{{key}: {}, …}}", shown(value));
        }
        let values = schema
            .get("additionalProperties")
            .filter(|values| values.is_object());
        match (properties.keys().next(), values) {
            // A variant with fields: the one key is its name.
            (Some(key), _) if properties.len() == 1 && schema.get("required").is_some() => {
                format!("{{{key}: …}}")
            }
            (None, Some(values)) => format!("mapping to {}", self.kind(values)),
            _ => "mapping".to_owned(),
        }
    }
}

/// Types of the pipeline that have a word of their own.
fn name_of(definition: Option<&str>) -> Option<&'static str> {
    match definition? {
        "InputRef" => Some("input"),
        "ByteSize" => Some("size"),
        _ => None,
    }
}

/// The type of a schema; null, and text beside a number (for variables), left out.
fn json_type(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => {
            let names: Vec<&str> = names
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| *name != "null")
                .collect();
            let not_text = names.iter().find(|name| **name != "string");
            not_text.or(names.first()).copied().unwrap_or("anything")
        }
        _ => "anything",
    }
}

fn range(schema: &Value) -> String {
    let bound = |key: &str, sign: &str| {
        let bound = schema.get(key)?;
        // Below zero nobody tries.
        (bound.as_f64() != Some(0.0)).then(|| format!(" {sign} {}", shown(bound)))
    };
    let bounds = [
        bound("minimum", "≥"),
        bound("exclusiveMinimum", ">"),
        // The largest number of a type is no rule of the job.
        bound("maximum", "≤")
            .filter(|_| schema.get("maximum").and_then(Value::as_u64) < Some(u64::from(u32::MAX))),
        bound("exclusiveMaximum", "<"),
    ];
    bounds.into_iter().flatten().collect()
}

/// A value as one would write it in YAML.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if !text.is_empty() && !text.contains(char::is_whitespace) => harmless(text),
        // Its own settings have their own defaults.
        Value::Object(_) => String::new(),
        Value::Number(number) => match number.as_f64() {
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => format!("{whole}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

fn one_line(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}
