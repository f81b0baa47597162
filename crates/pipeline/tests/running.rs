//! Real graphs of toy jobs in temporary stores: caching, resume, parallelism, cancellation, concurrency.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod toys;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use toys::{CHAIN, Keeper, Playground, machine, statuses};
use tributary_pipeline::*;

#[test]
fn a_graph_runs_once_and_a_second_run_does_nothing() {
    let playground = Playground::new();
    let report = playground.run(CHAIN);
    assert_eq!(report.status, RunStatus::Done);
    assert_eq!(
        statuses(&report),
        [
            ("a", StepStatus::Done),
            ("b", StepStatus::Done),
            ("both", StepStatus::Done)
        ]
    );
    assert_eq!(playground.text(&report, "both"), "hello world");
    assert_eq!(playground.toys.runs(), 3);

    let before = playground.files("");
    let keeper = Keeper::default();
    let report = playground.run_with(CHAIN, RunOptions::new(&keeper));
    assert_eq!((report.run, report.status), (None, RunStatus::Done));
    assert_eq!(*keeper.0.lock().unwrap(), [Event::NothingToDo { steps: 3 }]);
    assert_eq!(playground.toys.runs(), 3);
    assert_eq!(playground.files(""), before, "nothing was written");
}

#[test]
fn thirty_cached_steps_are_settled_well_under_a_second() {
    let playground = Playground::new();
    let steps: String = (0..30)
        .map(|n| match n % 3 {
            2 => format!(
                "  - id: s{n}\n    job: concat\n    with:\n      parts: [\"${{s{}.text}}\"]\n",
                n - 1
            ),
            _ => format!("  - {{id: s{n}, job: write, with: {{text: t{n}}}}}\n"),
        })
        .collect();
    let steps = format!("steps:\n{steps}");
    assert_eq!(playground.run(&steps).status, RunStatus::Done);
    let start = Instant::now();
    assert_eq!(playground.run(&steps).run, None);
    // Takes about 10 ms; the bound only has to hold on a crowded machine.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_failure_stops_what_depends_on_it_and_nothing_else() {
    let playground = Playground::new();
    let steps = "
steps:
  - {id: bad, job: broken, with: {how: bad_input}}
  - {id: after-bad, job: write, with: {text: x}, after: [bad]}
  - {id: later, job: concat, with: {parts: [\"${after-bad.text}\"]}}
  - {id: good, job: write, with: {text: fine}}
  - {id: copy, job: concat, with: {parts: [\"${good.text}\"]}}
";
    let report = playground.run(steps);
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(report.exit_code(), 65);
    let mut by_step = statuses(&report);
    by_step.sort();
    assert_eq!(
        by_step,
        [
            ("after-bad", StepStatus::Skipped),
            ("bad", StepStatus::Failed),
            ("copy", StepStatus::Done),
            ("good", StepStatus::Done),
            ("later", StepStatus::Skipped),
        ]
    );
    let failed = report
        .steps
        .iter()
        .find(|record| record.step == "bad")
        .unwrap()
        .error
        .clone()
        .unwrap();
    assert_eq!(failed.message, "the input is rotten");
}

#[test]
fn panics_and_forgotten_outputs_are_bugs_of_their_step() {
    for (how, message) in [
        ("panic", "the job panicked: toys everywhere"),
        ("forget", "declared output `text` is not at `out.txt`"),
    ] {
        let playground = Playground::new();
        let report = playground.run(&format!(
            "steps: [{{id: x, job: broken, retries: 3, with: {{how: {how}}}}}]\n"
        ));
        assert_eq!((report.status, report.exit_code()), (RunStatus::Failed, 1));
        assert_eq!(report.steps[0].error.as_ref().unwrap().message, message);
        assert_eq!(report.steps[0].attempts, 1, "a bug is not tried again");
        assert_eq!(playground.files("artifacts"), [], "nothing half-made is visible");
    }
}

#[test]
fn what_may_pass_is_tried_again_within_its_limit() {
    let playground = Playground::new();
    let keeper = Keeper::default();
    let steps =
        |retries: u32| format!("steps: [{{id: f, job: flaky, retries: {retries}, with: {{fails: 2}}}}]\n");
    let report = playground.run_with(&steps(1), RunOptions::new(&NoObserver));
    assert_eq!(
        (report.status, report.exit_code(), report.steps[0].attempts),
        (RunStatus::Failed, 69, 2)
    );
    let report = playground.run_with(&steps(2), RunOptions::new(&keeper));
    assert_eq!((report.status, report.steps[0].attempts), (RunStatus::Done, 3));
    assert_eq!(report.steps[0].error, None);
    let events = keeper.0.lock().unwrap();
    let waits: Vec<f64> = events
        .iter()
        .filter_map(|event| match event {
            Event::StepRetrying { wait, .. } => Some(*wait),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [0.001, 0.002]);
}

#[test]
fn a_step_goes_on_from_its_checkpoints() {
    let playground = Playground::new();
    let steps = "steps: [{id: c, job: count}]\n";
    assert_eq!(playground.run(steps).status, RunStatus::Failed);
    assert_eq!(playground.toys.runs(), 5);
    let report = playground.run(steps);
    assert_eq!(report.status, RunStatus::Done);
    assert_eq!(
        (playground.toys.runs(), playground.text(&report, "c").as_str()),
        (10, "10")
    );
}

#[test]
fn checkpoints_that_a_dead_process_left_are_removed() {
    let playground = Playground::new();
    let steps = "steps: [{id: a, job: write, with: {text: a}}]\n";
    let report = playground.run(steps);
    let key = report.steps[0]
        .artifact
        .as_ref()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let store = playground.store();
    let [left, other] = [format!("{CHECKPOINTS}/{key}/x"), format!("{CHECKPOINTS}/other/x")];
    store.put(&left, "of a step that is done").unwrap();
    store.put(&other, "of a step that nobody knows").unwrap();
    assert_eq!(playground.run(steps).status, RunStatus::Done);
    assert_eq!(store.head(&left).unwrap(), None);
    assert!(store.head(&other).unwrap().is_some());
}

#[test]
fn a_file_that_changes_while_the_pipeline_runs_is_not_taken_for_what_it_was() {
    let playground = Playground::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.txt");
    std::fs::write(&file, "as planned").unwrap();
    let steps = format!(
        "steps: [{{id: c, job: concat, with: {{parts: ['{}']}}}}]\n",
        file.display()
    );
    let prepare = || {
        let source = playground.source(&steps);
        plan_in(
            source,
            &playground.toys.registry(),
            &machine(),
            playground.store(),
        )
        .unwrap()
    };
    let planned = prepare();
    std::fs::write(&file, "as edited!").unwrap();
    let report = run(&planned, RunOptions::new(&NoObserver)).unwrap();
    assert_eq!((report.status, report.exit_code()), (RunStatus::Failed, 75));
    let said = &report.steps[0].error.as_ref().unwrap().message;
    assert!(said.contains("data.txt changed while the pipeline ran"), "{said}");
    assert_eq!(playground.store().list("artifacts").unwrap(), Vec::new());
    let report = run(&prepare(), RunOptions::new(&NoObserver)).unwrap();
    assert_eq!(report.status, RunStatus::Done);
    assert!(playground.text(&report, "c").contains("as edited!"));
}

/// The file that holds a `write` step's text.
fn text_file(playground: &Playground, report: &RunReport, step: &str) -> std::path::PathBuf {
    let record = report.steps.iter().find(|record| record.step == step).unwrap();
    playground
        .store_path()
        .join(record.artifact.as_ref().unwrap())
        .join("out.txt")
}

#[test]
fn an_artifact_with_a_hole_is_made_again() {
    let playground = Playground::new();
    let report = playground.run(CHAIN);
    let file = text_file(&playground, &report, "a");
    for damage in ["removed", "cut"] {
        match damage {
            "removed" => std::fs::remove_file(&file).unwrap(),
            _ => std::fs::write(&file, "hel").unwrap(),
        }
        assert_eq!(
            playground.plan(CHAIN).plan.count(PlanState::Cached),
            1,
            "{damage}"
        );
        let report = playground.run(CHAIN);
        assert_eq!(report.status, RunStatus::Done, "{damage}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "hello", "{damage}");
    }
}

#[test]
fn nothing_is_made_from_damaged_bytes() {
    let playground = Playground::new();
    let report = playground.run(CHAIN);
    std::fs::write(text_file(&playground, &report, "a"), "hallo").unwrap();
    std::fs::remove_dir_all(text_file(&playground, &report, "both").parent().unwrap()).unwrap();
    let report = playground.run(CHAIN);
    assert_eq!((report.status, report.exit_code()), (RunStatus::Failed, 65));
    let said = &report.steps[2].error.as_ref().unwrap().message;
    assert!(
        said.contains("${a.text} cannot be used; remove") && said.contains("out.txt: bytes 0..5 changed"),
        "{said}"
    );
}

#[test]
fn a_store_inside_a_data_folder_is_refused() {
    let playground = Playground::new();
    let steps = format!(
        "steps: [{{id: c, job: concat, with: {{parts: ['{}']}}}}]\n",
        playground.path().display()
    );
    let source = playground.source(&steps);
    match plan(source, &playground.toys.registry(), &machine()) {
        Err(PipelineError::Document(found)) => {
            let drawn = found.render(100, false);
            assert!(drawn.contains("the store lies in this folder"), "{drawn}");
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn independent_steps_run_side_by_side_when_resources_allow() {
    let playground = Playground::new();
    let steps = |cpus: u32, name: &str| {
        let step = |n: u32| {
            format!(
                "  - {{id: m{n}, job: meet, resources: {{cpus: {cpus}}}, with: {{people: 2, name: {name}{n}}}}}\n"
            )
        };
        format!("steps:\n{}{}", step(1), step(2))
    };
    // Each ends only if both run at once.
    assert_eq!(playground.run(&steps(2, "pair")).status, RunStatus::Done);
}

#[test]
fn steps_that_do_not_fit_together_run_one_after_the_other() {
    let playground = Playground::new();
    let keeper = Keeper::default();
    let steps = "
steps:
  - {id: a, job: write, resources: {memory: 6GiB}, with: {text: a}}
  - {id: b, job: write, resources: {memory: 6GiB}, with: {text: b}}
  - {id: c, job: write, resources: {cpus: 4}, with: {text: c}}
";
    assert_eq!(
        playground.run_with(steps, RunOptions::new(&keeper)).status,
        RunStatus::Done
    );
    let events = keeper.0.lock().unwrap();
    let mut running = 0;
    for event in events.iter() {
        match event {
            Event::StepStarted { .. } => running += 1,
            Event::StepFinished { .. } => running -= 1,
            _ => {}
        }
        assert!(running <= 1, "two at once: {events:?}");
    }
}

#[test]
fn equal_steps_are_made_once() {
    let playground = Playground::new();
    let steps: String = (0..4)
        .map(|n| format!("  - {{id: s{n}, job: write, with: {{text: same}}}}\n"))
        .collect();
    let report = playground.run(&format!("steps:\n{steps}"));
    assert_eq!(report.status, RunStatus::Done);
    assert_eq!(playground.toys.runs(), 1);
    assert_eq!(
        report
            .steps
            .iter()
            .filter(|record| record.status == StepStatus::Cached)
            .count(),
        3
    );
}

#[test]
fn cancellation_stops_at_a_safe_point_and_skips_the_rest() {
    let playground = Playground::new();
    let steps = "
steps:
  - {id: h, job: hang}
  - {id: next, job: write, after: [h], with: {text: x}}
";
    let options = RunOptions::new(&NoObserver);
    let token = options.cancellation.clone();
    let hanging = playground.toys.hanging.clone();
    let canceller = std::thread::spawn(move || {
        while hanging.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        token.cancel();
    });
    let report = playground.run_with(steps, options);
    canceller.join().unwrap();
    assert_eq!((report.status, report.exit_code()), (RunStatus::Cancelled, 75));
    assert_eq!(
        statuses(&report),
        [("h", StepStatus::Cancelled), ("next", StepStatus::Skipped)]
    );
    let history = RunHistory::latest(&playground.store()).unwrap();
    assert_eq!(history.finished.unwrap().status, RunStatus::Cancelled);
}

#[test]
fn a_check_that_needs_another_steps_output_is_made_before_the_step_runs() {
    let playground = Playground::new();
    let steps = "
steps:
  - {id: p, job: write, with: {text: poison}}
  - id: c
    job: concat
    with:
      parts:
        - ${p.text}
";
    let report = playground.run(steps);
    assert_eq!((report.status, report.exit_code()), (RunStatus::Failed, 78));
    let message = &report.steps[1].error.as_ref().unwrap().message;
    assert_eq!(message, "toy.yaml:11:11: this text is poisoned");
    // The second time the text is there, so the plan already says so.
    let found = plan(
        playground.source(steps),
        &playground.toys.registry(),
        &toys::machine(),
    )
    .err()
    .unwrap();
    assert_eq!(found.exit_code(), 78);
}

#[test]
fn two_runners_on_one_store_end_with_the_same_artifacts() {
    let alone = Playground::new();
    alone.run(CHAIN);
    for _ in 0..5 {
        let shared = Playground::new();
        std::thread::scope(|scope| {
            let runners: Vec<_> = (0..3).map(|_| scope.spawn(|| shared.run(CHAIN).status)).collect();
            for runner in runners {
                assert_eq!(runner.join().unwrap(), RunStatus::Done);
            }
        });
        assert_eq!(shared.files("artifacts"), alone.files("artifacts"));
    }
}
