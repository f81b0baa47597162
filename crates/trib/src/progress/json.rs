//! A run for a program: every event a line of JSON.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tributary_pipeline::{Event, Observer};

use super::Progress;

/// Writes events as JSON lines.
pub(crate) struct JsonProgress<W> {
    to: Mutex<W>,
}

impl<W: Write + Send> JsonProgress<W> {
    /// Onto `to`.
    pub(crate) fn new(to: W) -> Self {
        JsonProgress { to: Mutex::new(to) }
    }

    fn write(&self, line: &Value) {
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader who has gone does not stop the work.
        let _ = writeln!(to, "{line}").and_then(|()| to.flush());
    }
}

impl<W: Write + Send> Observer for JsonProgress<W> {
    fn event(&self, event: &Event) {
        // An event has no keys but texts, so this cannot fail.
        if let Ok(line) = serde_json::to_value(event) {
            self.write(&line);
        }
    }
}

impl<W: Write + Send> Progress for JsonProgress<W> {
    fn say(&self, sentence: &str) {
        self.write(&json!({"event": "message", "text": sentence}));
    }
}
