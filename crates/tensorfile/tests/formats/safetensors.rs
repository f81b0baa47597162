//! Reading what was written, and refusing what is malformed.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tributary_tensorfile::{
    Checkpoint, DType, LocalDirectory, ModelLayout, TensorFileError, TensorSpec, parse_header, write_model,
};

use crate::support::Remote;

fn bytes_of(spec: &TensorSpec) -> Vec<u8> {
    spec.name.bytes().cycle().take(spec.bytes() as usize).collect()
}

fn write(folder: &Path, specs: &[TensorSpec], shard: u64) -> ModelLayout {
    let layout = ModelLayout::plan(specs, shard, &[("note", "kept")]).unwrap();
    write_model(
        &layout,
        &mut |name| Ok(Box::new(std::fs::File::create(folder.join(name))?) as Box<dyn Write>),
        &mut |spec, sink| sink.write_all(&bytes_of(spec)),
    )
    .unwrap();
    layout
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_model_reads_back(
        sizes in prop::collection::vec((0usize..6, 1usize..5, 0usize..DType::ALL.len()), 1..12),
        shard in 8u64..400,
    ) {
        let specs: Vec<TensorSpec> = sizes.iter().enumerate().map(|(index, (rows, columns, dtype))| TensorSpec {
            name: format!("layer.{index}.\"weight\""),
            dtype: DType::ALL[*dtype],
            shape: if rows % 2 == 0 { vec![*rows, *columns] } else { vec![*columns] },
        }).collect();
        let folder = tempfile::tempdir().unwrap();
        let layout = write(folder.path(), &specs, shard);
        if let Some(index) = &layout.index {
            prop_assert!(std::fs::read(folder.path().join(ModelLayout::INDEX_FILE)).unwrap() == *index);
        }
        for shard in &layout.shards {
            let file = std::fs::read(folder.path().join(&shard.file)).unwrap();
            prop_assert_eq!((file.len() as u64, shard.header.len() % 8), (shard.len, 0));
            prop_assert!(file.starts_with(&shard.header));
            for placed in &shard.tensors {
                let start = placed.offset as usize;
                prop_assert_eq!(&file[start..start + placed.spec.bytes() as usize], &bytes_of(&placed.spec)[..]);
            }
        }
        let local = LocalDirectory::new(folder.path());
        let requests = Arc::new(AtomicUsize::new(0));
        let checkpoint = Checkpoint::open(&local).unwrap();
        let remote = Checkpoint::open(&Remote { local, requests: requests.clone() }).unwrap();
        prop_assert_eq!(requests.load(Ordering::Relaxed), layout.shards.len() + usize::from(layout.index.is_some()));
        prop_assert_eq!(checkpoint.tensors(), remote.tensors());
        prop_assert_eq!(checkpoint.tensors().len(), specs.len());
        prop_assert_eq!(checkpoint.metadata()["note"].as_str(), "kept");
        prop_assert_eq!(checkpoint.metadata()["format"].as_str(), "pt");
        for spec in &specs {
            let tensor = checkpoint.get(&spec.name).unwrap();
            prop_assert_eq!((&tensor.dtype, &tensor.shape), (&spec.dtype, &spec.shape));
            prop_assert_eq!(checkpoint.read(tensor).unwrap(), bytes_of(spec));
            prop_assert_eq!(checkpoint.slice(tensor).unwrap(), &bytes_of(spec)[..]);
            prop_assert_eq!(remote.read(tensor).unwrap(), bytes_of(spec));
            prop_assert!(remote.slice(tensor).is_none());
            let here = checkpoint.read_f32(tensor).map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>());
            let there = remote.read_f32(tensor).map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>());
            prop_assert_eq!(here.is_ok(), spec.dtype.is_float());
            prop_assert_eq!(here.ok(), there.ok());
            let mut beyond = vec![0; spec.bytes() as usize];
            prop_assert!(beyond.is_empty() || remote.read_range(tensor, 1, &mut beyond).is_err());
        }
    }
}

/// A file of this JSON header and `data` zero bytes.
fn file(json: &str, data: usize) -> Vec<u8> {
    [
        &(json.len() as u64).to_le_bytes()[..],
        json.as_bytes(),
        &vec![0; data],
    ]
    .concat()
}

fn open(bytes: &[u8]) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    Checkpoint::open(&LocalDirectory::new(folder.path())).map_err(|error| error.to_string())
}

#[test]
fn malformed_files_are_refused_with_a_reason() {
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":{a}}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{b}}}}}"#
        )
    };
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "cannot hold a header"),
        (vec![1, 2, 3], "cannot hold a header"),
        (u64::MAX.to_le_bytes().to_vec(), "more than 100000000"),
        (100_000_001u64.to_le_bytes().to_vec(), "more than 100000000"),
        (9u64.to_le_bytes().to_vec(), "truncated or not safetensors"),
        (file("", 0), "header"),
        (file("[]", 0), "header"),
        (file("{", 0), "header"),
        (file("null", 0), "header"),
        (file(&"[".repeat(10_000), 0), "header"),
        (file(&one("F32", "[1]", "[0,4]"), 3), "end at byte"),
        (file(&one("F32", "[1]", "[0,4]"), 5), "end at byte"),
        (file(&one("F32", "[2]", "[0,4]"), 4), "do not hold the 8 bytes"),
        (file(&one("F33", "[1]", "[0,4]"), 4), "unknown element type"),
        (file(&one("F32", "[1]", "[4,0]"), 4), "do not hold"),
        (file(&one("F32", "[1]", "[4,8]"), 8), "gap"),
        (file(&one("F32", "[-1]", "[0,4]"), 4), "header"),
        (
            file(&one("F32", "[4294967296,4294967296,4]", "[0,4]"), 4),
            "64 bits",
        ),
        (
            file(
                &one("U8", "[18446744073709551615]", "[1,18446744073709551615]"),
                4,
            ),
            "64 bits",
        ),
        (
            file(
                &one("U8", "[18446744073709551615]", "[0,18446744073709551615]"),
                4,
            ),
            "64 bits",
        ),
        (
            file(&one("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"), 4),
            "dimensions",
        ),
        (file(&one("F32", "[1]", "[0]"), 4), "header"),
        (file(&one("F32", "[1]", "[0,4,8]"), 4), "header"),
        (file(&one("F32", "1", "[0,4]"), 4), "header"),
        (file(&two("[0,4]", "[0,4]"), 4), "overlaps"),
        (file(&two("[0,4]", "[2,6]"), 6), "overlaps"),
        (file(&two("[0,4]", "[8,12]"), 12), "gap"),
        (file(r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4), "data_offsets"),
        (
            file(
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}}"#,
                4,
            ),
            "unknown field",
        ),
        (
            file(
                &one("F32", "[1]", "[0,4]").replace('}', "},").replace(
                    "},},",
                    "},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                ),
                4,
            ),
            "stands twice",
        ),
        (file(r#"{"__metadata__":{"a":1}}"#, 0), "header"),
        (file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), "twice"),
        (
            [&4u64.to_le_bytes()[..], &[b'{', 0xFF, 0xFE, b'}']].concat(),
            "not UTF-8",
        ),
    ];
    for (bytes, expected) in cases {
        let error = open(&bytes).unwrap_err();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        assert!(
            error.contains("model.safetensors"),
            "{error:?} does not name the file"
        );
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let spec = TensorSpec {
        name: "w".into(),
        dtype: DType::BF16,
        shape: vec![3, 4],
    };
    write(folder.path(), &[spec], 1 << 20);
    let whole = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    assert!(open(&whole).is_ok());
    for end in 0..whole.len() {
        assert!(open(&whole[..end]).is_err(), "cut at {end}");
    }
    let header = &whole[8..whole.len() - 24];
    assert_eq!(
        parse_header("f", header, whole.len() as u64)
            .unwrap()
            .tensors
            .len(),
        1
    );
}

#[test]
fn an_index_that_lies_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        dtype: DType::F32,
        shape: vec![4],
    };
    write(folder.path(), &[spec("a"), spec("b"), spec("c")], 16);
    let path = folder.path().join("model.safetensors.index.json");
    let truth = std::fs::read_to_string(&path).unwrap();
    let lies = [
        (truth.replace("\"a\":", "\"z\":"), "does not say so"),
        (
            truth.replace("\"c\": \"model-00003-of-00003", "\"c\": \"model-00002-of-00003"),
            "does not hold it",
        ),
        (
            truth.replace("model-00003-of-00003", "../model-00003-of-00003"),
            "not a plain file name",
        ),
        (
            truth.replace("model-00003-of-00003", "model-00004-of-00004"),
            "cannot read",
        ),
        ("{}".to_owned(), "weight_map"),
    ];
    for (lie, expected) in lies {
        std::fs::write(&path, lie).unwrap();
        let error = Checkpoint::open(&LocalDirectory::new(folder.path()))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

#[test]
fn a_single_file_counts_before_an_index_as_in_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        dtype: DType::F32,
        shape: vec![4],
    };
    write(folder.path(), &[spec("a"), spec("b")], 16);
    write(folder.path(), &[spec("c")], 16);
    let checkpoint = Checkpoint::open(&LocalDirectory::new(folder.path())).unwrap();
    assert!(checkpoint.get("c").is_some() && checkpoint.get("a").is_none());
    let shard = Checkpoint::open_file(
        &LocalDirectory::new(folder.path()),
        "model-00002-of-00002.safetensors",
    )
    .unwrap();
    assert_eq!(shard.tensors()[0].name, "b");
    let nothing = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(&LocalDirectory::new(nothing.path())).unwrap_err();
    assert!(matches!(error, TensorFileError::NoModel { .. }), "{error}");
}

#[test]
fn what_cannot_be_written_is_not_planned() {
    let spec = |name: &str, shape: &[usize]| TensorSpec {
        name: name.into(),
        dtype: DType::F64,
        shape: shape.to_vec(),
    };
    let cases = [
        (vec![spec("a", &[1]), spec("a", &[2])], "written twice"),
        (vec![spec("__metadata__", &[1])], "reserves"),
        (vec![spec("a", &[1 << 32, 1 << 32])], "64 bits"),
        (vec![spec("a", &[1 << 32, 1 << 32, 0])], "64 bits"),
        (vec![spec("a", &[1 << 59]), spec("b", &[1 << 59])], "64 bits"),
    ];
    for (specs, expected) in cases {
        let error = ModelLayout::plan(&specs, 1 << 30, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
    let layout = ModelLayout::plan(&[spec("a", &[2])], 1 << 30, &[]).unwrap();
    for length in [15, 17] {
        let error = write_model(
            &layout,
            &mut |_| Ok(Box::new(std::io::sink()) as Box<dyn Write>),
            &mut |_, sink| sink.write_all(&vec![0; length]),
        );
        assert!(
            error.unwrap_err().to_string().contains("tensor a ends at byte"),
            "{length}"
        );
    }
}
