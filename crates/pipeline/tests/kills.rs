//! `kill -9` anywhere in a run, twice in succession: the next run continues, and ends with the same artifacts.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod toys;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use toys::{Playground, statuses};
use tributary_pipeline::*;

const PLACE: &str = "TRIBUTARY_TEST_PLACE";
const EVENT: &str = "event: ";

/// Twelve steps in three layers; big enough that writing takes a while.
fn steps() -> String {
    let mut steps = String::from("steps:\n");
    for n in 0..4 {
        steps +=
            &format!("  - {{id: a{n}, job: write, with: {{text: 'line {n} of many', times: 100000}}}}\n");
        steps += &format!(
            "  - {{id: b{n}, job: concat, with: {{parts: ['${{a{n}.text}}', '${{a{}.text}}']}}}}\n",
            (n + 1) % 4
        );
        steps +=
            &format!("  - {{id: c{n}, job: concat, with: {{parts: ['${{b{n}.text}}'], separator: x}}}}\n");
    }
    steps
}

/// Says a line for every event.
struct Teller;

impl Observer for Teller {
    fn event(&self, event: &Event) {
        println!("{EVENT}{}", serde_json::to_string(event).unwrap());
    }
}

/// Not a test: the process that the test below starts and kills.
#[test]
#[ignore = "the child process of the other test"]
fn child() {
    if let Ok(place) = std::env::var(PLACE) {
        Playground::at(Path::new(&place)).run_with(&steps(), RunOptions::new(&Teller));
    }
}

#[test]
fn runs_killed_twice_end_with_the_same_artifacts() {
    let reference = Playground::new();
    assert_eq!(reference.run(&steps()).status, RunStatus::Done);
    let expected = reference.files("artifacts");
    let mut cut_short = 0;
    for round in 0..20usize {
        let playground = Playground::new();
        for kill in 0..2 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
                .env(PLACE, playground.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            // Somewhere behind an event that comes early enough for work to be left.
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let events = lines.map_while(Result::ok).filter(|line| line.contains(EVENT));
            events.take(1 + (round * 7 + kill * 11) % 25).for_each(drop);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let report = playground.run(&steps());
        assert_eq!(report.status, RunStatus::Done, "{:?}", statuses(&report));
        cut_short += usize::from(report.run.is_some());
        assert_eq!(playground.files("artifacts"), expected, "round {round}");
        assert_eq!(playground.run(&steps()).run, None);
    }
    assert!(cut_short >= 5, "only {cut_short} of 20 runs were cut short");
}
