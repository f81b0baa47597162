//! Any one bit of any stored object, flipped, is found: by verifying and by reading, with its place.

#![expect(clippy::unwrap_used)]

mod backends;

use std::os::unix::fs::FileExt;

use backends::{Random, local, pattern, publish};
use tributary_store::{Artifact, CHUNK_BYTES, Depth, MANIFEST, ProblemKind, StoreError};

const FLIPS: usize = 500;

#[test]
fn every_flipped_bit_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path());
    let chunk = CHUNK_BYTES as usize;
    let objects = [
        ("config.json", pattern(700, 1)),
        ("one", pattern(1, 2)),
        ("sub/exact.bin", pattern(chunk, 3)),
        ("sub/over.bin", pattern(chunk + 1, 4)),
    ];
    let artifact = publish(&store, &objects).unwrap();
    let mut random = Random(7);
    for _ in 0..FLIPS {
        let (path, bytes) = &objects[random.below(objects.len() as u64) as usize];
        let (at, bit) = (random.below(bytes.len() as u64), random.below(8));
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(folder.path().join(path))
            .unwrap();
        file.write_all_at(&[bytes[at as usize] ^ (1 << bit)], at).unwrap();

        let report = artifact.verify(Depth::Full, &|_| {}).unwrap();
        let [problem] = &report.problems[..] else {
            panic!("{path} byte {at} bit {bit}: {report:?}")
        };
        let ProblemKind::Bytes {
            start,
            end,
            expected,
            found,
        } = &problem.kind
        else {
            panic!("{problem:?}")
        };
        assert_eq!(&problem.path, path);
        assert!(
            *start <= at && at < *end && end - start <= CHUNK_BYTES && expected != found,
            "{problem:?}"
        );
        let Err(StoreError::Damaged {
            at: place,
            start: s,
            end: e,
            ..
        }) = artifact.read(path)
        else {
            panic!("{path} byte {at} bit {bit} was loaded")
        };
        assert!(place.ends_with(path) && (s, e) == (*start, *end));

        file.write_all_at(&[bytes[at as usize]], at).unwrap();
    }
    assert!(artifact.verify(Depth::Full, &|_| {}).unwrap().is_whole());
}

#[test]
fn a_bit_flipped_in_any_byte_of_a_manifest_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(folder.path());
    publish(
        &store,
        &[("config.json", pattern(700, 1)), ("sub/x", pattern(20, 2))],
    )
    .unwrap();
    let good = store.get(MANIFEST).unwrap();
    for at in 0..good.len() {
        for bit in [at % 8, (at / 8 + 5) % 8] {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1 << bit;
            std::fs::write(folder.path().join(MANIFEST), bytes).unwrap();
            let opened = Artifact::open(&store);
            assert!(
                matches!(opened, Err(StoreError::Manifest { .. })),
                "byte {at} bit {bit}: {opened:?}"
            );
        }
    }
}
