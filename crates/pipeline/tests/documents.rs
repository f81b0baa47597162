//! What documents and their schema say: the plan as JSON, overrides and defaults at work.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod toys;

use toys::{Toys, machine};
use tributary_pipeline::*;

fn quickstart(overrides: &[&str]) -> Planned {
    let mut source = Source::from_text("quickstart.yaml", include_str!("quickstart.yaml"));
    source.overrides = overrides.iter().map(|text| (*text).to_owned()).collect();
    plan(source, &Toys::default().registry(), &machine()).unwrap_or_else(|error| match error {
        PipelineError::Document(found) => panic!("{}", found.render(100, false)),
        error => panic!("{error}"),
    })
}

#[test]
fn the_plan_is_readable_by_machines() {
    insta::assert_json_snapshot!("plan", quickstart(&[]).plan);
}

#[test]
fn overrides_reach_everywhere() {
    let overrides = [
        "seed=9",
        "variables.who=moon",
        "steps.framed.with.style=plain",
        "steps.framed.resources.cpus=3",
        "steps.both.with.separator=+",
        "defaults.retries=4",
        "steps.both.with.parts.1=${hello.text}",
    ];
    let plan = quickstart(&overrides).plan;
    let step = |id: &str| plan.steps.iter().find(|step| step.id == id).unwrap();
    assert_eq!(plan.seed, 9);
    assert_eq!(step("hello").settings["text"], "hello, moon");
    assert_eq!(step("hello").retries, 4);
    assert_eq!(
        (
            step("framed").settings["style"].as_str(),
            step("framed").resources.cpus
        ),
        (Some("plain"), 3)
    );
    assert_eq!(
        (step("framed").resources.memory.0, step("framed").retries),
        (2 << 30, 2)
    );
    assert_eq!(step("both").settings["separator"], "+");
    assert_eq!(step("both").settings["parts"][1], "${hello.text}");
}

#[test]
fn the_schema_is_what_it_was() {
    let registry = Toys::default().registry();
    let text = serde_json::to_string_pretty(&schema(&registry)).unwrap();
    assert_eq!(text, serde_json::to_string_pretty(&schema(&registry)).unwrap());
    insta::assert_snapshot!("schema", text);
}

#[test]
fn every_reference_of_the_schema_leads_somewhere() {
    fn references(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            serde_json::Value::Object(map) => {
                found.extend(
                    map.get("$ref")
                        .and_then(|reference| reference.as_str())
                        .map(str::to_owned),
                );
                map.values().for_each(|value| references(value, found));
            }
            _ => {}
        }
    }
    let schema = schema(&Toys::default().registry());
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        let name = reference.strip_prefix("#/$defs/").unwrap();
        assert!(schema["$defs"].get(name).is_some(), "{reference}");
    }
}

#[test]
fn every_example_is_a_step_of_its_kind() {
    let toys = Toys::default();
    for job in toys.registry().jobs() {
        let example = job.example().replace("\n", "\n  ");
        let text = format!(
            "name: x\nstore: memory:///examples\nsteps:\n  - {{id: a, job: write, with: {{text: x}}}}\n  {example}"
        );
        let text = if job.kind() == "write" {
            text.replace("- id: a", "- id: z")
        } else {
            text
        };
        let planned = plan(Source::from_text("x.yaml", text), &toys.registry(), &machine());
        if let Err(PipelineError::Document(found)) = &planned {
            panic!("{}", found.render(100, false));
        }
    }
}

#[test]
fn a_file_is_read_with_its_folder_and_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    std::fs::write(&path, "name: x\n").unwrap();
    let source = Source::read(&path, &["seed=1".into()]).unwrap();
    assert_eq!(
        (source.base.as_path(), source.text.as_str()),
        (folder.path(), "name: x\n")
    );
    assert!(source.environment.contains_key("PATH"));
    let gone = Source::read(&folder.path().join("q.yaml"), &[]).unwrap_err();
    assert_eq!(gone.exit_code(), 74);
    std::fs::write(&path, [b'a', 0xff]).unwrap();
    assert!(
        Source::read(&path, &[])
            .unwrap_err()
            .to_string()
            .contains("not UTF-8 at byte 1")
    );
}
