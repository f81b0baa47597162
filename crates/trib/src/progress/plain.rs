//! A run in a log: plain lines, none of them about progress.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use tributary_pipeline::{Event, Observer};

use super::Progress;
use super::sentence::sentence;

/// Writes a line for each event that has a sentence.
pub(crate) struct PlainProgress<W> {
    to: Mutex<W>,
    is_quiet: bool,
}

impl<W: Write + Send> PlainProgress<W> {
    /// Onto `to`; only failures if quiet.
    pub(crate) fn new(to: W, is_quiet: bool) -> Self {
        PlainProgress {
            to: Mutex::new(to),
            is_quiet,
        }
    }

    fn write(&self, line: &str) {
        // A reader who has gone does not stop the work.
        let _ = writeln!(self.to.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
    }
}

impl<W: Write + Send> Observer for PlainProgress<W> {
    fn event(&self, event: &Event) {
        let is_wanted = !self.is_quiet || matches!(event, Event::StepFailed { .. });
        if let Some(line) = sentence(event).filter(|_| is_wanted) {
            self.write(&line);
        }
    }
}

impl<W: Write + Send> Progress for PlainProgress<W> {
    fn say(&self, sentence: &str) {
        if !self.is_quiet {
            self.write(sentence);
        }
    }
}
