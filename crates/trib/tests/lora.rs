//! `trib lora` as a user meets it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tributary_store::{Artifact, Store};
use tributary_tensorfile::{Checkpoint, DType, LocalDirectory, ModelLayout, TensorSpec};
use tributary_testkit::tiny_model::TinyModel;

const QUERY: &str = "model.layers.1.self_attn.q_proj";

/// A folder with a model `base` and an adapter `lora` of its second query projection.
struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    fn new() -> Self {
        let workplace = Workplace {
            folder: tempfile::tempdir().unwrap(),
        };
        TinyModel::default().write(&workplace.path("base"), 1).unwrap();
        write_adapter(
            &workplace.path("lora"),
            QUERY,
            r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2}"#,
        );
        workplace
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn trib(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trib"));
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn shown(&self, arguments: &[&str]) -> String {
        let output = self.trib(arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .unwrap()
            .replace(self.folder.path().to_str().unwrap(), "[folder]")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.shown(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn failure(&self, arguments: &[&str]) -> String {
        let output = self.trib(arguments);
        assert!(output.stdout.is_empty(), "a failure has no data");
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said.replace(self.folder.path().to_str().unwrap(), "[folder]");
        format!("{said}exit code {}", output.status.code().unwrap())
    }
}

/// An adapter of rank 1 of a module of 64 × 64: B is all ones, A counts.
fn write_adapter(path: &Path, module: &str, configuration: &str) {
    std::fs::create_dir_all(path).unwrap();
    let spec = |ending: &str, shape: [usize; 2]| TensorSpec {
        name: format!("base_model.model.{module}.{ending}.weight"),
        dtype: DType::F32,
        shape: shape.to_vec(),
    };
    let layout =
        ModelLayout::plan(&[spec("lora_A", [1, 64]), spec("lora_B", [64, 1])], u64::MAX, &[]).unwrap();
    let mut bytes = layout.shards[0].header.clone();
    let values = (0..64).map(|i| i as f32 / 64.0).chain([1.0; 64]);
    values.for_each(|value| bytes.extend(value.to_le_bytes()));
    std::fs::write(path.join("adapter_model.safetensors"), bytes).unwrap();
    std::fs::write(path.join("adapter_config.json"), configuration).unwrap();
}

fn tensor(path: &Path, name: &str) -> Vec<f32> {
    let checkpoint = Checkpoint::open(&LocalDirectory::new(path)).unwrap();
    checkpoint.read_f32(checkpoint.get(name).unwrap()).unwrap()
}

#[test]
fn an_adapter_is_merged_alone_and_within_a_merge() {
    let workplace = Workplace::new();
    let made = workplace.json(&["lora", "merge", "base", "lora", "out"]);
    let artifact = Artifact::open(&Store::open(workplace.path("out").to_str().unwrap()).unwrap()).unwrap();
    assert_eq!(made["digest"], artifact.digest());
    let names: Vec<&str> = artifact
        .manifest()
        .inputs
        .iter()
        .map(|input| input.name.as_str())
        .collect();
    assert_eq!(names, ["base", "adapter"]);
    let weight = format!("{QUERY}.weight");
    let (base, merged) = (
        tensor(&workplace.path("base"), &weight),
        tensor(&workplace.path("out"), &weight),
    );
    for (index, (base, merged)) in base.iter().zip(&merged).enumerate() {
        assert_eq!(
            *merged,
            (f64::from(*base) + 2.0 * (index % 64) as f64 / 64.0) as f32,
            "{index}"
        );
    }
    let again = workplace
        .shown(&["lora", "merge", "base", "lora", "out"])
        .replace(&artifact.digest(), "[digest]");
    assert_eq!(
        again,
        "[folder]/out published: 90,432 parameters, 1 of 20 tensors changed, digest [digest]\n"
    );

    let equal = workplace.trib(&["diff", "base+lora", "out", "--exit-code"]);
    assert!(
        equal.status.success(),
        "{}",
        String::from_utf8_lossy(&equal.stdout)
    );

    // In a merge file: the same numbers.
    let text = "merge_method: passthrough\nmodels: [{model: base+lora}]\n";
    std::fs::write(workplace.path("merge.yml"), text).unwrap();
    workplace.json(&["merge", "merge.yml", "passed"]);
    assert_eq!(tensor(&workplace.path("passed"), &weight), merged);
}

#[test]
fn errors_say_which_adapter_and_what_to_do() {
    let workplace = Workplace::new();
    let path = |name: &str| workplace.path(name);
    write_adapter(
        &path("dora"),
        QUERY,
        r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "use_dora": true}"#,
    );
    write_adapter(
        &path("deep"),
        "model.layers.7.self_attn.q_proj",
        r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2}"#,
    );
    write_adapter(
        &path("head"),
        "lm_head",
        r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2}"#,
    );
    std::fs::write(
        path("merge.yml"),
        "merge_method: passthrough\nmodels: [{model: base+deep}]\n",
    )
    .unwrap();
    let told: Vec<String> = [
        vec!["lora", "merge", "base", "nothing", "new"],
        vec!["lora", "merge", "base", "dora", "new"],
        vec!["lora", "merge", "base", "deep", "new"],
        vec!["lora", "merge", "base", "head", "new"],
        vec!["lora", "merge", "base", "base", "new"],
        vec!["lora", "merge", "base", "lora", "base"],
        vec!["lora", "merge", "base", "lora", "new", "--dtype", "int8"],
        vec!["merge", "merge.yml", "new"],
        vec!["lora", "merge", "base", "deep", "new", "--json"],
    ]
    .iter()
    .map(|arguments| format!("$ trib {}\n{}", arguments.join(" "), workplace.failure(arguments)))
    .collect();
    insta::assert_snapshot!("errors", told.join("\n\n"));
    assert!(!path("new").exists());
}

#[test]
fn a_difference_becomes_an_adapter_again() {
    let workplace = Workplace::new();
    let shown = workplace.shown(&["lora", "extract", "base+lora", "base", "again", "--rank", "4"]);
    for part in [
        "128 parameters in 1 matrix decomposed, 0 saved whole, 0 not covered, 19 equal",
        "100.00 % of ‖Δ‖² kept",
        "self_attn.q_proj  1        1",
    ] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let diff = workplace.json(&["diff", "base+lora", "base+again"]);
    let relative = diff["total"]["measure"]["relative"].as_f64().unwrap();
    assert!(relative < 1e-7, "{relative}");
    let artifact = Artifact::open(&Store::open(workplace.path("again").to_str().unwrap()).unwrap()).unwrap();
    assert_eq!(artifact.manifest().kind, "adapter");

    let told: Vec<String> = [
        vec!["lora", "extract", "base", "base", "new", "--rank", "4"],
        vec![
            "lora", "extract", "base", "base", "new", "--rank", "4", "--energy", "2",
        ],
        vec![
            "lora",
            "extract",
            "base",
            "base",
            "new",
            "--rank",
            "4",
            "--include",
            "(",
        ],
        vec!["lora", "extract", "base+lora", "base", "lora", "--rank", "4"],
    ]
    .iter()
    .map(|arguments| format!("$ trib {}\n{}", arguments.join(" "), workplace.failure(arguments)))
    .collect();
    insta::assert_snapshot!("extract_errors", told.join("\n\n"));
}
