//! stdout for data, stderr for talk, and bars that show only on a terminal.
//!
//! Whether there is talk at all (`--quiet`) is decided once, before a verb runs.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::exit::Failure;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Silences talk and bars from now on.
pub(crate) fn silence_talk() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Was `--quiet` given?
pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints a line of data.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Prints a text of whole lines.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

/// Prints data as JSON that a person can read too.
pub(crate) fn pretty(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value).map_err(std::io::Error::from)?)
}

/// Says something on stderr, unless quiet.
pub(crate) fn say(text: impl std::fmt::Display) {
    if !is_quiet() {
        // If stderr is closed there is nobody left to tell.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// Columns of the terminal that stdout is; none if it is no terminal, and lines may be as long as they like.
pub(crate) fn stdout_width() -> Option<u16> {
    let term = Term::stdout();
    term.is_term().then(|| term.size().1)
}

/// Columns for what is drawn on stderr.
pub(crate) fn stderr_width() -> usize {
    Term::stderr()
        .size_checked()
        .map_or(100, |(_, columns)| usize::from(columns).clamp(60, 140))
}

/// May bars be drawn?
pub(crate) fn draws_bars() -> bool {
    !is_quiet() && std::io::stderr().is_terminal()
}

/// A bar on stderr counting `unit` ("B" for bytes, else a word); silent when stderr is not a terminal.
pub(crate) fn bar(total: u64, unit: &str) -> ProgressBar {
    let target = if draws_bars() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
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
