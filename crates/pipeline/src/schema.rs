//! JSON schema of the whole document, for editors.
//!
//! `with:` is chosen by `job:` through `if`/`then`. Deterministic: kinds are sorted, and each job's definitions are
//! moved under its own name, so that two jobs may call different types the same.

use serde_json::{Map, Value, json};

use crate::document::{DEFAULT_STORE, Defaults, MAX_RETRIES};
use crate::registry::Registry;
use crate::resources::Resources;

/// The schema, JSON Schema draft 2020-12.
pub fn schema(registry: &Registry) -> Value {
    let mut definitions = Map::new();
    let mut choices = Vec::new();
    for job in registry.jobs() {
        let mut settings = job.schema();
        adopt(&mut settings, job.kind(), &mut definitions);
        let name = definition_name(job.kind(), "settings");
        definitions.insert(name.clone(), settings);
        choices.push(json!({
            "if": { "properties": { "job": { "const": job.kind() } }, "required": ["job"] },
            "then": { "properties": { "with": { "$ref": format!("#/$defs/{name}") } } },
        }));
    }
    for (name, mut part) in [
        ("resources", schemars::schema_for!(Resources).to_value()),
        ("defaults", schemars::schema_for!(Defaults).to_value()),
    ] {
        adopt(&mut part, name, &mut definitions);
        definitions.insert(name.to_owned(), part);
    }
    let kinds: Vec<Value> = registry
        .jobs()
        .map(|job| json!({ "const": job.kind(), "description": job.summary() }))
        .collect();
    let identifier = json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,63}$" });
    definitions.insert("identifier".to_owned(), identifier);
    definitions.insert(
        "step".to_owned(),
        json!({
            "type": "object",
            "required": ["id", "job"],
            "additionalProperties": false,
            "properties": {
                "id": { "$ref": "#/$defs/identifier", "description": "Name of the step in references." },
                "job": { "description": "Kind of job.", "oneOf": kinds },
                "with": { "description": "Settings of the job." },
                "resources": { "$ref": "#/$defs/resources", "description": "What the step reserves of this machine." },
                "retries": {
                    "description": "How often the step is tried again after a failure that may pass.",
                    "type": ["integer", "string"], "minimum": 0, "maximum": MAX_RETRIES
                },
                "after": {
                    "description": "Steps to wait for without reading them.",
                    "type": "array", "items": { "$ref": "#/$defs/identifier" }
                },
            },
            "allOf": choices,
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tributary pipeline",
        "type": "object",
        "required": ["name", "steps"],
        "additionalProperties": false,
        "properties": {
            "name": { "description": "Name of the pipeline.", "type": "string", "minLength": 1 },
            "store": {
                "description": "Where artifacts go: a path relative to the working directory, or an address such as s3://bucket/prefix.",
                "type": "string", "default": DEFAULT_STORE
            },
            "seed": { "description": "Seed of every random choice.", "type": ["integer", "string"], "minimum": 0, "default": 0 },
            "defaults": { "$ref": "#/$defs/defaults", "description": "For steps that do not say themselves." },
            "variables": {
                "description": "Values used as ${var.name}; replaced with --set variables.name=value.",
                "type": "object", "propertyNames": { "$ref": "#/$defs/identifier" }
            },
            "steps": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/step" } },
        },
        "$defs": definitions,
    })
}

fn definition_name(owner: &str, name: &str) -> String {
    format!("{owner}.{name}")
}

/// Moves a schema's own definitions into the document's, under its owner's name, and turns its references to them.
/// Where a number or boolean is expected, a variable may stand too.
fn adopt(schema: &mut Value, owner: &str, definitions: &mut Map<String, Value>) {
    if let Value::Object(map) = schema {
        map.remove("$schema");
        if let Some(Value::Object(own)) = map.remove("$defs") {
            for (name, mut definition) in own {
                turn(&mut definition, owner);
                definitions.insert(definition_name(owner, &name), definition);
            }
        }
    }
    turn(schema, owner);
}

fn turn(schema: &mut Value, owner: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| turn(item, owner)),
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("#/$defs/{}", definition_name(owner, name));
            }
            allow_variable(map);
            map.values_mut().for_each(|value| turn(value, owner));
        }
        _ => {}
    }
}

/// `type: integer` becomes `type: [integer, string]`: `${var.steps}` is a string to an editor.
fn allow_variable(map: &mut Map<String, Value>) {
    let Some(kind) = map.get_mut("type") else { return };
    let is_scalar = |kind: &Value| matches!(kind.as_str(), Some("integer" | "number" | "boolean"));
    match kind {
        Value::String(_) if is_scalar(kind) => *kind = json!([kind.clone(), "string"]),
        Value::Array(kinds) if kinds.iter().any(is_scalar) && !kinds.contains(&json!("string")) => {
            kinds.push(json!("string"));
        }
        _ => {}
    }
}
