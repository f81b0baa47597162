//! The Python reference, asked by the small programs in `tests/reference`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// A Python with torch, transformers and gguf.
pub(crate) struct Python(PathBuf);

impl Python {
    /// The one that `TRIBUTARY_PYTHON` names, or nothing, said aloud.
    pub(crate) fn find() -> Option<Self> {
        let found = std::env::var_os("TRIBUTARY_PYTHON").map(|path| Self(path.into()));
        if found.is_none() {
            eprintln!("skipped: TRIBUTARY_PYTHON names no Python with torch, transformers and gguf");
        }
        found
    }

    /// What a program prints as its last line, as JSON. Panics with its words if it fails.
    #[track_caller]
    pub(crate) fn ask(&self, program: &str, arguments: &[&OsStr]) -> Value {
        let file = crate::package().join("reference").join(program);
        let output = Command::new(&self.0)
            .arg(file)
            .args(arguments)
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap();
        let (text, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{program}: {}\n{text}\n{errors}",
            output.status
        );
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
    }
}
