//! The Python references: a virtual environment with what `tests/reference/requirements.txt` asks for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::limited;
use crate::reference::{Found, Reference};

const REQUIREMENTS: &str = include_str!("../../tests/reference/requirements.txt");
/// Written last: the environment is whole.
const MARK: &str = "complete";
/// torch comes with 3 GiB of CUDA libraries, which its package index has no way to leave out.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

pub(crate) fn reference() -> Reference {
    Reference {
        variable: "TRIBUTARY_PYTHON",
        what: "the Python references",
        // Other requirements go elsewhere: another clone may be using these.
        folder: format!("python-{:016x}", fingerprint(REQUIREMENTS)),
        look,
        make,
        cost: "once; several minutes, 5.5 GB",
    }
}

fn look(folder: &Path) -> Option<PathBuf> {
    let python = folder.join("bin/python");
    let answers = || {
        Command::new(&python)
            .args(["-c", ""])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    (folder.join(MARK).exists() && answers()).then_some(python)
}

fn make(folder: &Path) -> Found {
    let describe = |error| format!("{}: {error}", folder.display());
    // What a killed run left is not worth trusting.
    fs::remove_dir_all(folder)
        .and_then(|()| fs::create_dir_all(folder))
        .map_err(describe)?;
    let log = folder.join("install.log");
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(describe)?;
    limited::run(
        Command::new("python3").args(["-m", "venv"]).arg(folder),
        &log,
        Duration::from_secs(120),
    )?;
    let python = folder.join("bin/python");
    let mut pip = Command::new(&python);
    // Without a network it says so soon; compiling every module ahead would take as long as installing.
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-input",
        "--progress-bar",
        "off",
        "--no-compile",
        "--no-cache-dir",
    ]);
    pip.args(["--retries", "2", "--timeout", "30", "--requirement"])
        .arg(&requirements);
    limited::run(&mut pip, &log, INSTALL_LIMIT)?;
    fs::write(folder.join(MARK), "").map_err(describe)?;
    Ok(python)
}

/// FNV-1a, which stays the same from one Rust to the next.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
