//! Pages of whole runs: what they say, that they stand alone, and that nothing in a record can break out of its place.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod html;
mod showcase;

use std::collections::BTreeSet;

use html::Html;
use showcase::{Ending, run_document, showcase};
use tributary_pipeline::{FIGURES, StepStatus};
use tributary_report::{page_key, render, write};

fn page(ending: Ending) -> Html {
    let folder = tempfile::tempdir().unwrap();
    let (store, history) = showcase(folder.path(), ending);
    Html::parse(&render(&history, &store).unwrap())
}

#[test]
fn a_page_says_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let (store, history) = showcase(folder.path(), Ending::Done);
    let html = Html::parse(&render(&history, &store).unwrap());
    let mut settings = insta::Settings::clone_current();
    // Digests change with the program's version.
    settings.add_filter("[0-9a-f]{64}", "[digest]");
    settings.add_filter("[0-9a-f]{24}", "[key]");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "[short]");
    settings.add_filter(r"tributary \d+\.\d+\.\d+", "tributary [version]");
    settings.bind(|| insta::assert_snapshot!("text", html.text.join("\n")));
}

#[test]
fn a_page_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (store, history) = showcase(folder.path(), Ending::Done);
    let text = render(&history, &store).unwrap();
    let html = Html::parse(&text);
    let names = html.names();
    for forbidden in [
        "script", "iframe", "object", "embed", "base", "form", "src", "srcset", "onclick", "onload",
    ] {
        assert!(!names.contains(forbidden), "{forbidden}");
    }
    // What could be fetched: links lead inside the page, and the icon is empty.
    let ids: Vec<&str> = html.values("id");
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), unique.len(), "an id stands twice");
    for link in html.values("href") {
        let inside = link.strip_prefix('#').is_some_and(|id| unique.contains(id));
        assert!(inside || link == "data:,", "{link}");
    }
    for fetched in ["@import", "url(http", "url(/", "url(\"", "url(data"] {
        assert!(!text.contains(fetched), "{fetched}");
    }
    assert!(
        html.values("content")
            .iter()
            .any(|policy| policy.contains("default-src 'none'"))
    );
}

#[test]
fn the_same_records_give_the_same_page() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, history) = showcase(one.path(), Ending::Done);
    let first = render(&history, &store).unwrap();
    assert_eq!(first, render(&history, &store).unwrap());
    let (store, history) = showcase(two.path(), Ending::Done);
    assert!(
        first == render(&history, &store).unwrap(),
        "a second run of the same pipeline has another page"
    );
}

#[test]
fn a_failed_run_names_the_failure_first() {
    let html = page(Ending::Failed);
    let place = |text: &str| html.text.iter().position(|line| line.contains(text));
    let failure = place("the loss is not a number at step 118").unwrap();
    assert!(failure < place("Graph").unwrap() + 12, "it stands far below");
    assert!(html.says("6 skipped") && html.says("1 failed"));
    // Its block is open.
    let block = html.tags.iter().find(|tag| {
        tag.attributes
            .contains(&("id".into(), "step-tune-arithmetic".into()))
    });
    assert!(block.unwrap().attributes.iter().any(|(name, _)| name == "open"));
}

#[test]
fn a_run_without_end_has_a_page() {
    let html = page(Ending::Running);
    assert!(html.says("running or interrupted"));
    assert!(html.says("no end recorded: 5 done, 1 running, 5 queued"));
}

#[test]
fn a_retried_step_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut history) = showcase(folder.path(), Ending::Done);
    let attempts = |html: &Html| -> Vec<String> {
        let lines = html.text.windows(2);
        lines
            .filter(|pair| pair[0] == "attempts")
            .map(|pair| pair[1].clone())
            .collect()
    };
    let html = Html::parse(&render(&history, &store).unwrap());
    assert_eq!(
        attempts(&html).iter().filter(|attempts| *attempts == "2").count(),
        1
    );
    // While the second attempt runs, the record has the first one's error.
    let record = &mut history.steps[4];
    record.status = StepStatus::Running;
    record.error = Some(tributary_pipeline::StepFailure {
        kind: "unavailable".into(),
        message: "the store did not answer".into(),
        exit_code: 69,
    });
    let html = Html::parse(&render(&history, &store).unwrap());
    assert!(html.says(", tried again") && html.says("the store did not answer"));
    assert!(!html.says("Failure"));
}

#[test]
fn damage_costs_figures_and_not_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let (store, history) = showcase(folder.path(), Ending::Done);
    let artifact = |step: &str| {
        let record = history.steps.iter().find(|record| record.step == step).unwrap();
        record.artifact.clone().unwrap()
    };
    store
        .put(&format!("{}/{FIGURES}", artifact("base")), "[]")
        .unwrap();
    store.child(&artifact("metagpt")).unwrap().delete_all().unwrap();
    store
        .put(&format!("{}/tributary.json", artifact("average")), "{}")
        .unwrap();
    let html = Html::parse(&render(&history, &store).unwrap());
    assert!(html.says("its figures cannot be read"));
    assert!(html.says("its artifact is no longer in the store"));
    assert!(html.says("opening the artifact of step `average`"));
    assert!(html.says("side by side"), "the rest is still there");
}

#[test]
fn nothing_in_a_record_breaks_out_of_its_place() {
    let evil = "</title></style></pre>\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7919*7907 }}{% raw %}&lt;\u{202e}";
    let text = serde_json::to_string(evil).unwrap();
    let figures = format!(
        r#"[
          {{"figure": "series", "title": {text}, "x_label": {text}, "y_label": {text},
            "lines": [{{"name": {text}, "x": [0, 1, 2], "y": [1, null, 3]}}]}},
          {{"figure": "scores", "scores": [
            {{"model": {text}, "dataset": {text}, "metric": {text}, "value": 1, "stderr": null, "count": 1, "lower_is_better": true}},
            {{"model": "b", "dataset": {text}, "metric": {text}, "value": null, "stderr": 0.5, "count": 1, "lower_is_better": false}}]}},
          {{"figure": "matrix", "title": {text}, "rows": [{text}, "a"], "columns": [{text}], "values": [[null]]}},
          {{"figure": "table", "title": {text}, "columns": [{text}], "rows": [[{text}, {text}], []]}},
          {{"figure": "notes", "notes": [{{"level": "warning", "text": {text}}}, {{"level": "info", "text": {text}}}]}}
        ]"#
    );
    let figures = serde_json::to_string(&figures).unwrap();
    let document = format!(
        "name: {text}\nsteps:\n  - id: shown\n    job: show\n    with: {{figures: {figures}}}\n  - id: other\n    job: show\n    with: {{figures: \"[]\"}}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let (store, mut history) = run_document(folder.path(), &document);
    assert_eq!(
        history.steps[0].status,
        StepStatus::Done,
        "{:?}",
        history.steps[0].error
    );
    let run = &mut history.run;
    (run.id, run.file, run.store, run.started) = (evil.into(), evil.into(), evil.into(), evil.into());
    run.overrides = vec![evil.into()];
    run.versions.insert(evil.into(), evil.into());
    run.machine.system = evil.into();
    run.steps[1].id = evil.into();
    run.steps[1].job = evil.into();
    run.steps[1].after = vec![evil.into()];
    let input = |step: Option<&str>| tributary_pipeline::InputOutline {
        field: evil.into(),
        reference: evil.into(),
        step: step.map(str::to_owned),
        output: Some(evil.into()),
        kind: Some(evil.into()),
    };
    run.steps[1].inputs = vec![input(None), input(Some(evil)), input(Some("shown"))];
    let record = &mut history.steps[1];
    (record.step, record.job) = (evil.into(), evil.into());
    (record.started, record.artifact, record.key) = (Some(evil.into()), Some(evil.into()), Some(evil.into()));
    record.status = StepStatus::Failed;
    record.error = Some(tributary_pipeline::StepFailure {
        kind: evil.into(),
        message: evil.into(),
        exit_code: 1,
    });
    record.metrics.insert(evil.into(), f64::NAN);
    record.throughput.push(tributary_pipeline::Throughput {
        unit: evil.into(),
        amount: 1,
        seconds: 0.0,
    });

    let html = Html::parse(&render(&history, &store).unwrap());
    let names = html.names();
    for broken_out in ["script", "img", "onerror", "src"] {
        assert!(!names.contains(broken_out), "{broken_out}");
    }
    assert!(html.says(evil), "it is shown as it is");
    assert!(!html.says("62615533"), "it is no template");
    assert_eq!(html.tags.iter().filter(|tag| tag.name == "style").count(), 1);
}

#[test]
fn a_page_is_written_into_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (store, history) = showcase(folder.path(), Ending::Done);
    let page = render(&history, &store).unwrap();
    let at = write(&history, &store).unwrap();
    assert!(at.ends_with("runs/20260102T090000Z-5eed07/report.html"), "{at}");
    assert_eq!(std::fs::read_to_string(at).unwrap(), page);
    assert_eq!(store.get(&page_key(&history.run.id)).unwrap(), page);
}
