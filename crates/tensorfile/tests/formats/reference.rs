//! The reference implementations in Python, asked by small programs beside this file (`tests/reference`).

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tributary_tensorfile::{
    Checkpoint, DEFAULT_SHARD_BYTES, DType, Foreign, LocalDirectory, ModelLayout, TensorSpec, write_model,
};

use crate::support::{shared, tiny_llama, write_directory};

fn python() -> Option<PathBuf> {
    let python = std::env::var_os("TRIBUTARY_PYTHON").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: TRIBUTARY_PYTHON names no python with torch, transformers, safetensors and gguf");
    }
    python
}

/// What the program prints as its last line, as JSON.
#[track_caller]
fn ask(python: &Path, program: &str, arguments: &[&OsStr]) -> Value {
    let program = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("tests/reference")
        .join(program);
    let output = Command::new(python)
        .arg(program)
        .args(arguments)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap();
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{text}\n{errors}");
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
}

#[test]
fn safetensors_in_python_reads_what_we_write_and_we_what_it_writes() {
    let Some(python) = python() else { return };
    let specs: Vec<TensorSpec> = DType::ALL
        .into_iter()
        .enumerate()
        .map(|(at, dtype)| TensorSpec {
            name: format!("t.{dtype}"),
            dtype,
            shape: vec![at % 3 + 1, 5],
        })
        .chain([TensorSpec {
            name: "scalar".into(),
            dtype: DType::F32,
            shape: vec![],
        }])
        .chain([TensorSpec {
            name: "empty".into(),
            dtype: DType::BF16,
            shape: vec![3, 0],
        }])
        .collect();
    let bytes_of = |spec: &TensorSpec| -> Vec<u8> { (0..spec.bytes()).map(|at| (at % 2) as u8).collect() };
    for shard in [64, DEFAULT_SHARD_BYTES] {
        let folder = tempfile::tempdir().unwrap();
        let layout = ModelLayout::plan(&specs, shard, &[]).unwrap();
        write_model(
            &layout,
            &mut |name| Ok(Box::new(std::fs::File::create(folder.path().join(name))?) as Box<dyn Write>),
            &mut |spec, sink| sink.write_all(&bytes_of(spec)),
        )
        .unwrap();
        let answer = ask(&python, "safetensors_read.py", &[folder.path().as_os_str()]);
        let entry = |spec: &TensorSpec| {
            (
                spec.name.clone(),
                json!({"shape": spec.shape, "bytes": bytes_of(spec)}),
            )
        };
        assert_eq!(answer, Value::Object(specs.iter().map(entry).collect()));
    }
    let folder = tempfile::tempdir().unwrap();
    let answer = ask(&python, "safetensors_write.py", &[folder.path().as_os_str()]);
    let checkpoint = Checkpoint::open(&LocalDirectory::new(folder.path())).unwrap();
    assert_eq!(checkpoint.tensors().len(), answer.as_object().unwrap().len());
    for tensor in checkpoint.tensors() {
        let expected = &answer[&tensor.name];
        let found = json!({"shape": tensor.shape, "bytes": checkpoint.read(tensor).unwrap()});
        assert_eq!(&found, expected, "{}", tensor.name);
    }
}

/// Both readers get the same file, made here, with both kinds of tokenizer.
#[test]
fn transformers_imports_a_small_gguf_to_the_same_model() {
    let Some(python) = python() else { return };
    for sentence_piece in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("tiny.gguf"), folder.path().join("out"));
        let named =
            tiny_llama(sentence_piece).with("general.name", crate::support::Value::Text("tiny".into()));
        std::fs::write(&file, named.bytes()).unwrap();
        std::fs::create_dir(&out).unwrap();
        write_directory(&Foreign::open(&file).unwrap(), &out, 1 << 12);
        let answer = ask(&python, "gguf_import.py", &[out.as_os_str(), file.as_os_str()]);
        assert_eq!(answer, json!({"tensors": 12, "texts": 6}));
    }
}

#[test]
fn transformers_imports_smollm2_to_the_same_model() {
    let Some(python) = python() else { return };
    let Some(file) = std::env::var_os("TRIBUTARY_SMOLLM2") else {
        eprintln!("skipped: TRIBUTARY_SMOLLM2 names no GGUF file");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let foreign = Foreign::open(Path::new(&file)).unwrap();
    assert_eq!(foreign.tensors.len(), 272);
    write_directory(&foreign, folder.path(), DEFAULT_SHARD_BYTES);
    let data = shared("data").unwrap_or_default();
    let answer = ask(
        &python,
        "gguf_import.py",
        &[folder.path().as_os_str(), &file, data.as_os_str()],
    );
    assert_eq!(answer["tensors"], json!(272));
    assert!(answer["texts"].as_u64().unwrap() >= 6, "{answer}");
}

#[test]
fn transformers_tells_the_published_story() {
    let Some(python) = python() else { return };
    let Some(model) = shared("models/stories260K") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_directory(
        &Foreign::open(&model.join("stories260K.bin")).unwrap(),
        folder.path(),
        1 << 18,
    );
    let story = model.join("stories260K.md");
    let answer = ask(
        &python,
        "story.py",
        &[folder.path().as_os_str(), story.as_os_str()],
    );
    assert_eq!(answer["told"], answer["published"]);
}
