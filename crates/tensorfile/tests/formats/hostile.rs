//! Files made to do harm: each must be refused with an error that names it, quickly, and without taking memory in
//! proportion to what it claims. So must every file cut short, and no change of bytes may make a reader panic.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tributary_tensorfile::gguf::Gguf;
use tributary_tensorfile::{Checkpoint, Foreign, LocalDirectory, MAX_HEADER_BYTES};
use tributary_testkit::allocation::watched;

use crate::support::{GgufFile, Tensor, Value, tiny_llama, tiny_llama2c};

/// What opening a bad file may take.
const MAX_BYTES: usize = 64 << 20;
const MAX_TIME: Duration = Duration::from_secs(1);

/// Opens a file as what its name says.
fn open(path: &Path) -> Result<(), String> {
    let opened = if path
        .extension()
        .is_some_and(|extension| extension == "safetensors")
    {
        Checkpoint::open(&LocalDirectory::new(path.parent().unwrap())).map(drop)
    } else {
        Foreign::open(path).map(drop)
    };
    opened.map_err(|error| error.to_string())
}

/// Opens these bytes as a file of this name in a folder of its own.
fn open_bytes(name: &str, bytes: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    if name.ends_with(".bin") {
        std::fs::write(folder.path().join("tok.bin"), tiny_llama2c(true).1).unwrap();
    }
    open(&path)
}

fn safetensors(json: impl AsRef<[u8]>, data: usize) -> Vec<u8> {
    [
        &(json.as_ref().len() as u64).to_le_bytes()[..],
        json.as_ref(),
        &vec![0; data],
    ]
    .concat()
}

/// A header of one tensor.
fn one(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
}

/// A header of several f32 tensors of one element each.
fn several(tensors: &[(&str, &str)]) -> String {
    let entry = |(name, offsets): &(&str, &str)| {
        format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}"#)
    };
    format!("{{{}}}", tensors.iter().map(entry).collect::<Vec<_>>().join(","))
}

fn hostile_safetensors() -> Vec<Vec<u8>> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let good = one("F32", "[1]", "[0,4]");
    let metadata = |value: &str| format!(r#"{{"__metadata__":{value}}}"#);
    let mut files = vec![
        vec![],
        vec![0],
        vec![0; 7],
        vec![0; 8],
        u64::MAX.to_le_bytes().to_vec(),
        (u64::MAX - 7).to_le_bytes().to_vec(),
        (1u64 << 63).to_le_bytes().to_vec(),
        [&(MAX_HEADER_BYTES + 1).to_le_bytes()[..], &vec![b' '; 1 << 20]].concat(),
        [&MAX_HEADER_BYTES.to_le_bytes()[..], b"{}"].concat(),
        [&3u64.to_le_bytes()[..], b"{}"].concat(),
        b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05torch".to_vec(), // a pickle
        b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl".to_vec(),        // a zip of pickles
        b"GGUF\x03\x00\x00\x00".to_vec(),
        safetensors([b'{', 0xFF, b'}'], 0),
        safetensors([b'{', b'"', 0xED, 0xA0, 0x80, b'"', b'}'], 0),
        safetensors("{\"\\ud800\":1}", 0),
        safetensors("\u{feff}{}", 0),
        safetensors(" {}", 0),
        safetensors("{}", 1),
        safetensors("{}{}", 0),
        safetensors("{}x", 0),
        safetensors([good.as_bytes(), b"\0\0\0"].concat(), 4),
        safetensors(deep("[", "]"), 0),
        safetensors(deep("{\"a\":", "}"), 0),
        safetensors(format!("{{\"a\":{}}}", deep("[", "]")), 0),
        safetensors(metadata(&deep("[", "]")), 0),
        safetensors(metadata("[]"), 0),
        safetensors(metadata("null"), 0),
        safetensors(metadata(r#"{"a":null}"#), 0),
        safetensors(metadata(r#"{"a":{"b":"c"}}"#), 0),
        safetensors(metadata(r#"{"a":"b","a":"c"}"#), 0),
        safetensors(r#"{"a":null}"#, 0),
        safetensors(r#"{"a":[]}"#, 0),
        safetensors(
            r#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            4,
        ),
        safetensors(r#"{"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}}"#, 4),
        safetensors(several(&[("a", "[0,4]"), ("a", "[0,4]")]), 4),
        safetensors(several(&[("a", "[0,4]"), ("a", "[4,8]")]), 8),
        safetensors(several(&[("a", "[0,4]"), ("\\u0061", "[4,8]")]), 8),
        safetensors(several(&[("a", "[0,4]"), ("b", "[0,4]")]), 4),
        safetensors(several(&[("a", "[0,4]"), ("b", "[2,6]")]), 6),
        safetensors(several(&[("a", "[4,8]"), ("b", "[8,12]")]), 12),
        safetensors(several(&[("a", "[0,4]"), ("b", "[8,12]")]), 12),
        safetensors(&good, 3),
        safetensors(&good, 5),
    ];
    let wrong = [
        ("F32", "[1]", "[-4,0]"),
        ("F32", "[1]", "[4,0]"),
        ("F32", "[1]", "[0.0,4.0]"),
        ("F32", "[1]", "[\"0\",\"4\"]"),
        ("F32", "[1]", "[0]"),
        ("F32", "[1]", "[0,4,4]"),
        ("F32", "[1]", "null"),
        ("F32", "[1]", "[0,1e2]"),
        ("F32", "[1]", "[0,18446744073709551616]"),
        ("F32", "[1]", "[18446744073709551612,18446744073709551615]"),
        ("F32", "[-1]", "[0,4]"),
        ("F32", "[1.0]", "[0,4]"),
        ("F32", "[1e400]", "[0,4]"),
        ("F32", "1", "[0,4]"),
        ("F32", "[[1]]", "[0,4]"),
        ("F32", "[2]", "[0,4]"),
        ("F32", "[0]", "[0,4]"),
        ("F32", "[18446744073709551616]", "[0,4]"),
        ("F32", "[18446744073709551615]", "[0,4]"),
        ("F32", "[4611686018427387905]", "[0,4]"),
        ("F32", "[4294967296,4294967296]", "[0,0]"),
        ("F32", "[4294967296,4294967296,0]", "[0,0]"),
        ("U8", "[18446744073709551615]", "[0,18446744073709551615]"),
        ("U8", "[9223372036854775807]", "[0,9223372036854775807]"),
        ("F64", "[1]", "[0,4]"),
        ("f32", "[1]", "[0,4]"),
        ("", "[1]", "[0,4]"),
        ("F4", "[8]", "[0,4]"),
        ("Q4_0", "[8]", "[0,4]"),
    ];
    files.extend(wrong.map(|(dtype, shape, offsets)| safetensors(one(dtype, shape, offsets), 4)));
    let long = format!("[{}1]", "1,".repeat(5_000_000));
    files.push(safetensors(one("F32", &long, "[0,4]"), 4));
    let escaped = format!("{{\"{}\\u001b[2J\":0}}", "x".repeat(1_000_000));
    files.push(safetensors(escaped, 0));
    let unknown = format!("\u{1b}[2J{}", "x".repeat(1_000_000)).replace('\u{1b}', "\\u001b");
    files.push(safetensors(format!(r#"{{"a":{{"{unknown}":0}}}}"#), 0));
    files.push(safetensors(one(&unknown, "[1]", "[0,4]"), 4));
    files.push(safetensors(one("F32", &format!("\"{unknown}\""), "[0,4]"), 4));
    files
}

fn hostile_gguf() -> Vec<Vec<u8>> {
    let good = tiny_llama(false);
    let raw = |kind: u32, parts: &[&[u8]]| good.with("x", Value::Raw(kind, parts.concat())).bytes();
    let (max, list) = (u64::MAX.to_le_bytes(), |kind: u32| kind.to_le_bytes());
    let version = |version: u32| {
        GgufFile {
            version,
            ..good.clone()
        }
        .bytes()
    };
    let tensor = |change: fn(&mut Tensor)| good.changed("blk.0.attn_k.weight", change).bytes();
    let mut twice = good.clone();
    twice.tensors.push(good.tensors[0].clone());
    let mut key = good.clone();
    key.metadata.push(good.metadata[0].clone());
    let nested: Vec<u8> = (0..10_000)
        .flat_map(|_| [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat())
        .collect();
    let bytes = good.bytes();
    let invalid = bytes
        .iter()
        .enumerate()
        .map(|(at, byte)| if at == 33 { 0xFF } else { *byte })
        .collect();
    vec![
        b"GGUF".to_vec(),
        b"GGUF\x03\0\0\0".to_vec(),
        version(0),
        version(1),
        version(4),
        version(3u32.swap_bytes()),
        GgufFile {
            tensor_count: Some(u64::MAX),
            ..good.clone()
        }
        .bytes(),
        GgufFile {
            tensor_count: Some(1 << 17),
            ..good.clone()
        }
        .bytes(),
        GgufFile {
            tensor_count: Some(13),
            ..good.clone()
        }
        .bytes(),
        GgufFile {
            entry_count: Some(u64::MAX),
            ..good.clone()
        }
        .bytes(),
        GgufFile {
            entry_count: Some(1 << 15),
            ..good.clone()
        }
        .bytes(),
        GgufFile {
            entry_count: Some(3),
            ..good.clone()
        }
        .bytes(),
        invalid,
        key.bytes(),
        twice.bytes(),
        raw(13, &[]),
        raw(u32::MAX, &[]),
        raw(7, &[&[2]]),
        raw(8, &[&max]),
        raw(8, &[&(1u64 << 40).to_le_bytes()]),
        raw(9, &[&list(4), &max]),
        raw(9, &[&list(0), &(1u64 << 32).to_le_bytes()]),
        raw(9, &[&list(8), &(1u64 << 20).to_le_bytes()]),
        raw(9, &[&list(99), &1u64.to_le_bytes(), &[0; 8]]),
        raw(9, &[&nested, &list(0), &0u64.to_le_bytes()]),
        raw(9, &[&list(0), &(40u64 << 20).to_le_bytes(), &vec![0; 40 << 20]]),
        good.with("general.alignment", Value::U32(0)).bytes(),
        good.with("general.alignment", Value::U32(33)).bytes(),
        good.with("general.alignment", Value::U32(1 << 30)).bytes(),
        good.with("general.alignment", Value::Text("32".into())).bytes(),
        tensor(|tensor| tensor.dimensions = vec![]),
        tensor(|tensor| tensor.dimensions = vec![32, 16, 1, 1, 1]),
        tensor(|tensor| tensor.dimensions = vec![32, 0]),
        tensor(|tensor| tensor.dimensions = vec![u64::MAX, 2]),
        tensor(|tensor| tensor.dimensions = vec![1 << 32, 1 << 32]),
        tensor(|tensor| tensor.dimensions = vec![1 << 40, 1]),
        tensor(|tensor| tensor.kind = 4),
        tensor(|tensor| tensor.kind = u32::MAX),
        tensor(|tensor| (tensor.kind, tensor.dimensions) = (12, vec![32, 16])),
        tensor(|tensor| tensor.offset = Some(0)),
        tensor(|tensor| tensor.offset = Some(33)),
        tensor(|tensor| tensor.offset = Some(1 << 40)),
        tensor(|tensor| tensor.offset = Some(u64::MAX - 31)),
        bytes[..bytes.len() - 1].to_vec(),
        good.with("general.architecture", Value::Text("\u{1b}[2J".repeat(100_000)))
            .bytes(),
        good.with("tokenizer.ggml.model", Value::Text("\u{1b}[2J".repeat(100_000)))
            .bytes(),
        good.with("tokenizer.ggml.pre", Value::Text("\u{1b}[2J".repeat(100_000)))
            .bytes(),
        good.with(
            "llama.rope.scaling.type",
            Value::Text("\u{1b}[2J".repeat(100_000)),
        )
        .with("llama.rope.scaling.factor", Value::F32(2.0))
        .bytes(),
        good.with(
            "tokenizer.ggml.merges",
            Value::Texts(vec!["\u{1b}[2J".repeat(100_000)]),
        )
        .bytes(),
        good.with(
            "tokenizer.ggml.tokens",
            Value::Texts(vec!["\u{1b}[2J".repeat(100_000); 2]),
        )
        .bytes(),
    ]
}

fn hostile_llama2c() -> Vec<Vec<u8>> {
    let (good, _) = tiny_llama2c(true);
    let field = |at: usize, value: i32| {
        let mut file = good.clone();
        file[4 * at..4 * at + 4].copy_from_slice(&value.to_le_bytes());
        file
    };
    let mut files = vec![
        vec![],
        good[..27].to_vec(),
        good[..28].to_vec(),
        good[..good.len() - 1].to_vec(),
    ];
    files.push([&good[..], &[0]].concat());
    files.push(field(0, 0x616B_3432));
    for at in 0..7 {
        files.extend([0, -1, 3, i32::MIN, i32::MAX].map(|value| field(at, value)));
    }
    files
}

#[test]
fn hostile_files_are_refused_quickly_and_in_little_memory() {
    let files = [
        ("model.safetensors", hostile_safetensors()),
        ("model.gguf", hostile_gguf()),
        ("model.bin", hostile_llama2c()),
    ];
    let mut count = 0;
    for (name, files) in files {
        for (number, bytes) in files.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            std::fs::write(folder.path().join("tok.bin"), tiny_llama2c(true).1).unwrap();
            let (result, taken) = watched(|| open(&path));
            let (peak, time) = (taken.bytes, taken.time);
            let Err(error) = result else {
                panic!("{name} {number} was not refused")
            };
            assert!(
                error.contains(name) || error.contains("tok.bin"),
                "{name} {number}: {error:?} names no file"
            );
            assert!(
                error.len() < 1000 && !error.contains(char::is_control),
                "{name} {number}: {error:?}"
            );
            assert!(
                peak <= MAX_BYTES,
                "{name} {number}: {peak} bytes were allocated ({error})"
            );
            assert!(time <= MAX_TIME, "{name} {number}: took {time:?} ({error})");
            count += 1;
        }
    }
    assert!(count >= 60, "{count}");
}

/// A file that is long only on paper: no disk holds it, and no memory must.
#[test]
fn a_sparse_file_does_not_make_its_length_in_memory() {
    for (name, head) in [
        ("model.safetensors", MAX_HEADER_BYTES.to_le_bytes().to_vec()),
        (
            "model.gguf",
            [
                &b"GGUF\x03\0\0\0"[..],
                &[0; 8],
                &1u64.to_le_bytes(),
                &(1u64 << 40).to_le_bytes(),
            ]
            .concat(),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, head).unwrap();
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 38)
            .unwrap();
        let (result, taken) = watched(|| open(&path));
        let peak = taken.bytes;
        assert!(result.is_err(), "{name}");
        assert!(peak <= MAX_BYTES, "{name}: {peak}");
    }
}

#[test]
fn a_gguf_or_llama2c_file_cut_at_any_byte_is_refused() {
    for (name, whole) in [
        ("model.gguf", tiny_llama(false).bytes()),
        ("model.bin", tiny_llama2c(false).0),
    ] {
        open_bytes(name, &whole).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(folder.path().join("tok.bin"), tiny_llama2c(true).1).unwrap();
        std::fs::write(&path, &whole).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        // The head at every byte; of the data, which is only as long as the head says, a part.
        let head = 12_000;
        for end in (0..whole.len())
            .rev()
            .filter(|end| *end < head || end % 61 == 0 || *end > whole.len() - 70)
        {
            file.set_len(end as u64).unwrap();
            assert!(open(&path).is_err(), "{name} cut at {end}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is changed, opening ends with a result; and what opens can be read.
    #[test]
    fn changed_bytes_never_panic(
        kind in 0usize..4,
        changes in prop::collection::vec((0usize..1 << 20, any::<u8>()), 1..8),
    ) {
        let mut bytes = match kind {
            0 => tiny_llama(false).bytes(),
            1 => tiny_llama(true).bytes(),
            2 => tiny_llama2c(true).0,
            _ => safetensors(several(&[("a", "[0,4]"), ("b", "[4,8]")]), 8),
        };
        // Most of a model is data; the changes are to hit the head.
        let head = bytes.len().min(match kind { 2 => 28, 3 => 200, _ => 6000 });
        for (at, byte) in changes {
            bytes[at % head] = byte;
        }
        let folder = tempfile::tempdir().unwrap();
        let name = ["model.gguf", "model.gguf", "model.bin", "model.safetensors"][kind];
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        std::fs::write(folder.path().join("tok.bin"), tiny_llama2c(true).1).unwrap();
        if kind == 3 {
            if let Ok(checkpoint) = Checkpoint::open(&LocalDirectory::new(folder.path())) {
                for tensor in checkpoint.tensors() {
                    prop_assert_eq!(checkpoint.read(tensor).unwrap().len() as u64, tensor.bytes);
                }
            }
            return Ok(());
        }
        if let Ok(gguf) = Gguf::open("f", Arc::new(bytes)) {
            for tensor in gguf.tensors() {
                prop_assert_eq!(gguf.read_f32(tensor).unwrap().len(), tensor.elements());
            }
        }
        if let Ok(foreign) = Foreign::open(&path) {
            for (index, tensor) in foreign.tensors.iter().enumerate() {
                prop_assert_eq!(foreign.read_f32(index).unwrap().len(), tensor.elements());
            }
        }
    }
}
