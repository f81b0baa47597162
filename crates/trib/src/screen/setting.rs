//! The settings of a job as rows, read from their JSON schema.
//!
//! Follows what `schemars` makes of settings types: `$ref`, `anyOf` with null for an option, `oneOf` for choices,
//! objects for structs and for variants with fields. Anything else is named by its JSON type.

use serde_json::Value;

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
    reader.object("", schema, None, Place::default());
    reader.rows
}

/// Where an object stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    depth: usize,
    /// Is it one of several things that may be written?
    is_choice: bool,
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
        let Some(listed) = listed else { return vec![schema] };
        let is_something = |choice: &&Value| choice.get("type") != Some(&"null".into());
        listed
            .iter()
            .filter(is_something)
            .flat_map(|choice| self.choices(choice))
            .collect()
    }

    /// Rows for the keys of an object; for a variant of a choice, that is its name or its fields.
    fn object(&mut self, prefix: &str, schema: &'a Value, defaults: Option<&Value>, place: Place) {
        let (schema, _) = self.resolve(schema);
        let variant = variant_name(schema).filter(|_| place.is_choice);
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
            let is_variant = variant == Some(key.as_str());
            let described = property.get("description");
            let described = described.or_else(|| schema.get("description").filter(|_| is_variant));
            // For the types with a word of their own, that word says it.
            let described = described.or_else(|| {
                resolved
                    .get("description")
                    .filter(|_| name_of(definition).is_none())
            });
            self.rows.push(Setting {
                kind: self.kind(property),
                default: match default {
                    _ if is_variant => "choice".to_owned(),
                    _ if required.contains(&key.as_str()) => "required".to_owned(),
                    Some(default) => shown(default),
                    None => String::new(),
                },
                description: described
                    .and_then(Value::as_str)
                    .map_or_else(String::new, one_line),
                name: name.clone(),
            });
            if place.depth < DEEPEST {
                self.nested(&name, property, default, place.depth + 1);
            }
        }
    }

    fn nested(&mut self, name: &str, schema: &'a Value, default: Option<&Value>, depth: usize) {
        let choices = self.choices(schema);
        let is_choice = choices.len() > 1;
        for choice in choices {
            let (resolved, _) = self.resolve(choice);
            match resolved.get("items") {
                Some(items) => self.nested(&format!("{name}[]"), items, None, depth),
                None => self.object(&format!("{name}."), resolved, default, Place { depth, is_choice }),
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
            return match self.choices(schema).as_slice() {
                [one] => self.kind(one),
                several => {
                    let kinds: Vec<String> = several.iter().map(|choice| self.variant_kind(choice)).collect();
                    kinds.join(" | ")
                }
            };
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

    /// One of several things: a variant with fields by its name or tag, anything else as it is.
    fn variant_kind(&self, schema: &'a Value) -> String {
        let (resolved, _) = self.resolve(schema);
        let properties = resolved.get("properties").and_then(Value::as_object);
        let tag = properties.into_iter().flatten();
        let mut tag = tag.filter_map(|(key, property)| Some((key, property.get("const")?)));
        match (tag.next(), variant_name(resolved)) {
            (Some((key, value)), _) => format!("{{{key}: {}, …}}", shown(value)),
            (None, Some(name)) => format!("{{{name}: …}}"),
            (None, None) => self.kind(schema),
        }
    }

    fn object_kind(&self, schema: &'a Value) -> String {
        let values = schema
            .get("additionalProperties")
            .filter(|values| values.is_object());
        match (schema.get("properties"), values) {
            (None, Some(values)) => format!("mapping to {}", self.kind(values)),
            _ => "mapping".to_owned(),
        }
    }
}

/// The name of a variant with fields, which is the one key of an object.
fn variant_name(schema: &Value) -> Option<&str> {
    let properties = schema.get("properties")?.as_object()?;
    let required = schema.get("required")?.as_array()?;
    match (properties.len(), required.as_slice()) {
        (1, [Value::String(name)]) => Some(name),
        _ => None,
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde::Deserialize;
    use tributary_pipeline::{ByteSize, InputRef};

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Everything {
        /// How it is done,
        /// in two lines.
        ///
        /// And a paragraph that is too long for a table.
        how: Option<How>,
        parts: Vec<Part>,
        #[serde(default)]
        inner: Inner,
        weights: BTreeMap<String, f64>,
        room: Option<ByteSize>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[expect(dead_code, reason = "only its schema is used")]
    enum How {
        /// Plainly.
        Plain,
        /// With a frame.
        Framed { width: u8 },
        /// From elsewhere.
        From(InputRef),
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(tag = "type")]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Part {
        A { size: u32 },
        B { name: String },
    }

    #[derive(Deserialize, serde::Serialize, JsonSchema)]
    struct Inner {
        only: f32,
        #[serde(default)]
        scale: f32,
    }

    impl Default for Inner {
        fn default() -> Self {
            // What holds if `inner` is left out is what a reader wants to know.
            Inner {
                only: 1.0,
                scale: 0.5,
            }
        }
    }

    #[test]
    fn every_shape_of_a_setting_has_its_row() {
        let schema = schemars::schema_for!(Everything).to_value();
        let row = |row: Setting| [row.name, row.kind, row.default, row.description].join(" ; ");
        let rows: Vec<String> = settings(&schema).into_iter().map(row).collect();
        assert_eq!(
            rows,
            [
                "how ; plain | {framed: …} | {from: …} ;  ; How it is done, in two lines.",
                "how.framed ; mapping ; choice ; With a frame.",
                "how.framed.width ; integer ≤ 255 ; required ; ",
                "how.from ; input ; choice ; From elsewhere.",
                "parts ; list of {type: A, …} | {type: B, …} ; required ; ",
                "parts[].size ; integer ; required ; ",
                "parts[].name ; text ; required ; ",
                "inner ; mapping ;  ; ",
                "inner.only ; number ; required ; ",
                "inner.scale ; number ; 0.5 ; ",
                "weights ; mapping to number ; required ; ",
                "room ; size ;  ; ",
            ]
        );
    }
}
