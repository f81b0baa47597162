//! stdout for data, stderr for talk, and bars that show only on a terminal.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::Failure;

/// Prints a line of data.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// A bar on stderr counting `unit` ("B" for bytes, else a word); silent when stderr is not a terminal.
pub(crate) fn bar(total: u64, unit: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let template = if unit == "B" {
        "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left".to_owned()
    } else {
        format!("{{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}}, {{eta}} left")
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    // A template that does not parse would be a bug; the default style is no worse than a panic.
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
