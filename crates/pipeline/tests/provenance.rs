//! What stays of a run: manifests, records, events, and inputs known by their content.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod toys;

use toys::{CHAIN, Keeper, Playground};
use tributary_pipeline::*;
use tributary_store::{Artifact, MANIFEST};

#[test]
fn records_tell_what_happened() {
    let playground = Playground::new();
    let report = playground.run(CHAIN);
    let store = playground.store();
    let history = RunHistory::latest(&store).unwrap();
    assert_eq!(Some(&history.run.id), report.run.as_ref());
    assert_eq!(
        RunHistory::list(&store).unwrap(),
        std::slice::from_ref(&history.run.id)
    );
    assert_eq!(history.steps, report.steps);
    assert_eq!(history.run.steps[2].inputs[1].step.as_deref(), Some("b"));
    assert_eq!(history.finished.as_ref().unwrap().steps[&StepStatus::Done], 3);
    let first = &history.steps[0];
    assert_eq!(
        (first.throughput[0].unit.as_str(), first.throughput[0].amount),
        ("bytes", 5)
    );
    assert_eq!(first.metrics["length"], 5.0);
    assert_eq!(history.figures(&store, "a").unwrap().len(), 1);
    assert_eq!(history.figures(&store, "both").unwrap(), []);
    assert!(history.run.document.contains("name: toy"));
    assert!(matches!(
        RunHistory::load(&store, "nothing"),
        Err(PipelineError::NoRun { .. })
    ));
}

#[test]
fn external_inputs_enter_by_content() {
    let playground = Playground::new();
    let write = |name: &str, text: &str| std::fs::write(playground.path().join(name), text).unwrap();
    let steps = |name: &str| format!("steps: [{{id: c, job: concat, with: {{parts: [{name}]}}}}]\n");
    write("one.txt", "same");
    write("two.txt", "same");
    let report = playground.run(&steps("one.txt"));
    assert_eq!(playground.text(&report, "c"), "same");
    assert_eq!(
        playground.run(&steps("two.txt")).run,
        None,
        "another name, the same content"
    );
    write("two.txt", "different");
    let report = playground.run(&steps("two.txt"));
    assert_eq!(
        (report.status, playground.text(&report, "c").as_str()),
        (RunStatus::Done, "different")
    );
}

#[test]
fn an_artifact_of_another_store_is_an_input_by_its_outputs() {
    let (first, second) = (Playground::new(), Playground::new());
    let report = first.run(CHAIN);
    let place = first
        .store_path()
        .join(report.steps[2].artifact.as_ref().unwrap());
    let steps = format!(
        "steps: [{{id: c, job: concat, with: {{parts: ['{}#text']}}}}]\n",
        place.display()
    );
    let report = second.run(&steps);
    assert_eq!(second.text(&report, "c"), "hello world");
}

#[test]
fn events_come_in_an_order_a_reader_can_rely_on() {
    let playground = Playground::new();
    let keeper = Keeper::default();
    playground.run_with(CHAIN, RunOptions::new(&keeper));
    let events = keeper.0.lock().unwrap();
    assert!(matches!(
        events.first(),
        Some(Event::RunStarted {
            steps: 3,
            cached: 0,
            ..
        })
    ));
    assert!(matches!(
        events.last(),
        Some(Event::RunFinished {
            status: RunStatus::Done,
            ..
        })
    ));
    let place = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted).unwrap();
    let started = place(&|event| matches!(event, Event::StepStarted { step, .. } if step == "a"));
    let work = place(&|event| matches!(event, Event::StepProgress { step, done: 5, .. } if step == "a"));
    let finished = place(&|event| matches!(event, Event::StepFinished { step, .. } if step == "a"));
    let dependent = place(&|event| matches!(event, Event::StepStarted { step, .. } if step == "both"));
    assert!(
        started < work && work < finished && finished < dependent,
        "{events:?}"
    );
    let line = serde_json::to_string(&events[0]).unwrap();
    assert!(line.starts_with(r#"{"event":"run_started","run":""#), "{line}");
}

#[test]
fn the_manifest_says_where_an_artifact_came_from_and_nothing_about_when() {
    let playground = Playground::new();
    let report = playground.run(CHAIN);
    let record = |step: &str| report.steps.iter().find(|record| record.step == step).unwrap();
    let open = |step: &str| {
        Artifact::open(
            &playground
                .store()
                .child(record(step).artifact.as_ref().unwrap())
                .unwrap(),
        )
        .unwrap()
    };
    let both = open("both");
    let manifest = both.manifest();
    assert_eq!(
        (manifest.kind.as_str(), manifest.producer.job.as_str()),
        ("text", "concat")
    );
    assert_eq!(manifest.inputs[0].name, "parts.0");
    assert_eq!(manifest.inputs[0].digest, open("a").manifest().digest());
    assert_eq!(manifest.outputs["text"].path, "out.txt");
    let text = String::from_utf8(
        playground
            .store()
            .get(&format!(
                "{}/{MANIFEST}",
                record("both").artifact.clone().unwrap()
            ))
            .unwrap()
            .to_vec(),
    )
    .unwrap();
    assert!(
        !text.contains(playground.path().to_str().unwrap()),
        "a path of this machine: {text}"
    );
    assert!(!text.contains("${"), "a reference by step id: {text}");
    assert_eq!(open("a").manifest().facts["times"], 1);

    // The same in another store, in another order: the same bytes.
    let other = Playground::new();
    let backwards = "
steps:
  - {id: last, job: concat, with: {separator: ' ', parts: [\"${x.text}\", \"${y.text}\"]}}
  - {id: y, job: write, with: {text: world}}
  - {id: x, job: write, with: {times: 1, text: hello}}
";
    assert_eq!(other.run(backwards).status, RunStatus::Done);
    assert_eq!(other.files("artifacts"), playground.files("artifacts"));
}
