//! `kill -9` at random moments of writers with a key: what they had finished is not made again.

#![expect(clippy::unwrap_used, clippy::print_stdout)]

mod backends;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use backends::{Random, Shared, draft};
use tributary_store::{Artifact, Depth, PositionedWriter, Publication, Store};
use tributary_testkit::s3::{BUCKET, S3Server};

const ROLE: &str = "TRIBUTARY_TEST_ROLE";
const PLACE: &str = "TRIBUTARY_TEST_PLACE";
const KEY: &str = "00112233445566778899aabbccddeeff";
const SHARED: Shared = Shared {
    sizes: &[3_000_000, 9_000_000, 100_000, 4_000_000, 20_000, 1_000_000],
};

/// Not a test: what the processes do that the tests below start and kill.
#[test]
#[ignore = "the child process of the other tests"]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (writer, writers) = role.split_once('/').unwrap();
    let store = Store::open(&std::env::var(PLACE).unwrap()).unwrap();
    take_part(&store, writer.parse().unwrap(), writers.parse().unwrap());
    println!("\ncommitted");
}

/// Makes its part of the artifact, slowly, and commits when all is finished.
fn take_part(store: &Store, writer: usize, writers: usize) {
    let publication = Publication::resume(store, KEY).unwrap();
    println!("\nready");
    for index in (0..SHARED.sizes.len()).filter(|index| index % writers == writer) {
        if publication.is_finished(&SHARED.path(index)) {
            continue;
        }
        println!("\nmaking {index}");
        let bytes = SHARED.bytes(index);
        let region = publication
            .region_writer(&SHARED.path(index), bytes.len() as u64)
            .unwrap();
        let step = bytes.len().div_ceil(8);
        for (number, piece) in bytes.chunks(step).enumerate() {
            region.write_at((number * step) as u64, piece).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        publication.keep(region, SHARED.note(index)).unwrap();
        println!("\nkept {index}");
    }
    while publication.finished().unwrap().len() < SHARED.sizes.len() {
        if publication.is_committed().unwrap() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    SHARED.put_small(&publication).unwrap();
    publication.commit(draft()).unwrap();
}

/// A writer and what it says.
struct Writer {
    child: Child,
    lines: Receiver<String>,
}

impl Writer {
    fn start(url: &str, environment: &[(&'static str, String)], role: &str) -> Writer {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .envs(environment.iter().cloned())
            .env("TRIBUTARY_DURABILITY", "process")
            .env(ROLE, role)
            .env(PLACE, url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Writer { child, lines }
    }

    fn wait_for(&self, line: &str) {
        assert!(
            self.lines.iter().any(|said| said == line),
            "it never said {line:?}"
        );
    }

    /// Kills it, if it still lives; returns what else it said and whether it had ended well.
    fn kill(mut self) -> (Vec<String>, bool) {
        let _ = self.child.kill();
        let ended = self.child.wait().unwrap().success();
        (self.lines.iter().collect(), ended)
    }
}

fn finished(store: &Store) -> Vec<usize> {
    let publication = Publication::resume(store, KEY).unwrap();
    let is_finished = |index: &usize| publication.is_finished(&SHARED.path(*index));
    (0..SHARED.sizes.len()).filter(is_finished).collect()
}

/// One writer after the other is killed until one ends, several times over.
fn one_after_the_other(store: &Store, url: &str, environment: &[(&'static str, String)], seed: u64) {
    let mut random = Random(seed);
    let mut resumed = 0;
    let mut all_kills = 0;
    for round in 0..6 {
        let mut kills = 0;
        let place = store.child(&format!("round-{round}")).unwrap();
        loop {
            let before = finished(&place);
            let writer = Writer::start(&format!("{url}/round-{round}"), environment, "0/1");
            writer.wait_for("ready");
            // Longer from time to time, so that a slow machine gets on as well.
            thread::sleep(Duration::from_micros(random.below(80_000 + kills * 20_000)));
            let (said, ended) = writer.kill();
            for index in &before {
                assert!(
                    !said.contains(&format!("making {index}")),
                    "{index} was made again"
                );
            }
            resumed += before.len();
            match Artifact::try_open(&place).unwrap() {
                Some(artifact) => {
                    let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
                    assert!(report.is_whole() && report.strays.is_empty(), "{report:?}");
                    break;
                }
                None => assert!(!ended, "it ended and there is no artifact"),
            }
            kills += 1;
            let after = finished(&place);
            for index in 0..SHARED.sizes.len() {
                let is_kept = before.contains(&index) || said.contains(&format!("kept {index}"));
                assert!(!is_kept || after.contains(&index), "{index} was kept and is lost");
            }
            // Small files may be at their place if the commit was killed, objects of other names never.
            for meta in place.list("").unwrap() {
                let is_ours = meta.key.starts_with("sub/model-") || meta.key.ends_with(".md");
                assert!(is_ours || meta.key == "config.json", "{}", meta.key);
            }
        }
        drop(Publication::resume(&place, KEY).unwrap());
        assert!(place.unfinished().unwrap().is_empty());
        all_kills += kills;
    }
    assert!(
        all_kills > 3 && resumed > 3,
        "{all_kills} kills, {resumed} objects taken over"
    );
}

/// Several writers at once, some of which are killed and started again, end with one artifact.
fn all_at_once(store: &Store, url: &str, environment: &[(&'static str, String)], seed: u64) {
    let mut random = Random(seed);
    for round in 0..4 {
        let place = store.child(&format!("shared-{round}")).unwrap();
        let url = format!("{url}/shared-{round}");
        let start = |writer: usize| Writer::start(&url, environment, &format!("{writer}/4"));
        let mut writers: Vec<Writer> = (0..4).map(start).collect();
        for index in [0, 1] {
            writers[index].wait_for("ready");
            thread::sleep(Duration::from_micros(random.below(30_000)));
            std::mem::replace(&mut writers[index], start(index)).kill();
        }
        for mut writer in writers {
            writer.wait_for("committed");
            assert!(writer.child.wait().unwrap().success());
        }
        let artifact = Artifact::open(&place).unwrap();
        let expected = SHARED.made_by_one(&store.child("expected").unwrap());
        assert_eq!(artifact.manifest(), expected.manifest());
        let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
        assert!(report.is_whole() && report.strays.is_empty(), "{report:?}");
        assert!(report.unfinished.is_empty(), "{report:?}");
    }
}

#[test]
fn killed_writers_of_local_files_lose_the_file_they_are_at() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap();
    one_after_the_other(&backends::local(folder.path()), url, &[], 41);
}

#[test]
fn killed_writers_of_a_server_lose_the_file_they_are_at() {
    let server = S3Server::start();
    let store = backends::on_server(&server, "kill");
    one_after_the_other(&store, &format!("s3://{BUCKET}/kill"), &server.environment(), 42);
}

#[test]
fn four_processes_share_local_files() {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap();
    all_at_once(&backends::local(folder.path()), url, &[], 43);
}

#[test]
fn four_processes_share_a_server() {
    let server = S3Server::start();
    let store = backends::on_server(&server, "share");
    all_at_once(&store, &format!("s3://{BUCKET}/share"), &server.environment(), 44);
}
