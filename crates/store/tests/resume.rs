//! Publications with a key, over every backend: what one writer finished is there for the next and for all at once.

#![expect(clippy::unwrap_used)]

mod backends;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, SystemTime};

use backends::{Shared, draft, local, on_server, over_every_backend, publish};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use tributary_store::{Artifact, Depth, MANIFEST, PositionedWriter, Publication, Store, StoreError, Written};
use tributary_testkit::s3::{BUCKET, S3Server};

const KEY: &str = "00112233445566778899aabbccddeeff";
const OTHER: &str = "ffeeddccbbaa99887766554433221100";
const HIDDEN: &str = ".tributary-unfinished";

/// The artifact of these tests.
const SHARED: Shared = Shared {
    sizes: &[20_000_003, 0, 700, 9_000_000],
};

fn assert_settled(store: &Store, artifact: &Artifact) {
    assert_eq!(store.unfinished().unwrap(), Vec::<String>::new());
    let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
    assert!(
        report.is_whole() && report.strays.is_empty() && report.unfinished.is_empty(),
        "{report:?}"
    );
    if let Some(folder) = store.local_path() {
        assert_eq!(own_files(&folder), Vec::<String>::new());
    }
}

/// This crate's working files and directories below `folder`.
fn own_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(own_files(&path));
        }
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(".tributary-")
        {
            found.push(path.display().to_string());
        }
    }
    found
}

fn uploads(server: &S3Server) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(server.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".upload"))
        .collect()
}

#[test]
fn what_was_kept_is_there_for_the_next_writer() {
    over_every_backend(|store| {
        let expected = SHARED.made_by_one(&store.child("expected").unwrap());
        let store = &store.child("shared").unwrap();
        let publication = Publication::resume(store, KEY).unwrap();
        assert!(publication.finished().unwrap().is_empty());
        for index in [0, 1, 2] {
            SHARED.keep(&publication, index).unwrap();
        }
        publication
            .put("config.json", &b"dies with its writer"[..])
            .unwrap();
        let unfinished = publication
            .region_writer(&SHARED.path(3), SHARED.sizes[3])
            .unwrap();
        unfinished.write_at(0, &SHARED.bytes(3)[..8_500_000]).unwrap();
        assert!(store.list("").unwrap().is_empty());
        assert!(Artifact::try_open(store).unwrap().is_none());
        drop(unfinished);
        drop(publication);
        assert!(store.list("").unwrap().is_empty() && Artifact::try_open(store).unwrap().is_none());
        assert_eq!(store.unfinished().unwrap(), [KEY]);

        let publication = Publication::resume(store, KEY).unwrap();
        let finished = publication.finished().unwrap();
        assert_eq!(finished.len(), 3);
        for (index, object) in finished.iter().enumerate() {
            let bytes = SHARED.bytes(index);
            let Written {
                path,
                size,
                blake3,
                chunks,
            } = object.written.clone();
            assert_eq!((path, size), (SHARED.path(index), bytes.len() as u64));
            assert_eq!(blake3.0, *blake3::hash(&bytes).as_bytes());
            assert_eq!(chunks.len(), bytes.len().div_ceil(16 << 20));
            assert_eq!(object.note, SHARED.note(index));
            assert!(publication.is_finished(&object.written.path));
        }
        assert!(!publication.is_finished(&SHARED.path(3)) && !publication.is_finished("config.json"));
        assert!(!publication.is_committed().unwrap());
        SHARED.keep(&publication, 3).unwrap();
        SHARED.put_small(&publication).unwrap();
        let artifact = publication.commit(draft()).unwrap();
        assert_eq!(artifact.manifest(), expected.manifest());
        assert_settled(store, &artifact);
        artifact.remove().unwrap();
        assert!(store.list("").unwrap().is_empty() && store.unfinished().unwrap().is_empty());
    });
}

#[test]
fn several_writers_share_the_work_and_all_commit() {
    over_every_backend(|store| {
        let expected = SHARED.made_by_one(&store.child("expected").unwrap());
        for writers in [2, 4] {
            let store = &store.child(&format!("by-{writers}")).unwrap();
            let barrier = Barrier::new(writers);
            thread::scope(|scope| {
                for writer in 0..writers {
                    let (barrier, expected) = (&barrier, &expected);
                    scope.spawn(move || {
                        let publication = Publication::resume(store, KEY).unwrap();
                        for index in (0..SHARED.sizes.len()).filter(|index| index % writers == writer) {
                            SHARED.keep(&publication, index).unwrap();
                        }
                        while publication.finished().unwrap().len() < SHARED.sizes.len() {
                            assert!(Artifact::try_open(store).unwrap().is_none());
                            thread::sleep(Duration::from_millis(2));
                        }
                        SHARED.put_small(&publication).unwrap();
                        barrier.wait();
                        let artifact = publication.commit(draft()).unwrap();
                        assert_eq!(artifact.manifest(), expected.manifest());
                    });
                }
            });
            assert_settled(store, &Artifact::open(store).unwrap());
        }
    });
}

#[test]
fn all_may_make_everything() {
    over_every_backend(|store| {
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let publication = Publication::resume(store, KEY).unwrap();
                    barrier.wait();
                    for index in 0..SHARED.sizes.len() {
                        SHARED.keep(&publication, index).unwrap();
                        SHARED.keep(&publication, index).unwrap();
                    }
                    SHARED.put_small(&publication).unwrap();
                    publication.commit(draft()).unwrap();
                });
            }
        });
        assert_settled(store, &Artifact::open(store).unwrap());
    });
}

#[test]
fn a_writer_that_is_late_succeeds_and_leaves_nothing() {
    over_every_backend(|store| {
        let late = Publication::resume(store, KEY).unwrap();
        let later = Publication::resume(store, KEY).unwrap();
        let artifact = SHARED.made_by_one(store);
        assert!(late.is_committed().unwrap());
        SHARED.keep(&late, 0).unwrap();
        late.note("x", &b"x"[..]).unwrap();
        for index in 1..SHARED.sizes.len() {
            SHARED.keep(&late, index).unwrap();
        }
        assert!(later.finished().unwrap().is_empty());
        SHARED.put_small(&late).unwrap();
        assert_eq!(late.commit(draft()).unwrap().digest(), artifact.digest());
        drop(later);
        assert_settled(store, &artifact);
        let other = Publication::resume(store, OTHER).unwrap();
        SHARED.keep(&other, 0).unwrap();
        assert!(other.commit(draft()).unwrap_err().is_conflict());
        assert_settled(store, &artifact);
    });
}

#[test]
fn notes_are_shared_and_go_with_the_commit() {
    over_every_backend(|store| {
        let (one, two) = (
            Publication::resume(store, KEY).unwrap(),
            Publication::resume(store, KEY).unwrap(),
        );
        assert!(two.read_note("norms/1").unwrap().is_none());
        one.note("norms/1", &b"{}"[..]).unwrap();
        one.note("norms/1", &b"{}"[..]).unwrap();
        two.note("norms/2", vec![7; 1 << 20]).unwrap();
        assert_eq!(two.read_note("norms/1").unwrap().unwrap(), &b"{}"[..]);
        assert_eq!(one.read_note("norms/2").unwrap().unwrap().len(), 1 << 20);
        assert!(one.note("../x", &b""[..]).is_err());
        assert!(one.note("huge", vec![0; (16 << 20) + 1]).is_err());
        assert!(store.list("").unwrap().is_empty());
        drop(two);
        let artifact = one.commit(draft()).unwrap();
        assert_settled(store, &artifact);
        let again = Publication::resume(&store.child("other").unwrap(), KEY).unwrap();
        assert!(again.read_note("norms/1").unwrap().is_none(), "another place");
    });
}

#[test]
fn only_publications_with_a_key_keep_something() {
    over_every_backend(|store| {
        let publication = Publication::begin(store);
        assert!(matches!(
            SHARED.keep(&publication, 2),
            Err(StoreError::Misuse { .. })
        ));
        assert!(matches!(
            publication.note("x", &b""[..]),
            Err(StoreError::Misuse { .. })
        ));
        assert!(publication.finished().unwrap().is_empty() && !publication.is_finished("x"));
        for key in [
            "",
            "short",
            "../../../../../../etc",
            &KEY.to_uppercase(),
            &"a".repeat(129),
        ] {
            assert!(matches!(
                Publication::resume(store, key),
                Err(StoreError::Misuse { .. })
            ));
        }
        drop(publication);
        drop(Publication::resume(store, KEY).unwrap());
        assert!(store.unfinished().unwrap().is_empty(), "nothing was kept");
    });
}

#[test]
fn other_bytes_under_the_same_key_are_a_conflict() {
    over_every_backend(|store| {
        let publication = Publication::resume(store, KEY).unwrap();
        SHARED.keep(&publication, 2).unwrap();
        let other = Publication::resume(store, KEY).unwrap();
        let writer = other.region_writer(&SHARED.path(2), 700).unwrap();
        writer.write_at(0, &[1; 700]).unwrap();
        assert!(other.keep(writer, &b""[..]).unwrap_err().is_conflict());
        drop(publication);
        let artifact = other.commit(draft()).unwrap();
        assert_eq!(artifact.read(&SHARED.path(2)).unwrap(), SHARED.bytes(2));
        assert_settled(store, &artifact);
    });
}

#[test]
fn of_two_writers_of_one_object_the_first_and_its_note_stand() {
    over_every_backend(|store| {
        let first = Publication::resume(store, KEY).unwrap();
        SHARED.keep(&first, 0).unwrap();
        let second = Publication::resume(store, KEY).unwrap();
        let writer = second.region_writer(&SHARED.path(0), SHARED.sizes[0]).unwrap();
        writer.write_at(0, &SHARED.bytes(0)).unwrap();
        second.keep(writer, &b"another note"[..]).unwrap();
        for publication in [&first, &second] {
            let finished = publication.finished().unwrap();
            assert_eq!((finished.len(), &finished[0].note[..]), (1, &SHARED.note(0)[..]));
        }
        drop(first);
        assert_settled(store, &second.commit(draft()).unwrap());
    });
}

#[test]
fn what_is_added_here_stands_before_what_is_kept_and_objects_are_kept_in_order_too() {
    over_every_backend(|store| {
        let publication = Publication::resume(store, KEY).unwrap();
        SHARED.keep(&publication, 2).unwrap();
        publication.put(&SHARED.path(2), &b"mine"[..]).unwrap();
        let mut object = publication.writer("in/order").unwrap();
        std::io::Write::write_all(&mut object, &SHARED.bytes(0)).unwrap();
        object.keep(&b"note"[..]).unwrap();
        assert!(publication.is_finished("in/order"));
        let artifact = publication.commit(draft()).unwrap();
        assert_eq!(artifact.read(&SHARED.path(2)).unwrap(), b"mine");
        assert!(artifact.read("in/order").unwrap() == SHARED.bytes(0));
        assert_settled(store, &artifact);
    });
}

/// Copies the artifact of `from` to `to` as a commit would leave it that was killed after the manifest.
fn copy(from: &Artifact, to: &Store) {
    for object in &from.manifest().objects {
        to.put(&object.path, from.read(&object.path).unwrap()).unwrap();
    }
    to.put(MANIFEST, from.manifest().to_bytes()).unwrap();
}

#[test]
fn a_commit_killed_after_the_manifest_is_tidied_up_by_the_next() {
    over_every_backend(|store| {
        let whole = SHARED.made_by_one(&store.child("expected").unwrap());
        for way in ["begin", "resume", "other", "commit", "remove", "delete"] {
            let store = &store.child(way).unwrap();
            let publication = Publication::resume(store, KEY).unwrap();
            SHARED.keep(&publication, 0).unwrap();
            drop(publication);
            copy(&whole, store);
            let artifact = Artifact::open(store).unwrap();
            let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
            assert!(report.is_whole() && report.strays.is_empty());
            assert_eq!(report.unfinished, [KEY]);
            match way {
                "begin" if store.local_path().is_some() => drop(Publication::begin(store)),
                "resume" => drop(Publication::resume(store, KEY).unwrap()),
                "other" => drop(Publication::resume(store, OTHER).unwrap()),
                "remove" => artifact.clone().remove().unwrap(),
                "delete" => store.delete_all().unwrap(),
                _ => drop(SHARED.made_by_one(store)),
            }
            assert!(store.unfinished().unwrap().is_empty(), "{way}");
            if Artifact::try_open(store).unwrap().is_some() {
                assert_settled(store, &artifact);
            }
        }
    });
}

#[test]
fn everything_at_and_below_a_place_is_deleted() {
    let server = S3Server::start();
    let folder = tempfile::tempdir().unwrap();
    for store in [local(folder.path()), on_server(&server, "all")] {
        for below in ["a", "a/b", "c"] {
            let publication = Publication::resume(&store.child(below).unwrap(), KEY).unwrap();
            SHARED.keep(&publication, 0).unwrap();
            publication.note("x/y", &b"x"[..]).unwrap();
        }
        store.child("a").unwrap().delete_all().unwrap();
        for (below, left) in [("a", 0), ("a/b", 0), ("c", 1)] {
            assert_eq!(store.child(below).unwrap().unfinished().unwrap().len(), left);
        }
        store.delete_all().unwrap();
        assert!(store.child("c").unwrap().unfinished().unwrap().is_empty());
    }
    assert!(uploads(&server).is_empty());
    assert!(own_files(folder.path()).is_empty());
}

#[test]
fn files_of_other_keys_go_when_their_writer_is_dead() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(&folder.path().join("place"));
    let living = Publication::resume(&store, KEY).unwrap();
    SHARED.keep(&living, 0).unwrap();
    let other = Publication::resume(&store, OTHER).unwrap();
    SHARED.keep(&other, 2).unwrap();
    assert_eq!(store.unfinished().unwrap(), [KEY, OTHER]);
    drop(living);
    let again = Publication::resume(&store, OTHER).unwrap();
    assert_eq!(store.unfinished().unwrap(), [OTHER]);
    assert!(again.is_finished(&SHARED.path(2)));
    let artifact = other.commit(draft()).unwrap();
    drop(again);
    assert_settled(&store, &artifact);
}

#[test]
fn uploads_of_other_keys_go_when_they_are_old_or_something_is_committed() {
    let server = S3Server::start();
    let store = on_server(&server, "place");
    let (fresh, old) = (KEY, "0".repeat(32));
    for key in [fresh, &old] {
        SHARED
            .keep(&Publication::resume(&store, key).unwrap(), 0)
            .unwrap();
    }
    let state = server.folder().join(BUCKET).join("place").join(HIDDEN).join(&old);
    let hours = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3600);
    age(&state, hours(5));
    drop(Publication::resume(&store, OTHER).unwrap());
    assert_eq!(store.unfinished().unwrap(), [old.as_str(), fresh]);
    age(&state, hours(7));
    let publication = Publication::resume(&store, OTHER).unwrap();
    assert_eq!(store.unfinished().unwrap(), [fresh]);
    assert_eq!(uploads(&server).len(), 1 + 3, "one upload of three parts");
    SHARED.keep(&publication, 2).unwrap();
    let artifact = publication.commit(draft()).unwrap();
    assert_settled(&store, &artifact);
    assert!(uploads(&server).is_empty());
}

fn age(folder: &Path, time: SystemTime) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path, time);
        } else {
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
    }
}

/// Commits with lost objects, sees them named, makes them again and commits.
fn lost_objects_are_named_and_made_again(store: &Store, publication: Publication, lost: &[usize]) {
    SHARED.put_small(&publication).unwrap();
    let Err(StoreError::Lost { objects, .. }) = publication.commit(draft()) else {
        unreachable!("nothing is missing")
    };
    let paths: Vec<String> = lost.iter().map(|index| SHARED.path(*index)).collect();
    assert_eq!(objects, paths);
    assert!(Artifact::try_open(store).unwrap().is_none());
    let publication = Publication::resume(store, KEY).unwrap();
    for index in 0..SHARED.sizes.len() {
        assert_eq!(
            publication.is_finished(&SHARED.path(index)),
            !lost.contains(&index)
        );
    }
    for index in lost {
        SHARED.keep(&publication, *index).unwrap();
    }
    SHARED.put_small(&publication).unwrap();
    let artifact = publication.commit(draft()).unwrap();
    assert_settled(store, &artifact);
}

#[test]
fn uploads_that_a_server_has_dropped_are_made_again() {
    let server = S3Server::start();
    let store = on_server(&server, "lost");
    let publication = Publication::resume(&store, KEY).unwrap();
    for index in [0, 3] {
        SHARED.keep(&publication, index).unwrap();
    }
    for file in uploads(&server) {
        fs::remove_file(file).unwrap();
    }
    for index in [1, 2] {
        SHARED.keep(&publication, index).unwrap();
    }
    lost_objects_are_named_and_made_again(&store, publication, &[0, 3]);
    assert!(uploads(&server).is_empty());
}

#[test]
fn files_that_are_gone_or_cut_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path());
    let publication = Publication::resume(&store, KEY).unwrap();
    for index in 0..SHARED.sizes.len() {
        SHARED.keep(&publication, index).unwrap();
    }
    let data = folder.path().join(HIDDEN).join(KEY).join("data");
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        match path.metadata().unwrap().len() {
            700 => fs::remove_file(path).unwrap(),
            9_000_000 => fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(8_999_999)
                .unwrap(),
            _ => {}
        }
    }
    // It has seen them and asks again at the commit.
    let seen = publication.clone();
    drop(publication);
    assert!(seen.is_finished(&SHARED.path(2)));
    lost_objects_are_named_and_made_again(&store, seen, &[2, 3]);
}

#[test]
fn a_commit_killed_between_two_objects_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path());
    let publication = Publication::resume(&store, KEY).unwrap();
    for index in 0..SHARED.sizes.len() {
        SHARED.keep(&publication, index).unwrap();
    }
    let data = folder.path().join(HIDDEN).join(KEY).join("data");
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.metadata().unwrap().len() == SHARED.sizes[0] {
            fs::create_dir_all(folder.path().join("sub")).unwrap();
            fs::rename(path, folder.path().join(SHARED.path(0))).unwrap();
        }
    }
    drop(publication);
    let publication = Publication::resume(&store, KEY).unwrap();
    assert_eq!(publication.finished().unwrap().len(), SHARED.sizes.len());
    SHARED.put_small(&publication).unwrap();
    assert_settled(&store, &publication.commit(draft()).unwrap());
}

#[test]
fn so_is_one_on_a_server() {
    let memory = Arc::new(InMemory::new());
    let store = Store::from_object_store(Arc::clone(&memory), "memory://raw");
    let publication = Publication::resume(&store, KEY).unwrap();
    for index in 0..SHARED.sizes.len() {
        SHARED.keep(&publication, index).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let records: Vec<ObjectPath> = runtime.block_on(async {
        let prefix = ObjectPath::from(format!("{HIDDEN}/{KEY}/records"));
        let listed: Vec<_> = futures::StreamExt::collect(memory.list(Some(&prefix))).await;
        listed.into_iter().map(|meta| meta.unwrap().location).collect()
    });
    assert_eq!(records.len(), SHARED.sizes.len());
    for record in records {
        runtime.block_on(async {
            let bytes: Bytes = memory.get(&record).await.unwrap().bytes().await.unwrap();
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
            let head: serde_json::Value = serde_json::from_slice(line).unwrap();
            let path = ObjectPath::from(head["object"]["path"].as_str().unwrap());
            if head["object"]["size"] == SHARED.sizes[0] {
                let id = head["upload"]["id"].as_str().unwrap().to_owned();
                let part = PartId {
                    content_id: String::new(),
                };
                memory.complete_multipart(&path, &id, vec![part]).await.unwrap();
            }
        });
    }
    SHARED.put_small(&publication).unwrap();
    assert_settled(&store, &publication.commit(draft()).unwrap());
    let left: Vec<_> = runtime.block_on(futures::StreamExt::collect(memory.list(None)));
    assert_eq!(left.len(), SHARED.sizes.len() + 3, "{left:?}");
}

#[test]
fn nothing_of_all_that_disturbs_an_ordinary_publication() {
    over_every_backend(|store| {
        SHARED.keep(&Publication::resume(store, KEY).unwrap(), 0).unwrap();
        let artifact = publish(store, &[("config.json", vec![1])]).unwrap();
        assert_settled(store, &artifact);
    });
}
