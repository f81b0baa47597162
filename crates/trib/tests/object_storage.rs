//! The quickstart, made small, on an S3 server that fails, while a reader looks and the program is killed: the same
//! artifacts as on a disk, never half of one to be seen, none lost.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking and says which figures it saw"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tributary_store::{Artifact, Depth, Store};
use tributary_testkit::faults::{Fault, FaultPlan};
use tributary_testkit::s3::{BUCKET, S3Server, SECRET_KEY};

/// What makes the quickstart small: all its steps and references stay.
const SMALLER: [&str; 16] = [
    "variables.length=64",
    "steps.corpora.with.stories=300",
    "steps.corpora.with.facts=300",
    "steps.corpora.with.arithmetic=300",
    "steps.corpora.with.instructions=300",
    "steps.tokenizer.with.vocab_size=400",
    "steps.base.with.start.new.hidden_size=32",
    "steps.base.with.start.new.layers=2",
    "steps.base.with.steps=40",
    "steps.base.with.checkpoints.every=4",
    "steps.facts.with.steps=16",
    "steps.facts.with.checkpoints.every=4",
    "steps.arithmetic.with.steps=16",
    "steps.arithmetic.with.checkpoints.every=4",
    "steps.instructions.with.steps=16",
    "steps.instructions.with.checkpoints.every=4",
];

/// Requests of a thousand that fail in one of seven ways.
const FAULTS: u64 = 60;

type Variables = Vec<(&'static str, String)>;

/// The program, about to run the pipeline with its artifacts at `address`: under the profile `configs/s3.yaml`, if
/// they go to the server.
fn trib(folder: &Path, address: &str, variables: &Variables) -> Command {
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let [pipeline, profile] = ["pipelines/quickstart.yaml", "configs/s3.yaml"]
        .map(|path| Path::new(&package).join("../..").join(path));
    let mut command = Command::new(env!("CARGO_BIN_EXE_trib"));
    command
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("TRIBUTARY_DURABILITY", "process")
        .envs(variables.clone())
        .arg("run")
        .arg(pipeline)
        .args(["--device", "cpu"]);
    match address.strip_prefix("s3://") {
        Some(place) => command
            .env("TRIBUTARY_STORE", place)
            .arg("--profile")
            .arg(profile),
        None => command.args(["--store", address]),
    };
    for replaced in SMALLER {
        command.args(["--set", replaced]);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the program; says whether it ended well, and what it said.
fn end(child: Child) -> (bool, String) {
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|part| String::from_utf8(part).unwrap());
    (output.status.success(), said.concat())
}

fn open(address: &str, variables: &Variables) -> Store {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    Store::open_with(address, variables).unwrap()
}

/// Places of all artifacts that can be seen.
fn artifacts(store: &Store) -> Vec<String> {
    let objects = store.list("artifacts").unwrap();
    let manifests = objects
        .iter()
        .filter_map(|object| object.key.strip_suffix("/tributary.json"));
    manifests.map(str::to_owned).collect()
}

/// Every artifact read to its last byte; panics if one is not whole.
fn look(store: &Store) -> usize {
    let places = artifacts(store);
    for place in &places {
        let artifact = Artifact::open(&store.child(place).unwrap()).unwrap();
        let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
        assert!(report.is_whole(), "{place} seen in pieces: {report:?}");
    }
    places.len()
}

/// Every object of every artifact.
fn content(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let objects = store.list("artifacts").unwrap();
    let read = |key: String| (key.clone(), store.get(&key).unwrap().to_vec());
    objects.into_iter().map(|object| read(object.key)).collect()
}

/// Runs the pipeline until it is done, killed twice on the way; says in how many runs.
fn run_until_done(folder: &Path, address: &str, variables: &Variables, clear: &Store) -> u32 {
    // After the tokenizer and again after the base model: in the middle of a training.
    for artifacts_before in [2, 3] {
        let mut child = trib(folder, address, variables).spawn().unwrap();
        let began = Instant::now();
        while artifacts(clear).len() < artifacts_before && child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(120), "nothing is published");
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(200));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for run in 3..8 {
        let (done, said) = end(trib(folder, address, variables).spawn().unwrap());
        assert!(!said.contains(SECRET_KEY), "a secret was printed");
        if done {
            return run;
        }
        eprintln!("run {run} gave up:\n{said}");
    }
    panic!("never done");
}

#[test]
fn the_quickstart_on_a_failing_s3_server() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path().join("local");
    let local = local.to_str().unwrap();
    let (done, said) = end(trib(folder.path(), local, &Vec::new()).spawn().unwrap());
    assert!(done, "{said}");
    let expected = content(&open(local, &Vec::new()));

    let server = S3Server::start_faulty(FaultPlan::all(21, FAULTS));
    let address = format!("s3://{BUCKET}/quickstart");
    let clear = open(&address, &server.clear_environment());
    let over = AtomicBool::new(false);
    let (runs, looks) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::SeqCst) {
                looks += look(&clear);
                thread::sleep(Duration::from_millis(50));
            }
            looks
        });
        let runs = run_until_done(folder.path(), &address, &server.environment(), &clear);
        over.store(true, Ordering::SeqCst);
        (runs, reader.join().unwrap())
    });

    let found = content(&clear);
    let names = |objects: &BTreeMap<String, Vec<u8>>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{name} is not as on a disk");
    }
    assert!(looks > 20, "the reader hardly looked: {looks}");
    let counts = Fault::ALL.map(|fault| (fault, server.faults().count(fault)));
    eprintln!(
        "{} objects equal after {runs} runs, two of them killed; {looks} looks at whole artifacts; faults: {counts:?}",
        found.len()
    );
    for (fault, count) in counts {
        assert!(count > 3, "{fault:?} hardly happened");
    }

    let (done, said) = end(trib(folder.path(), &address, &server.clear_environment())
        .spawn()
        .unwrap());
    assert!(done && said.contains("nothing to do"), "{said}");
    assert!(
        content(&clear) == found,
        "a run with nothing to do changed artifacts"
    );
    assert_eq!(
        clear.list("checkpoints").unwrap(),
        Vec::new(),
        "checkpoints are left"
    );
}
