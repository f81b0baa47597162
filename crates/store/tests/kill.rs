//! `kill -9` at random moments of publishing to local files: whole or absent afterwards, and nothing is stuck.

#![expect(clippy::unwrap_used, clippy::print_stdout)]

mod backends;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use backends::{Random, draft, local, pattern};
use tributary_store::{Artifact, Depth, Publication, Store, Swap};

const ROLE: &str = "TRIBUTARY_TEST_ROLE";
const PLACE: &str = "TRIBUTARY_TEST_PLACE";

/// Not a test: what the processes do that the tests below start and kill.
#[test]
#[ignore = "the child process of the other tests"]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let store = local(Path::new(&std::env::var(PLACE).unwrap()));
    match role.as_str() {
        "publish" => publish_for_ever(&store),
        "race" => race(&store),
        other => panic!("{other}"),
    }
}

fn start(role: &str, place: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn publish_for_ever(store: &Store) {
    println!("ready");
    let first = store.children("artifacts").unwrap().len() as u64;
    for number in first.. {
        let place = store.child(&format!("artifacts/{number:06}")).unwrap();
        let publication = Publication::begin(&place);
        publication.put("config.json", pattern(500, number)).unwrap();
        publication
            .put("sub/tokenizer.json", pattern(30_000, number))
            .unwrap();
        let mut object = publication.writer("model.safetensors").unwrap();
        object.write_all(&pattern(300_000, number)).unwrap();
        object.finish().unwrap();
        publication.commit(draft()).unwrap();
        store
            .pointer("latest")
            .unwrap()
            .set(&format!("artifacts/{number:06}"))
            .unwrap();
    }
}

fn race(store: &Store) {
    let pointer = store.pointer("latest").unwrap();
    let mut won = 0;
    while won < 10 {
        let current = pointer.read().unwrap();
        if let Swap::Done(value) = pointer
            .swap(current.as_ref(), &format!("process-{}", std::process::id()))
            .unwrap()
        {
            won += 1;
            println!("won {}", value.generation);
        }
    }
}

fn temporary_files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let count = |entry: std::fs::DirEntry| {
        if entry.path().is_dir() {
            temporary_files(&entry.path())
        } else {
            usize::from(entry.file_name().to_str().unwrap().starts_with(".tributary-tmp-"))
        }
    };
    entries.map(|entry| count(entry.unwrap())).sum()
}

#[test]
fn a_killed_publisher_leaves_whole_artifacts_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path());
    let mut random = Random(1);
    let (mut leftovers, mut unfinished) = (0, 0);
    for _ in 0..60 {
        let mut child = start("publish", folder.path());
        // However slow the machine, the process is killed in the middle of its work.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.map_while(Result::ok).any(|line| line.ends_with("ready")),
            "it did not begin"
        );
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        child.kill().unwrap();
        child.wait().unwrap();

        let found = temporary_files(folder.path());
        leftovers += found;
        for name in store.children("artifacts").unwrap() {
            let place = store
                .child(&format!("artifacts/{}", name.trim_end_matches('/')))
                .unwrap();
            match Artifact::try_open(&place).unwrap() {
                Some(artifact) => assert!(
                    artifact.verify(Depth::Full, &|_| {}).unwrap().is_whole(),
                    "{name}"
                ),
                None => unfinished += 1,
            }
        }
        let start = Instant::now();
        if let Some(latest) = store.pointer("latest").unwrap().read().unwrap() {
            Artifact::open(&store.child(&latest.target).unwrap()).unwrap();
            store.pointer("latest").unwrap().set(&latest.target).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(2), "the pointer is stuck");
        assert!(
            store
                .list("")
                .unwrap()
                .iter()
                .all(|meta| !meta.key.contains(".tributary-")),
            "leftovers are visible"
        );
        drop(Publication::begin(&store));
        assert_eq!(temporary_files(folder.path()), 0, "leftovers stay for ever");
    }
    assert!(
        leftovers > 5,
        "no process was killed in the middle of its work: {leftovers}"
    );
    assert!(unfinished > 0);
    assert!(
        store.children("artifacts").unwrap().len() > 60,
        "hardly anything was published"
    );
}

#[test]
fn the_files_of_a_living_writer_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path());
    let publication = Publication::begin(&store);
    publication.put("a", pattern(1000, 1)).unwrap();
    let mut object = publication.writer("b").unwrap();
    object.write_all(&pattern(2_000_000, 1)).unwrap();
    let other = Publication::begin(&store);
    assert_eq!(temporary_files(folder.path()), 2);
    object.finish().unwrap();
    publication.commit(draft()).unwrap();
    drop(other);
    assert!(
        Artifact::open(&store)
            .unwrap()
            .verify(Depth::Full, &|_| {})
            .unwrap()
            .is_whole()
    );
    assert_eq!(temporary_files(folder.path()), 0);
}

#[test]
fn processes_move_a_pointer_with_one_winner_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let children: Vec<Child> = (0..16).map(|_| start("race", folder.path())).collect();
    let mut winners = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        winners.extend(
            text.lines()
                .filter_map(|line| line.split("won ").nth(1)?.parse::<u64>().ok()),
        );
    }
    winners.sort_unstable();
    assert_eq!(winners, (1..=160).collect::<Vec<u64>>());
}
