//! One suite over every backend: memory, local files, and S3 over HTTP.

#![expect(clippy::unwrap_used)]

mod backends;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use backends::{counted, counting_server, draft, over_every_backend, pattern, publish, server};
use tributary_store::{
    Artifact, CHUNK_BYTES, Created, Depth, MANIFEST, OutputEntry, PositionedWriter, ProblemKind, Publication,
    Store, StoreError, Swap,
};
use tributary_tensorfile::Directory;
use tributary_testkit::s3::BUCKET;

fn keys(store: &Store, path: &str) -> Vec<String> {
    store
        .list(path)
        .unwrap()
        .into_iter()
        .map(|meta| meta.key)
        .collect()
}

#[test]
fn objects_come_and_go() {
    over_every_backend(|store| {
        assert!(store.head("a/b").unwrap().is_none());
        assert!(store.get("a/b").unwrap_err().is_not_found());
        assert!(matches!(store.reader("a/b"), Err(error) if error.is_not_found()));
        assert!(keys(store, "").is_empty() && store.children("a").unwrap().is_empty());
        store.put("a/b", &b"one"[..]).unwrap();
        store.put("a/c", &b"three"[..]).unwrap();
        store.put("a/b", &b"two!"[..]).unwrap();
        store.put("ab", &b""[..]).unwrap();
        assert_eq!(&store.get("a/b").unwrap()[..], b"two!");
        assert_eq!(&store.get("ab").unwrap()[..], b"");
        assert_eq!(&store.get_range("a/c", 1, 3).unwrap()[..], b"hre");
        assert_eq!(&store.get_range("a/c", 5, 0).unwrap()[..], b"");
        for (start, len) in [(3, 3), (6, 1), (u64::MAX, 2)] {
            assert!(
                matches!(store.get_range("a/c", start, len), Err(StoreError::Misuse { .. })),
                "{start} {len}"
            );
        }
        assert_eq!(store.head("a/b").unwrap().unwrap().size, 4);
        assert!(store.head("a").unwrap().is_none(), "a directory is no object");
        assert!(store.get("a").is_err());
        assert_eq!(keys(store, ""), ["a/b", "a/c", "ab"]);
        assert_eq!(keys(&store.child("a").unwrap(), ""), ["b", "c"]);
        assert_eq!(keys(store, "a"), ["a/b", "a/c"]);
        assert_eq!(keys(store, "a/b"), [""; 0], "an object has nothing below it");
        assert_eq!(store.children("").unwrap(), ["a/", "ab"]);
        assert_eq!(store.children("a").unwrap(), ["b", "c"]);
        assert!(store.delete("a/b").unwrap());
        assert!(!store.delete("a/b").unwrap());
        assert_eq!(keys(store, "a"), ["a/c"]);
        assert!(matches!(
            store.put("../x", &b""[..]),
            Err(StoreError::UnsafePath { .. })
        ));
        store.delete_all().unwrap();
        assert!(keys(store, "").is_empty());
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
fn large_objects_are_written_in_order_in_parts() {
    let bytes = pattern(37_000_003, 1);
    over_every_backend(|store| {
        let mut writer = store.writer("big").unwrap();
        for piece in bytes.chunks(700_001) {
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
        reader.read_at(37_000_003, &mut []).unwrap();
        assert_eq!(
            reader.read_at(37_000_000, &mut [0; 4]).unwrap_err().kind(),
            std::io::ErrorKind::UnexpectedEof
        );
        drop(store.writer("abandoned").unwrap());
        let mut abandoned = store.writer("abandoned").unwrap();
        abandoned.write_all(&bytes[..20_000_000]).unwrap();
        drop(abandoned);
        assert_eq!(keys(store, ""), ["big"]);
    });
}

#[test]
fn objects_are_written_by_position_from_several_threads() {
    over_every_backend(|store| {
        for len in [0_usize, 1, 5_000_000, 8 << 20, (8 << 20) + 1, 37_000_003] {
            let bytes = pattern(len, 2);
            let region = store.region_writer("region", len as u64).unwrap();
            std::thread::scope(|scope| {
                for (at, piece) in bytes.chunks(3_333_333).enumerate().rev() {
                    let region = &region;
                    scope.spawn(move || region.write_at(at as u64 * 3_333_333, piece).unwrap());
                }
            });
            assert!(
                store.head("region").unwrap().is_none(),
                "visible before it was finished"
            );
            let written = Box::new(region).finish().unwrap();
            assert_eq!(written.blake3.0, *blake3::hash(&bytes).as_bytes(), "{len}");
            assert!(store.get("region").unwrap()[..] == bytes[..]);
            store.delete("region").unwrap();
        }
    });
}

#[test]
fn a_position_is_written_exactly_once() {
    over_every_backend(|store| {
        let misuse = |result: tributary_store::Result<_>| {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::Misuse { .. }), "{error}");
            error.to_string()
        };
        let len = 20_000_000;
        let region = store.region_writer("r", len).unwrap();
        region.write_at(0, &[1; 100]).unwrap();
        misuse(region.write_at(50, &[1; 100]));
        misuse(region.write_at(len - 1, &[1; 2]));
        misuse(region.write_at(u64::MAX, &[1; 2]));
        let text = misuse(Box::new(region).finish().map(drop));
        assert!(text.contains("never written"), "{text}");
        // A whole part twice.
        let region = store.region_writer("r", len).unwrap();
        let all = vec![7; len as usize];
        region.write_at(0, &all).unwrap();
        misuse(region.write_at(0, &all[..8 << 20]));
        drop(region);
        assert!(keys(store, "").is_empty());
    });
}

fn model(salt: u8) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", vec![salt; 10]),
        ("empty", vec![]),
        ("sub/data.bin", pattern(20_000_000, 3)),
    ]
}

#[test]
fn an_artifact_is_seen_whole_or_not_at_all() {
    over_every_backend(|store| {
        assert!(Artifact::try_open(store).unwrap().is_none());
        let publication = Publication::begin(store);
        publication.put("config.json", &b"half"[..]).unwrap();
        let mut object = publication.writer("weights").unwrap();
        object.write_all(&pattern(9_000_000, 1)).unwrap();
        object.finish().unwrap();
        assert!(
            keys(store, "").is_empty(),
            "nothing is at its place before the commit"
        );
        drop(publication);
        assert!(Artifact::try_open(store).unwrap().is_none());

        let artifact = publish(store, &model(1)).unwrap();
        let opened = Artifact::open(store).unwrap();
        assert_eq!(opened.manifest(), artifact.manifest());
        assert_eq!(
            publish(store, &model(1)).unwrap().digest(),
            artifact.digest(),
            "the same again is success"
        );
        assert!(publish(store, &model(2)).unwrap_err().is_conflict());
        let report = opened.verify(Depth::Full, &|_| {}).unwrap();
        assert!(
            report.is_whole() && report.strays.is_empty(),
            "the loser left its mark: {report:?}"
        );
        assert_eq!((report.objects, report.bytes), (3, 20_000_010));
        assert_eq!(opened.read("config.json").unwrap(), [1; 10]);
        assert!(opened.read("empty").unwrap().is_empty());
        assert!(opened.read("nothing").is_err());
        assert_eq!(
            opened.directory().list().unwrap(),
            ["config.json", "empty", MANIFEST]
        );
        assert_eq!(
            keys(store, ""),
            ["config.json", "empty", "sub/data.bin", MANIFEST]
        );
        opened.remove().unwrap();
        assert!(Artifact::try_open(store).unwrap().is_none());
        assert!(keys(store, "").is_empty());
    });
}

#[test]
fn an_artifact_may_be_written_by_several_threads_and_in_several_ways() {
    over_every_backend(|store| {
        let publication = Publication::begin(store);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let publication = publication.clone();
                scope.spawn(move || {
                    publication
                        .put(&format!("small-{number}"), vec![number; 1000])
                        .unwrap();
                    let len = 10_000_000 + u64::from(number);
                    let bytes = pattern(len as usize, number.into());
                    let region = publication
                        .region_writer(&format!("region-{number}"), len)
                        .unwrap();
                    region.write_at(4_000_000, &bytes[4_000_000..]).unwrap();
                    region.write_at(0, &bytes[..4_000_000]).unwrap();
                    publication.add(region).unwrap();
                });
            }
        });
        publication.put("small-0", &b"replaced"[..]).unwrap();
        assert!(publication.put(MANIFEST, &b"x"[..]).is_err());
        let mut draft = draft();
        draft.outputs.insert(
            "model".into(),
            OutputEntry {
                kind: "model".into(),
                path: "sub".into(),
            },
        );
        let artifact = publication.commit(draft).unwrap();
        assert_eq!(artifact.manifest().objects.len(), 8);
        assert!(artifact.verify(Depth::Full, &|_| {}).unwrap().is_whole());
        assert_eq!(artifact.read("small-0").unwrap(), b"replaced");
        assert!(artifact.output("model").unwrap().1.url().ends_with("/sub"));
        assert!(artifact.output("other").is_none());
        // What could not be read back is not published: an object that is also a directory.
        let other = store.child("other").unwrap();
        assert!(publish(&other, &[("a", vec![1]), ("a/b", vec![2])]).is_err());
        assert!(keys(&other, "").is_empty() || other.local_path().is_some());
        assert!(Artifact::try_open(&other).unwrap().is_none());
    });
}

#[test]
fn every_kind_of_damage_is_named() {
    over_every_backend(|store| {
        let artifact = publish(store, &model(1)).unwrap();
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
            assert!(
                matches!(artifact.open_checked("sub/data.bin"), Err(StoreError::Damaged { start: s, .. }) if s == start)
            );
        }
        store.put("sub/data.bin", whole.slice(..100)).unwrap();
        store.delete("config.json").unwrap();
        store.put("empty", &b"x"[..]).unwrap();
        store.put("stray", &b"x"[..]).unwrap();
        for depth in [
            Depth::Sizes,
            Depth::Full,
            Depth::Sample {
                per_mille: 500,
                seed: 1,
            },
        ] {
            let report = artifact.verify(depth, &|_| {}).unwrap();
            let kinds: Vec<_> = report
                .problems
                .iter()
                .map(|problem| (&problem.path[..], &problem.kind))
                .collect();
            let size = |expected, found| ProblemKind::Size { expected, found };
            let expected = [
                ("config.json", &ProblemKind::Missing),
                ("empty", &size(0, 1)),
                ("sub/data.bin", &size(20_000_000, 100)),
            ];
            assert_eq!(kinds, expected);
            assert_eq!(
                report.problems[2].to_string(),
                "sub/data.bin: bytes 100..20000000 are missing"
            );
            assert_eq!(report.strays, ["stray"]);
        }
    });
}

#[test]
fn a_sample_reads_less_and_another_seed_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let store = backends::local(folder.path());
    let artifact = publish(&store, &[("data", pattern(100 << 20, 1))]).unwrap();
    let read = |seed| {
        artifact
            .verify(Depth::Sample { per_mille: 400, seed }, &|_| {})
            .unwrap()
            .bytes
    };
    let bytes: Vec<u64> = (0..8).map(read).collect();
    assert!(
        bytes.iter().all(|bytes| *bytes < 100 << 20) && bytes.iter().any(|bytes| *bytes > 0),
        "{bytes:?}"
    );
    assert!(bytes.windows(2).any(|pair| pair[0] != pair[1]));
    let last = std::cell::Cell::new((0, 0));
    artifact
        .verify(Depth::Full, &|progress| {
            last.set((progress.bytes, progress.total))
        })
        .unwrap();
    assert_eq!(last.get(), (100 << 20, 100 << 20));
}

#[test]
fn a_pointer_moves_by_compare_and_swap() {
    over_every_backend(|store| {
        let pointer = store.pointer("sub/latest").unwrap();
        assert!(pointer.read().unwrap().is_none());
        let Swap::Done(first) = pointer.swap(None, "step-1").unwrap() else {
            panic!("lost against nobody")
        };
        assert!(matches!(pointer.swap(None, "step-2").unwrap(), Swap::Lost(Some(now)) if now == first));
        let Swap::Done(second) = pointer.swap(Some(&first), "step-2").unwrap() else {
            panic!("lost")
        };
        assert!(
            matches!(pointer.swap(Some(&first), "step-3").unwrap(), Swap::Lost(Some(now)) if now == second)
        );
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
        let kept = pointer
            .update(|now| (now.unwrap().target != "end").then(|| "never".to_owned()))
            .unwrap()
            .unwrap();
        assert_eq!((kept.generation, kept.target.as_str()), (4, "end"));
        assert!(pointer.set("../outside").is_err());
        assert_eq!(
            keys(store, ""),
            ["sub/latest"],
            "nothing but the pointer is there"
        );
        store
            .put(
                "sub/latest",
                &b"{\"target\": \"../x\", \"generation\": 9, \"writer\": \"\"}"[..],
            )
            .unwrap();
        assert!(pointer.read().is_err());
        store.put("sub/latest", &b"nonsense"[..]).unwrap();
        assert!(pointer.read().is_err());
    });
}

#[test]
fn a_hostile_manifest_is_refused() {
    over_every_backend(|store| {
        publish(store, &model(1)).unwrap();
        let good = String::from_utf8(store.get(MANIFEST).unwrap().to_vec()).unwrap();
        let bad = [
            good.replace("config.json", "../config.json"),
            good.replace("config.json", "sub/data.bin"),
            good.replace("config.json", "tributary.json"),
            good.replace("\"format\": 1", "\"format\": 2"),
            good.replace("\"size\": 20000000", "\"size\": 40000000"),
            good.replace("\"kind\"", "\"kinds\""),
            good.replace("\"settings\": null", "\"settings\": 1"),
            good.replace("  ", " "),
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
        store.put(MANIFEST, vec![b' '; (64 << 20) + 1]).unwrap();
        assert!(matches!(Artifact::open(store), Err(StoreError::Manifest { .. })));
    });
}

#[test]
fn files_are_moved_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("new/to"));
    let bytes = pattern(100_000_001, 5);
    std::fs::write(&from, &bytes).unwrap();
    over_every_backend(|store| {
        let written = store.upload_file(&from, "x/y").unwrap();
        assert_eq!(written.blake3.0, *blake3::hash(&bytes).as_bytes());
        assert_eq!(store.download("x/y", &to).unwrap(), 100_000_001);
        assert!(std::fs::read(&to).unwrap() == bytes);
        assert!(store.download("x/none", &to).unwrap_err().is_not_found());
    });
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_noticed() {
    let store = backends::on_server(server(), "replaced");
    store.put("x", vec![1; 1000]).unwrap();
    let reader = store.reader("x").unwrap();
    store.put("x", vec![2; 1000]).unwrap();
    let error = reader.read_at(0, &mut [0; 10]).unwrap_err();
    assert!(
        error.to_string().contains("changed while it was being read"),
        "{error}"
    );
}

#[test]
fn calls_inside_an_async_context_are_errors_and_not_panics() {
    let store = Store::open("memory://async/x").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async { store.get("y") }).unwrap_err();
    assert!(error.to_string().contains("async context"), "{error}");
}

#[test]
fn the_counting_server_counts_every_byte_once() {
    let server = counting_server();
    let store = counted("counted");
    let bytes = pattern(20 << 20, 9);
    let mut writer = store.writer("large").unwrap();
    writer.write_all(&bytes).unwrap();
    writer.finish().unwrap();
    store.put("small", &b"seven b"[..]).unwrap();
    assert_eq!(&store.get("large").unwrap()[..], &bytes[..]);
    store.get_range("large", 10 << 20, 5).unwrap();
    let counts = server.traffic.counts();
    let count = |method: &str, key: &str| counts[&(method.to_string(), format!("/{BUCKET}/counted/{key}"))];
    let large = bytes.len() as u64;
    assert_eq!(count("PUT", "large").received, large);
    assert_eq!(count("GET", "large").sent, large + 5);
    assert_eq!(count("PUT", "small").received, 7);
}
