//! One suite over every backend: memory, local files, and S3 over HTTP.

#![expect(clippy::unwrap_used)]

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tributary_store::{
    Artifact, CHUNK_BYTES, Created, Depth, MANIFEST, ManifestDraft, PositionedWriter, ProblemKind,
    Publication, Store, StoreError, Swap,
};
use tributary_testkit::s3::{BUCKET, S3Server};

/// Runs `check` over a fresh root of every backend.
fn over_every_backend(check: impl Fn(&Store)) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("case-{}", COUNT.fetch_add(1, Ordering::SeqCst));
    let folder = tempfile::tempdir().unwrap();
    check(&Store::open(folder.path().join("root").to_str().unwrap()).unwrap());
    check(&Store::open(&format!("memory://conformance/{name}")).unwrap());
    check(&Store::open(&format!("s3://{}/{name}", server())).unwrap());
}

/// Name of the bucket of the one server of this process.
fn server() -> &'static str {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = S3Server::start();
        for (name, value) in server.environment() {
            #[expect(unsafe_code)]
            // SAFETY: nextest gives each test a process of its own, and no other thread has started yet.
            unsafe {
                std::env::set_var(name, value);
            }
        }
        server
    });
    BUCKET
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect()
}

#[test]
fn objects_come_and_go() {
    over_every_backend(|store| {
        assert!(store.head("a/b").unwrap().is_none());
        assert!(store.get("a/b").unwrap_err().is_not_found());
        store.put("a/b", &b"one"[..]).unwrap();
        store.put("a/c", &b"three"[..]).unwrap();
        store.put("a/b", &b"two!"[..]).unwrap();
        assert_eq!(&store.get("a/b").unwrap()[..], b"two!");
        assert_eq!(&store.get_range("a/c", 1, 3).unwrap()[..], b"hre");
        assert_eq!(store.head("a/b").unwrap().unwrap().size, 4);
        let keys = |store: &Store, path: &str| {
            store
                .list(path)
                .unwrap()
                .into_iter()
                .map(|meta| meta.key)
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(store, ""), ["a/b", "a/c"]);
        assert_eq!(keys(&store.child("a").unwrap(), ""), ["b", "c"]);
        assert_eq!(store.children("").unwrap(), ["a/"]);
        assert_eq!(store.children("a").unwrap(), ["b", "c"]);
        assert!(store.delete("a/b").unwrap());
        assert!(!store.delete("a/b").unwrap());
        assert_eq!(keys(store, "a"), ["a/c"]);
        assert!(matches!(
            store.put("../x", &b""[..]),
            Err(StoreError::UnsafePath { .. })
        ));
    });
}

#[test]
fn a_conditional_create_has_one_winner() {
    over_every_backend(|store| {
        assert_eq!(store.create("k", &b"x"[..]).unwrap(), Created::New);
        assert_eq!(store.create("k", &b"x"[..]).unwrap(), Created::AlreadyThere);
        assert!(store.create("k", &b"y"[..]).unwrap_err().is_conflict());
        let wins = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for writer in 0..16 {
                let wins = &wins;
                scope.spawn(move || match store.create("race", vec![writer as u8]) {
                    Ok(Created::New) => {
                        wins.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) if error.is_conflict() => {}
                    other => panic!("{other:?}"),
                });
            }
        });
        assert_eq!(wins.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn large_objects_are_written_and_read_in_parts() {
    let bytes = pattern(37_000_003);
    over_every_backend(|store| {
        let mut writer = store.writer("big").unwrap();
        for piece in bytes.chunks(1_000_000) {
            writer.write_all(piece).unwrap();
        }
        assert!(
            store.head("big").unwrap().is_none(),
            "visible before it was finished"
        );
        let written = writer.finish().unwrap();
        assert_eq!((written.size, written.chunks.len()), (37_000_003, 3));
        assert_eq!(written.blake3.0, *blake3::hash(&bytes).as_bytes());
        let reader = store.reader("big").unwrap();
        assert_eq!(reader.len(), 37_000_003);
        let mut back = vec![0; 30_000_000];
        reader.read_at(5_000_000, &mut back).unwrap();
        assert!(back == bytes[5_000_000..35_000_000]);
        assert!(reader.read_at(37_000_000, &mut [0; 4]).is_err());

        let region = store.region_writer("region", bytes.len() as u64).unwrap();
        std::thread::scope(|scope| {
            for (at, piece) in bytes.chunks(3_333_333).enumerate().rev() {
                let region = &region;
                scope.spawn(move || region.write_at(at as u64 * 3_333_333, piece).unwrap());
            }
        });
        let again = Box::new(region).finish().unwrap();
        assert_eq!((again.blake3, again.chunks), (written.blake3, written.chunks));
        assert!(store.get("region").unwrap()[..] == bytes[..]);
        drop(store.writer("abandoned").unwrap());
        assert!(store.head("abandoned").unwrap().is_none());
    });
}

fn publish(store: &Store, salt: u8) -> Artifact {
    let publication = Publication::begin(store);
    publication.put("config.json", vec![salt; 10]).unwrap();
    let mut object = publication.writer("sub/data.bin").unwrap();
    object.write_all(&pattern(20_000_000)).unwrap();
    object.finish().unwrap();
    publication
        .commit(ManifestDraft {
            kind: "model".into(),
            ..ManifestDraft::default()
        })
        .unwrap()
}

#[test]
fn an_artifact_is_seen_whole_or_not_at_all() {
    over_every_backend(|store| {
        assert!(Artifact::try_open(store).unwrap().is_none());
        let publication = Publication::begin(store);
        publication.put("config.json", &b"half"[..]).unwrap();
        drop(publication);
        assert!(Artifact::try_open(store).unwrap().is_none());
        let artifact = publish(store, 1);
        let opened = Artifact::open(store).unwrap();
        assert_eq!(opened.manifest(), artifact.manifest());
        assert_eq!(
            publish(store, 1).manifest().digest(),
            artifact.manifest().digest()
        );
        assert!(opened.verify(Depth::Full, &|_| {}).unwrap().is_whole());
        opened.remove().unwrap();
        assert!(Artifact::try_open(store).unwrap().is_none());
        assert!(store.list("").unwrap().is_empty());
    });
}

#[test]
fn every_kind_of_damage_is_named() {
    over_every_backend(|store| {
        let artifact = publish(store, 1);
        let whole = store.get("sub/data.bin").unwrap();
        for at in [0usize, 1, 16_777_215, 16_777_216, 19_999_999] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x10;
            store.put("sub/data.bin", bytes).unwrap();
            let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
            let [problem] = &report.problems[..] else {
                panic!("{report:?}")
            };
            assert_eq!(problem.path, "sub/data.bin");
            let ProblemKind::Bytes { start, end, .. } = problem.kind else {
                panic!("{problem:?}")
            };
            assert!(start <= at as u64 && (at as u64) < end && end - start <= CHUNK_BYTES);
        }
        store.put("sub/data.bin", whole.slice(..100)).unwrap();
        store.delete("config.json").unwrap();
        let report = artifact.verify(Depth::Sizes, &|_| {}).unwrap();
        let kinds: Vec<_> = report
            .problems
            .iter()
            .map(|problem| (&problem.path[..], &problem.kind))
            .collect();
        let size = ProblemKind::Size {
            expected: 20_000_000,
            found: 100,
        };
        assert_eq!(
            kinds,
            [("config.json", &ProblemKind::Missing), ("sub/data.bin", &size)]
        );
    });
}

#[test]
fn a_pointer_moves_by_compare_and_swap() {
    over_every_backend(|store| {
        let pointer = store.pointer("latest").unwrap();
        assert!(pointer.read().unwrap().is_none());
        let Swap::Done(first) = pointer.swap(None, "step-1").unwrap() else {
            panic!("lost against nobody")
        };
        assert!(matches!(pointer.swap(None, "step-2").unwrap(), Swap::Lost(Some(now)) if now == first));
        let Swap::Done(second) = pointer.swap(Some(&first), "step-2").unwrap() else {
            panic!("lost")
        };
        assert_eq!(
            (
                second.generation,
                pointer.read().unwrap().unwrap().target.as_str()
            ),
            (2, "step-2")
        );
        let wins = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for writer in 0..64 {
                let (pointer, wins, second) = (&pointer, &wins, &second);
                scope.spawn(
                    move || match pointer.swap(Some(second), &format!("writer-{writer}")).unwrap() {
                        Swap::Done(_) => {
                            wins.fetch_add(1, Ordering::SeqCst);
                        }
                        Swap::Lost(_) => {}
                    },
                );
            }
        });
        assert_eq!(wins.load(Ordering::SeqCst), 1);
        assert_eq!(pointer.read().unwrap().unwrap().generation, 3);
        assert_eq!(pointer.set("end").unwrap().generation, 4);
    });
}

#[test]
fn a_hostile_manifest_is_refused() {
    over_every_backend(|store| {
        publish(store, 1);
        let good = String::from_utf8(store.get(MANIFEST).unwrap().to_vec()).unwrap();
        let bad = [
            good.replace("config.json", "../config.json"),
            good.replace("config.json", "sub/data.bin"),
            good.replace("config.json", "tributary.json"),
            good.replace("\"format\": 1", "\"format\": 2"),
            good.replace("\"size\": 20000000", "\"size\": 40000000"),
            good.replace("\"kind\"", "\"kinds\""),
            good[..good.len() / 2].to_owned(),
        ];
        for text in bad {
            assert_ne!(text, good);
            store.put(MANIFEST, text.clone()).unwrap();
            assert!(
                matches!(Artifact::open(store), Err(StoreError::Manifest { .. })),
                "{text}"
            );
        }
    });
}

#[test]
fn credentials_are_never_shown() {
    server();
    let store = Store::open(&format!("s3://{BUCKET}/x")).unwrap();
    let canary = tributary_testkit::s3::SECRET_KEY;
    assert!(!format!("{store:?}{}", store.url()).contains(canary));
    #[expect(unsafe_code)]
    // SAFETY: this test has a process of its own (nextest).
    unsafe {
        std::env::set_var("AWS_ACCESS_KEY_ID", "wrong");
    }
    let error = Store::open(&format!("s3://{BUCKET}/x"))
        .unwrap()
        .get("y")
        .unwrap_err();
    assert!(!format!("{error} {error:?}").contains(canary), "{error}");
    let error = Store::open("s3://user:hunter2secret@bucket/../x").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2secret"), "{error}");
}
