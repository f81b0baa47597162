//! Programs that may take so long and no longer.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a program is looked after.
const PULSE: Duration = Duration::from_millis(200);

/// Runs a program whose words go to the end of a log file. The error says what was wrong: the last line that says
/// so, else the last line.
pub(crate) fn run(command: &mut Command, log: &Path, limit: Duration) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let open = || File::options().create(true).append(true).open(log);
    let (out, err) = open()
        .and_then(|out| Ok((out, open()?)))
        .map_err(|error| format!("{}: {error}", log.display()))?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command
        .spawn()
        .map_err(|error| format!("{name} does not start: {error}"))?;
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                return Err(format!(
                    "{} ({name}: {status}; {})",
                    complaint(log),
                    log.display()
                ));
            }
            Ok(None) if start.elapsed() < limit => thread::sleep(PULSE),
            Ok(None) => {
                // Whether or not it can be ended, it is waited for no longer.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "{name} took longer than {} minutes ({})",
                    limit.as_secs() / 60,
                    log.display()
                ));
            }
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
}

fn complaint(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let last = lines.clone().next();
    lines
        .find(|line| line.to_lowercase().contains("error"))
        .or(last)
        .unwrap_or("it said nothing")
        .to_owned()
}
