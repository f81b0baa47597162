//! Publications, creates and pointers while requests fail: nothing half-visible, nothing lost, one winner.

#![expect(clippy::unwrap_used)]

mod backends;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use backends::{clear_on_server, draft, faulty_server, on_server, pattern};
use object_store::memory::InMemory;
use tributary_store::{Artifact, Created, Depth, Publication, Store, Swap};
use tributary_testkit::faults::{Fault, FaultPlan};
use tributary_testkit::faulty::FaultyStore;

/// Publishes artifact `number` at `store`, every fiftieth with an object of several parts.
fn publish(store: &Store, number: u64) {
    let publication = Publication::begin(&store.child(&format!("artifacts/{number}")).unwrap());
    publication.put("config.json", pattern(100, number)).unwrap();
    let mut object = publication.writer("sub/weights").unwrap();
    object
        .write_all(&pattern(
            if number.is_multiple_of(50) {
                17_000_000
            } else {
                5000
            },
            number,
        ))
        .unwrap();
    object.finish().unwrap();
    publication.commit(draft()).unwrap();
    store
        .pointer("latest")
        .unwrap()
        .set(&format!("artifacts/{number}"))
        .unwrap();
}

/// Writers publish `count` artifacts through `faulty` while a reader looks, through `clear`, for anything invalid.
fn publications_under_faults(faulty: &Store, clear: &Store, count: u64) {
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let looks = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Ordering::SeqCst) {
                let before = next.load(Ordering::SeqCst);
                for number in before.saturating_sub(8)..before + 4 {
                    let place = clear.child(&format!("artifacts/{number}")).unwrap();
                    if let Some(artifact) = Artifact::try_open(&place).unwrap() {
                        let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
                        assert!(report.is_whole(), "{number} seen in pieces: {report:?}");
                    }
                    looks += 1;
                }
                if let Some(latest) = clear.pointer("latest").unwrap().read().unwrap() {
                    Artifact::open(&clear.child(&latest.target).unwrap()).unwrap();
                }
            }
            looks
        });
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= count {
                            return;
                        }
                        publish(faulty, number);
                    }
                })
            })
            .collect();
        let ends: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        ends.into_iter().for_each(|end| end.unwrap());
        reader.join().unwrap()
    });
    assert!(looks > 50, "the reader hardly looked: {looks}");
    for number in 0..count {
        let artifact = Artifact::open(&clear.child(&format!("artifacts/{number}")).unwrap()).unwrap();
        assert!(
            artifact.verify(Depth::Full, &|_| {}).unwrap().is_whole(),
            "{number} is lost"
        );
    }
    assert_eq!(
        clear
            .pointer("latest")
            .unwrap()
            .read()
            .unwrap()
            .unwrap()
            .generation,
        count
    );
}

#[test]
fn a_reader_never_sees_an_invalid_artifact_in_a_thousand_publications() {
    let truth = Arc::new(InMemory::new());
    let faulty = Arc::new(FaultyStore::new(Arc::clone(&truth), FaultPlan::all(11, 100)));
    let store = Store::from_object_store(Arc::clone(&faulty), "memory://faulty");
    publications_under_faults(&store, &Store::from_object_store(truth, "memory://clear"), 1000);
    for fault in Fault::ALL {
        assert!(faulty.faults().count(fault) > 50, "{fault:?} hardly happened");
    }
}

#[test]
fn nor_over_http_with_resets_and_lost_answers() {
    let server = faulty_server(FaultPlan::all(12, 60));
    let store = on_server(&server, "faulty");
    publications_under_faults(&store, &clear_on_server(&server, "faulty"), 200);
    for fault in Fault::ALL {
        assert!(server.faults().count(fault) > 5, "{fault:?} hardly happened");
    }
}

#[test]
fn a_thousand_lost_answers_are_resolved() {
    for kind in [Fault::LostAnswer, Fault::ErrorAfter] {
        let truth = Arc::new(InMemory::new());
        let faulty = Arc::new(FaultyStore::new(
            Arc::clone(&truth),
            FaultPlan::only(kind, 13, 200),
        ));
        let store = Store::from_object_store(Arc::clone(&faulty), "memory://faulty");
        let clear = Store::from_object_store(truth, "memory://clear");
        let mut number = 0;
        while faulty.faults().count(kind) < 1000 {
            let key = format!("k/{number}");
            let bytes = pattern(64, number);
            let created = store.create(&key, bytes.clone()).unwrap();
            assert!(matches!(created, Created::New | Created::AlreadyThere));
            assert_eq!(clear.get(&key).unwrap(), bytes);
            assert!(
                store
                    .create(&key, pattern(64, number + 1_000_000))
                    .unwrap_err()
                    .is_conflict()
            );
            assert_eq!(clear.get(&key).unwrap(), bytes, "the loser replaced the winner");
            number += 1;
        }
    }
}

#[test]
fn a_lost_answer_to_the_last_request_of_an_upload_is_resolved() {
    let server = faulty_server(FaultPlan::only(Fault::LostAnswer, 14, 150));
    let store = on_server(&server, "lost");
    for number in 0..20 {
        let bytes = pattern(17_000_000, number);
        let mut writer = store.writer("x").unwrap();
        writer.write_all(&bytes).unwrap();
        writer.finish().unwrap();
        assert!(clear_on_server(&server, "lost").get("x").unwrap()[..] == bytes[..]);
    }
    assert!(server.faults().count(Fault::LostAnswer) > 10);
}

/// 64 writers, each `rounds` moves: every generation has one winner and none is missing.
fn one_winner_each(store: &Store, rounds: usize) {
    let winners = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for writer in 0..64 {
            let (store, winners) = (&store, &winners);
            scope.spawn(move || {
                let pointer = store.pointer("latest").unwrap();
                let mut current = pointer.read().unwrap();
                let mut won = 0;
                while won < rounds {
                    match pointer
                        .swap(current.as_ref(), &format!("writer-{writer}"))
                        .unwrap()
                    {
                        Swap::Done(value) => {
                            winners.lock().unwrap().push(value.generation);
                            won += 1;
                            // Ours may have been moved on already: ask.
                            current = pointer.read().unwrap();
                        }
                        Swap::Lost(now) => current = now,
                    }
                }
            });
        }
    });
    let mut winners = winners.into_inner().unwrap();
    winners.sort_unstable();
    let expected: Vec<u64> = (1..=64 * rounds as u64).collect();
    assert_eq!(winners, expected);
    assert_eq!(
        store
            .pointer("latest")
            .unwrap()
            .read()
            .unwrap()
            .unwrap()
            .generation,
        64 * rounds as u64
    );
}

#[test]
fn sixty_four_writers_move_a_pointer_under_faults_with_one_winner_each_time() {
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), FaultPlan::all(15, 100));
    one_winner_each(&Store::from_object_store(Arc::new(faulty), "memory://faulty"), 20);
}

#[test]
fn sixty_four_writers_move_a_pointer_over_http() {
    let server = faulty_server(FaultPlan::only(Fault::LostAnswer, 16, 20));
    one_winner_each(&on_server(&server, "race"), 2);
}

#[test]
fn sixty_four_writers_move_a_pointer_on_local_files() {
    let folder = tempfile::tempdir().unwrap();
    one_winner_each(&backends::local(folder.path()), 20);
}

#[test]
fn what_retrying_cannot_help_is_not_retried() {
    let server = faulty_server(FaultPlan::all(0, 0));
    let mut environment = server.environment();
    environment[2].1 = "a-wrong-secret".to_owned();
    let environment = environment
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let store = Store::open_with("s3://bucket/x", environment).unwrap();
    let start = std::time::Instant::now();
    let error = store.get("y").unwrap_err();
    assert!(
        matches!(error, tributary_store::StoreError::Denied { .. }),
        "{error}"
    );
    assert!(start.elapsed().as_secs() < 5, "it was retried");
    assert!(on_server(&server, "x").get("y").unwrap_err().is_not_found());
}
