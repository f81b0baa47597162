//! A merge made by several processes, and one that was killed and begun again: the same bytes as in one go.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::{Bench, family};
use tributary_merge::{
    MergeConfig, MergeError, MergeOptions, MergeReport, Phase, Portion, Progress, Published, Watch, plan,
};
use tributary_store::Store;
use tributary_tensorfile::DType;

/// Files so small that there are several.
const FILE: u64 = 1_000;

const DOCUMENTS: [&str; 4] = [
    "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: base}, {model: tuned-1}]\n",
    "merge_method: ties\nbase_model: base\nparameters: {weight: metagpt, density: 0.4}\nmodels: [{model: tuned-1}, {model: tuned-2}]\n",
    "merge_method: metagpt\nbase_model: base\nparameters: {scope: layer}\nmodels: [{model: tuned-1}, {model: tuned-2}]\n",
    "merge_method: dare_ties\nbase_model: base\nparameters: {weight: 0.4, density: 0.4}\nmodels: [{model: tuned-1}, {model: tuned-2}]\n",
];

fn bench() -> Bench {
    Bench::new(&family(5, DType::BF16, 2))
}

fn options(portion: Portion) -> MergeOptions {
    MergeOptions {
        threads: Some(2),
        max_shard_bytes: FILE,
        portion,
        ..MergeOptions::default()
    }
}

fn merge(
    bench: &Bench,
    yaml: &str,
    portion: Portion,
    out: &Store,
    watch: &Watch<'_>,
) -> Result<Published, MergeError> {
    let config = MergeConfig::parse(yaml, "merge.yml")?;
    plan(&config.spec, &bench.sources(&config)?, &options(portion))?.publish(out, watch)
}

/// In one go.
fn whole(bench: &Bench, yaml: &str, name: &str) -> MergeReport {
    let out = Store::open(bench.path(name).to_str().unwrap()).unwrap();
    let watch = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let Published::Whole(_, report) = merge(bench, yaml, Portion::WHOLE, &out, &watch).unwrap() else {
        unreachable!()
    };
    *report
}

/// Every file of a folder, also those that are hidden.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_string(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn four_processes_make_what_one_makes() {
    let bench = bench();
    for (number, yaml) in DOCUMENTS.iter().enumerate() {
        whole(&bench, yaml, &format!("one-{number}"));
        let place = bench.path(&format!("four-{number}"));
        let published = AtomicUsize::new(0);
        let process = |index: usize| {
            let portion = Portion {
                index,
                of: 4,
                patience: Duration::from_secs(if index == 0 { 60 } else { 0 }),
            };
            let watch = Watch {
                progress: &|_| {},
                cancel: &AtomicBool::new(false),
            };
            let out = Store::open(place.to_str().unwrap()).unwrap();
            let bench = Bench::at(bench.folder.path());
            match merge(&bench, yaml, portion, &out, &watch).unwrap() {
                Published::Whole(..) => published.fetch_add(1, Ordering::SeqCst),
                Published::Waiting(progressed) => {
                    assert!(progressed.files > 4 && progressed.finished < progressed.files);
                    0
                }
            };
        };
        std::thread::scope(|scope| {
            for index in 0..4 {
                scope.spawn(move || process(index));
            }
        });
        assert!(published.into_inner() >= 1, "the last one publishes");
        assert_eq!(
            files(&bench.path(&format!("one-{number}"))),
            files(&place),
            "{yaml}"
        );
    }
}

#[test]
fn a_merge_that_was_stopped_goes_on() {
    let bench = bench();
    for (number, yaml) in DOCUMENTS.iter().enumerate() {
        let in_one_go = whole(&bench, yaml, &format!("whole-{number}"));
        let place = bench.path(&format!("stopped-{number}"));
        let out = Store::open(place.to_str().unwrap()).unwrap();
        let (mut stops, mut read) = (0, 0);
        let report = loop {
            let steps = AtomicUsize::new(0);
            let cancel = AtomicBool::new(false);
            let watch = Watch {
                progress: &|progress: Progress| {
                    // Once while measuring; then further each time, so that it ends.
                    let steps = steps.fetch_add(1, Ordering::SeqCst);
                    let is_enough = match progress.phase {
                        Phase::Statistics => stops == 0 && steps >= 2,
                        Phase::Merge => steps >= 3 + stops,
                    };
                    if is_enough {
                        cancel.store(true, Ordering::SeqCst);
                    }
                },
                cancel: &cancel,
            };
            match merge(&bench, yaml, Portion::WHOLE, &out, &watch) {
                Ok(Published::Whole(_, report)) => break report,
                Ok(Published::Waiting(progressed)) => panic!("{progressed:?}"),
                Err(MergeError::Cancelled) => stops += 1,
                Err(error) => panic!("{error}"),
            }
            assert!(!place.join("config.json").exists(), "nothing is to be seen");
        };
        read += report.execution.bytes_read;
        assert!(stops > 0, "{yaml}");
        assert!(report.execution.bytes_found > 0, "{yaml}");
        assert!(
            read < in_one_go.execution.bytes_read,
            "what was finished is not made again: {yaml}"
        );
        assert_eq!(in_one_go.record, report.record);
        assert_eq!(
            files(&bench.path(&format!("whole-{number}"))),
            files(&place),
            "{yaml}"
        );
    }
}

/// Other models under the same names are another merge: nothing of the first is taken.
#[test]
fn changed_models_are_not_mixed() {
    let bench = bench();
    let out = Store::open(bench.path("mixed").to_str().unwrap()).unwrap();
    let cancel = AtomicBool::new(false);
    let steps = AtomicUsize::new(0);
    let stop = Watch {
        progress: &|_| {
            if steps.fetch_add(1, Ordering::SeqCst) >= 4 {
                cancel.store(true, Ordering::SeqCst);
            }
        },
        cancel: &cancel,
    };
    let stopped = merge(&bench, DOCUMENTS[0], Portion::WHOLE, &out, &stop);
    assert!(matches!(stopped, Err(MergeError::Cancelled)));
    assert_eq!(out.unfinished().unwrap().len(), 1, "something was kept");
    std::fs::remove_dir_all(bench.path("tuned-1")).unwrap();
    support::write(
        &bench.path("tuned-1"),
        &family(6, DType::BF16, 2)[1],
        &support::configuration(),
        u64::MAX,
    );
    let go_on = Watch {
        progress: &|_| {},
        cancel: &AtomicBool::new(false),
    };
    let Published::Whole(_, report) = merge(&bench, DOCUMENTS[0], Portion::WHOLE, &out, &go_on).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(report.execution.bytes_found, 0);
    whole(&bench, DOCUMENTS[0], "other");
    assert_eq!(files(&bench.path("mixed")), files(&bench.path("other")));
}
