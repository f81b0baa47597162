//! The screens of toy pipelines.

use tributary_pipeline::{Event, Observer, RunOptions, RunReport, run};

use super::{job_list, job_page, plan_page, summary};
use crate::disk::DiskSpace;
use crate::progress::{JsonProgress, PlainProgress, Progress};
use crate::toys::{Playground, Toys};
use crate::verbs::run::{outcome, verdict};

const STEPS: &str = "
steps:
  - {id: hello, job: write, with: {text: hello, times: 3}}
  - {id: flaky, job: flaky, with: {fails: 1}, retries: 2RESOURCES}
  - {id: rotten, job: broken, with: {how: bad_input}}
  - id: both
    job: concat
    with: {parts: ['${hello.text}', '${flaky.text}', '${hello.text}']}
  - id: lost
    job: broken
    after: [hello]
    with: {how: panic, from: '${rotten.text}'}
";

/// A snapshot without what differs between runs: places, times, keys and run ids.
macro_rules! assert_screen {
    ($name:literal, $place:expr, $screen:expr) => {
        insta::with_settings!({filters => vec![
            (regex_of($place).as_str(), "[folder]"),
            (r"\d{8}T\d{6}Z-[0-9a-f]{6}", "[run]"),
            (r"[0-9a-f]{24}", "[key]"),
            (r"\d+\.\d\d s", "[time]"),
            (r#""seconds":[0-9.e-]+"#, r#""seconds":[time]"#),
        ]}, {
            insta::assert_snapshot!($name, $screen);
        });
    };
}

fn regex_of(place: &Playground) -> String {
    place.path().display().to_string().replace('.', r"\.")
}

/// Runs the toys, one at a time so that the log has one order.
fn run_toys(place: &Playground, listener: &dyn Observer) -> RunReport {
    let machine = tributary_pipeline::Machine {
        cpus: 1,
        ..crate::toys::machine()
    };
    let source = place.source(&STEPS.replace("RESOURCES", ""));
    let planned = tributary_pipeline::plan(source, &place.toys.registry(), &machine);
    let mut options = RunOptions::new(listener);
    options.first_pause = std::time::Duration::from_millis(1);
    run(&planned.unwrap_or_else(|error| panic!("{error:?}")), options).unwrap()
}

#[test]
fn a_plan() {
    let place = Playground::new();
    let steps = STEPS.replace("RESOURCES", ", resources: {cpus: 2, memory: 1GiB}");
    let disk = DiskSpace {
        at: "/disk".into(),
        free: 3 << 30,
    };
    assert_screen!(
        "plan",
        &place,
        plan_page(&place.plan(&steps).plan, Some(&disk), None)
    );
    place.run(&steps);
    assert_screen!(
        "plan_half_done",
        &place,
        plan_page(&place.plan(&steps).plan, None, Some(80))
    );
}

#[test]
fn a_plan_with_nothing_to_do() {
    let place = Playground::new();
    place.run(crate::toys::CHAIN);
    let planned = place.plan(crate::toys::CHAIN);
    assert_screen!("plan_nothing_to_do", &place, plan_page(&planned.plan, None, None));
}

#[test]
fn jobs() {
    let registry = Toys::default().registry();
    insta::assert_snapshot!("job_list", job_list(&registry, None));
    let page = |kind: &str| job_page(registry.get(kind).unwrap().as_ref(), Some(100));
    insta::assert_snapshot!("job_page", page("write"));
    insta::assert_snapshot!("job_page_of_lists", page("concat"));
    insta::assert_snapshot!("job_page_without_settings", page("hang"));
}

#[test]
fn the_log_of_a_run() {
    let place = Playground::new();
    let mut log = Vec::new();
    let listener = PlainProgress::new(&mut log, false);
    let report = run_toys(&place, &listener);
    listener.say("that was it");
    let log = String::from_utf8(log).unwrap();
    assert_screen!("run_log", &place, log);
    assert_screen!("run_summary", &place, summary(&report.steps, None));
    let failure = verdict(&report).unwrap_err();
    assert_screen!("run_verdict", &place, failure.to_string());
}

#[test]
fn a_quiet_log_has_failures_only() {
    let place = Playground::new();
    let mut log = Vec::new();
    run_toys(&place, &PlainProgress::new(&mut log, true));
    let log = String::from_utf8(log).unwrap();
    assert_eq!(log, "rotten: failed (bad input): the input is rotten\n");
}

#[test]
fn events_as_json_lines() {
    let place = Playground::new();
    let mut log = Vec::new();
    let listener = JsonProgress::new(&mut log);
    listener.event(&Event::StepMessage {
        step: "a".into(),
        text: "two\nlines".into(),
    });
    run_toys(&place, &listener);
    let log = String::from_utf8(log).unwrap();
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string(), "{line}");
    }
    assert_screen!("run_json", &place, log);
}

#[test]
fn outcomes() {
    let place = Playground::new();
    let report = place.run(crate::toys::CHAIN);
    let planned = place.plan(crate::toys::CHAIN);
    assert_screen!(
        "run_outcome",
        &place,
        outcome(&planned, &report, 0.25, Some("/a/page.html"), None)
    );
    verdict(&report).unwrap();
    let again = place.run(crate::toys::CHAIN);
    assert_screen!(
        "run_nothing_to_do",
        &place,
        outcome(&planned, &again, 0.0, None, None)
    );
    verdict(&again).unwrap();
}
