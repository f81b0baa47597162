//! Publications with a key while requests fail: writers that share the work end with one whole artifact and leave
//! nothing; a reader meanwhile sees nothing or all.

#![expect(clippy::unwrap_used)]

mod backends;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use backends::{Shared, clear_on_server, draft, faulty_server, on_server};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use tributary_store::{Artifact, Depth, Publication, Result, Store};
use tributary_testkit::faults::{Fault, FaultPlan};
use tributary_testkit::faulty::FaultyStore;

const KEY: &str = "00112233445566778899aabbccddeeff";
const SHARED: Shared = Shared {
    sizes: &[8_500_000, 0, 700, 5000, 60],
};

/// One of `writers` processes that make the artifact at `store`: does its part, waits for the others, commits.
fn take_part(store: &Store, writer: usize, writers: usize) -> Result<Artifact> {
    let publication = Publication::resume(store, KEY)?;
    let ours = |index: &usize| index % writers == writer;
    for index in (0..SHARED.sizes.len()).filter(ours) {
        if !publication.is_finished(&SHARED.path(index)) {
            SHARED.keep(&publication, index)?;
        }
    }
    publication.note(&format!("norms/{writer}"), vec![7; 1000])?;
    loop {
        if publication.finished()?.len() == SHARED.sizes.len() {
            break;
        }
        if let Some(artifact) = Artifact::try_open(store)? {
            return Ok(artifact);
        }
        thread::sleep(Duration::from_millis(1));
    }
    SHARED.put_small(&publication)?;
    publication.commit(draft())
}

/// `rounds` artifacts, each made by four writers through `faulty`; a writer that fails is started again.
fn shared_under_faults(faulty: &Store, clear: &Store, rounds: usize) -> u64 {
    let expected = SHARED.made_by_one(&clear.child("expected").unwrap());
    let again = AtomicU64::new(0);
    for round in 0..rounds {
        let place = format!("shared/{round}");
        let (faulty, clear) = (faulty.child(&place).unwrap(), clear.child(&place).unwrap());
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    if let Some(artifact) = Artifact::try_open(&clear).unwrap() {
                        let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
                        assert!(report.is_whole(), "seen in pieces: {report:?}");
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (faulty, expected, again) = (&faulty, &expected, &again);
                    scope.spawn(move || {
                        for attempt in 0.. {
                            match take_part(faulty, writer, 4) {
                                Ok(artifact) => {
                                    assert_eq!(artifact.manifest(), expected.manifest());
                                    return;
                                }
                                Err(error) => {
                                    assert!(attempt < 20 && !error.is_conflict(), "{error}");
                                    again.fetch_add(1, Ordering::SeqCst);
                                }
                            }
                        }
                    })
                })
                .collect();
            let ends: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
            over.store(true, Ordering::SeqCst);
            ends.into_iter().for_each(|end| end.unwrap());
        });
        let artifact = Artifact::open(&clear).unwrap();
        let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
        assert!(report.is_whole() && report.strays.is_empty(), "{report:?}");
        if !report.unfinished.is_empty() {
            // A removal that failed is not the artifact's failure; the next publication tidies up.
            drop(Publication::resume(&clear, KEY).unwrap());
        }
        assert!(clear.unfinished().unwrap().is_empty());
    }
    again.into_inner()
}

#[test]
fn writers_share_a_hundred_artifacts_under_faults() {
    let truth = Arc::new(InMemory::new());
    let faulty = Arc::new(FaultyStore::new(Arc::clone(&truth), FaultPlan::all(21, 100)));
    let store = Store::from_object_store(Arc::clone(&faulty), "memory://faulty");
    let clear = Store::from_object_store(Arc::clone(&truth), "memory://clear");
    let again = shared_under_faults(&store, &clear, 100);
    for fault in Fault::ALL {
        assert!(faulty.faults().count(fault) > 50, "{fault:?} hardly happened");
    }
    assert!(again < 100, "{again} of 400 writers had to be started again");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let hidden = ObjectPath::from("shared");
    let left = runtime.block_on(async {
        use futures::StreamExt;
        use object_store::ObjectStore;
        truth.list(Some(&hidden)).count().await
    });
    assert_eq!(left, 100 * (SHARED.sizes.len() + 3));
}

#[test]
fn and_each_single_kind_of_fault_is_survived_often() {
    for (seed, kind) in (31..).zip(Fault::ALL) {
        let truth = Arc::new(InMemory::new());
        let faulty = FaultyStore::new(Arc::clone(&truth), FaultPlan::only(kind, seed, 200));
        let store = Store::from_object_store(Arc::new(faulty), "memory://faulty");
        shared_under_faults(&store, &Store::from_object_store(truth, "memory://clear"), 10);
    }
}

/// A writer loses its store at request `after`; what comes next finds what it had kept and ends as if nothing had been.
/// Returns whether it had been through before.
fn cut_off(kind: Fault, after: u64) -> bool {
    let truth = Arc::new(InMemory::new());
    let faulty = FaultyStore::new(Arc::clone(&truth), FaultPlan::from_then_on(kind, after));
    let store = Store::from_object_store(Arc::new(faulty), "memory://faulty");
    let clear = Store::from_object_store(truth, "memory://clear");
    let store = store.child("place").unwrap();
    let place = clear.child("place").unwrap();
    let first = take_part(&store, 0, 1);
    let is_whole = |artifact: &Artifact| artifact.verify(Depth::Full, &|_| {}).unwrap().is_whole();
    let seen = Artifact::try_open(&place).unwrap();
    assert!(seen.as_ref().is_none_or(is_whole), "{kind:?} at {after}");
    assert!(first.is_err() || seen.is_some());
    let kept = Publication::resume(&place, KEY)
        .unwrap()
        .finished()
        .unwrap()
        .len();
    let artifact = take_part(&place, 0, 1).unwrap();
    let expected = SHARED.made_by_one(&clear.child("expected").unwrap());
    assert_eq!(
        artifact.manifest(),
        expected.manifest(),
        "{kind:?} at {after}, {kept} kept"
    );
    let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
    assert!(report.is_whole() && report.strays.is_empty() && report.unfinished.is_empty());
    first.is_ok()
}

#[test]
fn a_writer_may_be_cut_off_at_every_single_request() {
    for kind in [Fault::InternalError, Fault::ErrorAfter] {
        let (next, end) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    loop {
                        let after = next.fetch_add(1, Ordering::SeqCst);
                        if after > end.load(Ordering::SeqCst) {
                            return;
                        }
                        if cut_off(kind, after) {
                            end.fetch_min(after, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert!(end.into_inner() > 30, "there were hardly any requests");
    }
}

#[test]
fn so_they_do_over_http_and_leave_no_upload() {
    let server = faulty_server(FaultPlan::all(22, 60));
    let store = on_server(&server, "faulty");
    shared_under_faults(&store, &clear_on_server(&server, "faulty"), 15);
    for fault in Fault::ALL {
        assert!(server.faults().count(fault) > 5, "{fault:?} hardly happened");
    }
    // An upload whose beginning was answered and not heard is nobody's: it is empty, and a lifecycle rule's business.
    let names = fs::read_dir(server.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let parts: Vec<String> = names.filter(|name| name.starts_with(".upload_id-")).collect();
    assert!(parts.len() < 20, "{parts:?}");
}
