//! A good model on a disk, what is done to it, and how it is opened then.

use std::fs::File;
use std::path::Path;

use serde_json::json;
use tributary_merge::{MergeConfig, MergeError, MergeOptions, Source, plan};
use tributary_store::Store;
use tributary_testkit::fuzz::{Outcome, check};

use super::place::{ALONE, configuration, model_file, outcome, safetensors};

pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
pub(crate) const CONFIG: &str = "config.json";

/// Writes a file of the model.
pub(crate) fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// Makes a model of two shards of it, with this index.
pub(crate) fn sharded(folder: &Path, index: impl AsRef<[u8]>) {
    std::fs::remove_file(folder.join(MODEL)).unwrap();
    for (file, tensor) in [("model-1.safetensors", "a"), ("model-2.safetensors", "b")] {
        put(folder, file, safetensors(one(tensor, "F32", "[1]", "[0,4]"), 4));
    }
    put(folder, INDEX, index);
}

/// An index in which `a` lies where it does and `b` in `shard`.
pub(crate) fn index(shard: &str) -> String {
    json!({"weight_map": {"a": "model-1.safetensors", "b": shard}}).to_string()
}

pub(crate) fn one(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// Makes a file as long as said, of which nothing takes place on the disk but what it begins with.
pub(crate) fn sparse(folder: &Path, name: &str, begin: impl AsRef<[u8]>, length: u64) {
    put(folder, name, begin);
    let file = File::options().write(true).open(folder.join(name)).unwrap();
    file.set_len(length).unwrap();
}

/// In place of a file.
pub(crate) fn replaced(folder: &Path, name: &str, by: impl FnOnce(&Path)) {
    let path = folder.join(name);
    std::fs::remove_file(&path).unwrap();
    by(&path);
}

/// Opens the model in `folder`.
pub(crate) fn open_only(folder: &Path) -> Result<Source, MergeError> {
    Source::open("subject", &Store::open(folder.to_str().unwrap()).unwrap())
}

/// Plans a merge of the model in `folder` with nothing.
pub(crate) fn open(folder: &Path) -> Outcome {
    outcome(open_only(folder).and_then(|source| {
        let spec = MergeConfig::parse(ALONE, "merge.yml")?.spec;
        Ok(plan(&spec, &[source], &MergeOptions::default())?
            .summary()
            .warnings)
    }))
}

/// A model that `change` was done to, and how it was opened: no panic, in bounded memory and time for files of `length`.
pub(crate) fn opened(
    name: &str,
    length: usize,
    open: impl Fn(&Path) -> Outcome,
    change: impl FnOnce(&Path),
) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), MODEL, model_file());
    put(folder.path(), CONFIG, configuration().to_string());
    change(folder.path());
    let length = vec![0; length];
    match check(&length, &mut |_| open(folder.path())) {
        Ok((outcome, _)) => outcome,
        Err(what) => panic!("{name} {what}"),
    }
}

pub(crate) type Case = (&'static str, Box<dyn FnOnce(&Path)>, &'static [&'static str]);

pub(crate) fn case(
    name: &'static str,
    change: impl FnOnce(&Path) + 'static,
    words: &'static [&'static str],
) -> Case {
    (name, Box::new(change), words)
}

/// Every case is refused, with all of its words.
pub(crate) fn refused(cases: Vec<Case>) {
    let mut faults = Vec::new();
    for (name, change, words) in cases {
        match opened(name, 0, open, change) {
            Outcome::Refused(message) => {
                let missing = words.iter().filter(|word| !message.contains(**word));
                faults.extend(missing.map(|word| format!("{name}: no {word:?} in {message}")));
            }
            other => faults.push(format!("{name}: {other:?}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
