//! The same graph on an S3 server and on stores that fail: the same artifacts, nothing half-visible.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod toys;

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use toys::{CHAIN, Playground, machine};
use tributary_pipeline::*;
use tributary_store::{Artifact, Depth, Store};
use tributary_testkit::faults::FaultPlan;
use tributary_testkit::faulty::FaultyStore;
use tributary_testkit::s3::{BUCKET, S3Server};

/// Plans and runs the chain until a run is done: a store may fail more often than it is worth trying.
fn run_until_done(playground: &Playground, store: &Store) -> u32 {
    for tries in 1..=20 {
        let source = playground.source(&format!("defaults: {{retries: 3}}\n{CHAIN}"));
        let Ok(planned) = plan_in(source, &playground.toys.registry(), &machine(), store.clone()) else {
            continue;
        };
        let mut options = RunOptions::new(&NoObserver);
        options.first_pause = Duration::from_millis(1);
        if run(&planned, options).is_ok_and(|report| report.status == RunStatus::Done) {
            return tries;
        }
    }
    panic!("never done");
}

/// Path and content of every object of every artifact, each of them whole.
fn artifacts(store: &Store) -> Vec<(String, Vec<u8>)> {
    let objects = store.list("artifacts").unwrap();
    for object in &objects {
        if let Some(place) = object.key.strip_suffix("/tributary.json") {
            let artifact = Artifact::open(&store.child(place).unwrap()).unwrap();
            assert!(
                artifact.verify(Depth::Full, &|_| {}).unwrap().is_whole(),
                "{place}"
            );
        }
    }
    objects
        .into_iter()
        .map(|meta| (meta.key.clone(), store.get(&meta.key).unwrap().to_vec()))
        .collect()
}

fn expected() -> Vec<(String, Vec<u8>)> {
    let playground = Playground::new();
    playground.run(CHAIN);
    artifacts(&playground.store())
}

#[test]
fn a_failing_store_changes_nothing_about_the_result() {
    let expected = expected();
    let mut faults = 0;
    for seed in 0..40 {
        let truth = Arc::new(InMemory::new());
        let faulty = Arc::new(FaultyStore::new(Arc::clone(&truth), FaultPlan::all(seed, 250)));
        let playground = Playground::new();
        run_until_done(
            &playground,
            &Store::from_object_store(Arc::clone(&faulty), "memory://faulty"),
        );
        assert_eq!(
            artifacts(&Store::from_object_store(truth, "memory://clear")),
            expected,
            "seed {seed}"
        );
        faults += faulty.faults().total();
    }
    assert!(faults > 300, "only {faults} faults happened");
}

#[test]
fn an_s3_server_gives_the_same_artifacts_and_a_second_run_does_nothing() {
    let expected = expected();
    for per_mille in [0, 100] {
        let server = S3Server::start_faulty(FaultPlan::all(7, per_mille));
        let open = |environment: Vec<(&'static str, String)>| {
            let environment = environment
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            Store::open_with(&format!("s3://{BUCKET}/toy"), environment).unwrap()
        };
        let playground = Playground::new();
        run_until_done(&playground, &open(server.environment()));
        let clear = open(server.clear_environment());
        assert_eq!(artifacts(&clear), expected);
        let source = playground.source(CHAIN);
        let planned = plan_in(source, &playground.toys.registry(), &machine(), clear).unwrap();
        assert!(planned.plan.is_complete());
    }
}
