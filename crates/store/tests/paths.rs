//! No path leads out of a store, whatever it is made of.

#![expect(clippy::unwrap_used)]

mod backends;

use backends::{local, over_every_backend};
use proptest::prelude::*;
use tributary_store::{MAX_PATH_BYTES, Publication, Store, StoreError, check_path};

const HOSTILE: [&str; 34] = [
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "a/../b",
    "a/..",
    "a/.",
    ".",
    "./a",
    "a//b",
    "a/",
    "/a",
    "a\0b",
    "\0",
    "a\\b",
    "..\\x",
    "C:\\x",
    "C:/x",
    "c:x",
    "%2e%2e/x",
    "%2E%2e/x",
    "a/%2e%2E",
    "a%2fb",
    "a%5Cb",
    "a%00b",
    "a\nb",
    "a\u{7f}b",
    "nul",
    "con.txt",
    "COM1",
    "a/lpt9.x",
    ".tributary-tmp-0",
    "a/.tributary-lock",
];

#[test]
fn hostile_paths_are_refused_everywhere() {
    over_every_backend(|store| {
        let publication = Publication::begin(store);
        for path in HOSTILE.map(str::to_owned).into_iter().chain([
            "x".repeat(1025),
            "x/".repeat(2000),
            "y".repeat(241),
        ]) {
            let refused = |result: tributary_store::Result<()>| {
                assert!(
                    matches!(result, Err(StoreError::UnsafePath { .. })),
                    "{path:?}: {result:?}"
                );
            };
            refused(check_path(&path));
            refused(store.get(&path).map(drop));
            refused(store.get_range(&path, 0, 1).map(drop));
            refused(store.head(&path).map(drop));
            refused(store.put(&path, &b"x"[..]));
            refused(store.create(&path, &b"x"[..]).map(drop));
            refused(store.delete(&path).map(drop));
            refused(store.reader(&path).map(drop));
            refused(store.writer(&path).map(drop));
            refused(store.region_writer(&path, 1).map(drop));
            refused(store.child(&path).map(drop));
            refused(store.pointer(&path).map(drop));
            refused(publication.put(&path, &b"x"[..]));
            refused(publication.writer(&path).map(drop));
            refused(store.pointer("p").unwrap().set(&path).map(drop));
        }
        assert!(store.list("").unwrap().is_empty());
        for path in [
            "a",
            "a.b/c-d_e",
            "…/ünï cödé",
            ".hidden",
            "a..b",
            "...",
            "%20",
            "console",
            "com10",
            "xy:z",
        ] {
            check_path(path).unwrap();
            store.put(path, &b"x"[..]).unwrap();
            assert_eq!(&store.get(path).unwrap()[..], b"x", "{path}");
            assert_eq!(store.list("").unwrap()[0].key, path);
            store.delete(path).unwrap();
        }
        let longest = format!("{}{}", "abcdefg/".repeat(120), "z".repeat(60));
        assert!(longest.len() < MAX_PATH_BYTES);
        check_path(&longest).unwrap();
    });
}

#[test]
fn writing_does_not_follow_links_out_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    std::fs::create_dir_all(&root).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("victim"), b"untouched").unwrap();
    std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
    std::os::unix::fs::symlink(outside.join("victim"), root.join("file")).unwrap();
    let store = local(&root);
    for result in [
        store.put("link/victim", &b"x"[..]),
        store.create("link/new", &b"x"[..]).map(drop),
        store.delete("link/victim").map(drop),
        store.writer("link/sub/new").map(drop),
        store
            .child("link")
            .unwrap()
            .pointer("latest")
            .unwrap()
            .set("x")
            .map(drop),
        backends::publish(&store.child("link").unwrap(), &[("victim", vec![1])]).map(drop),
    ] {
        assert!(matches!(result, Err(StoreError::UnsafePath { .. })), "{result:?}");
    }
    // A link in the place of an object is replaced, not followed.
    store.put("file", &b"x"[..]).unwrap();
    assert_eq!(std::fs::read(outside.join("victim")).unwrap(), b"untouched");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    // The root itself may be a link.
    std::os::unix::fs::symlink(&root, folder.path().join("alias")).unwrap();
    local(&folder.path().join("alias"))
        .put("through", &b"x"[..])
        .unwrap();
    assert_eq!(std::fs::read(root.join("through")).unwrap(), b"x");
}

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("%2e%2e".to_owned()),
        Just("a".to_owned()),
        Just("b\\..\\c".to_owned()),
        "[a-z./\\\\%:\\x00 ]{0,6}",
        "\\PC{0,4}",
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_path_stays_below_the_root(parts in proptest::collection::vec(component(), 1..6)) {
        let path = parts.join("/");
        if check_path(&path).is_ok() {
            let mut depth = 0;
            for part in std::path::Path::new(&path).components() {
                prop_assert!(matches!(part, std::path::Component::Normal(_)), "{path:?}");
                depth += 1;
            }
            prop_assert_eq!(depth, path.split('/').count());
            prop_assert!(path.len() <= MAX_PATH_BYTES && !path.contains('\0'));
            // Decoded once more by a careless server, it still does not climb.
            let lower = path.to_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
            prop_assert!(lower.split(['/', '\\']).all(|part| part != ".."), "{path:?}");
        }
    }

    #[test]
    fn nothing_is_ever_written_outside_the_root(parts in proptest::collection::vec(component(), 1..5)) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("x/root");
        let store = Store::open(root.to_str().unwrap()).unwrap()
            .with_durability(tributary_store::Durability::Process);
        let path = parts.join("/");
        let accepted = store.put(&path, &b"x"[..]).is_ok();
        let files = |place: &std::path::Path| std::fs::read_dir(place).map_or(0, Iterator::count);
        prop_assert_eq!(files(folder.path()), usize::from(accepted));
        prop_assert_eq!(files(&folder.path().join("x")), usize::from(accepted));
        prop_assert_eq!(accepted, check_path(&path).is_ok());
    }
}
