//! What we compute beside what the reference implementations compute: transformers on real and on new models, and the
//! published text of stories260K. What each test needs, and how it says that it is skipped, is in `tests/README.md`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, says what it skips and which figures it saw"
)]

mod artifacts;
mod calibration;
mod choices;
mod examples;
mod families;
mod instructions;
mod program;
mod python;
mod rouge;
mod smollm2;
mod stories;
mod written;

use std::path::PathBuf;

/// The folder of these tests. Asked for while they run: clones that share a target directory may share their binaries.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap().into()
}

/// A file or folder of `shared/` beside the repository, or nothing, said aloud.
fn shared(path: &str) -> Option<PathBuf> {
    let found = package().join("../../shared").join(path);
    if found.exists() {
        return Some(found.canonicalize().unwrap());
    }
    eprintln!("skipped: ../shared/{path} is not there");
    None
}
