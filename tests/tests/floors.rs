//! The floors of the house: an import goes down, never up or sideways (ARCHITECTURE.md).

use std::collections::BTreeMap;

/// Crate and the crates of ours it may import.
const FLOORS: &[(&str, &[&str])] = &[
    ("tensorfile", &[]),
    ("store", &["tensorfile"]),
    ("model", &["tensorfile", "store"]),
    ("data", &["store"]),
    ("merge", &["tensorfile", "store"]),
    ("train", &["model", "data", "store", "tensorfile"]),
    ("evaluate", &["model", "data", "store", "tensorfile"]),
    ("search", &["model"]),
    ("prune", &["model", "data", "evaluate"]),
    ("pipeline", &["store"]),
    (
        "jobs",
        &[
            "pipeline",
            "tensorfile",
            "store",
            "data",
            "merge",
            "model",
            "train",
            "evaluate",
            "search",
            "prune",
        ],
    ),
    // The report reads records, manifests and figures back from a store, and the pipeline's records speak of its types.
    ("report", &["pipeline", "store"]),
    ("testkit", &["tensorfile"]),
    (
        "trib",
        &[
            "pipeline",
            "tensorfile",
            "store",
            "data",
            "merge",
            "model",
            "train",
            "evaluate",
            "jobs",
            "report",
        ],
    ),
];

#[test]
fn imports_go_down_only() {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let table: BTreeMap<&str, &[&str]> = FLOORS.iter().copied().collect();
    let mut seen = 0;
    for package in &metadata.packages {
        let Some(name) = package
            .name
            .strip_prefix("tributary-")
            .filter(|name| *name != "tests")
        else {
            continue;
        };
        let allowed = table
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the table of floors"));
        for dependency in &package.dependencies {
            let normal = dependency.kind == cargo_metadata::DependencyKind::Normal;
            if let Some(other) = dependency.name.strip_prefix("tributary-").filter(|_| normal) {
                assert!(
                    allowed.contains(&other),
                    "{name} imports {other}, which the table of floors does not allow"
                );
            }
        }
        seen += 1;
    }
    assert_eq!(seen, FLOORS.len(), "a crate of the table is missing");
}
