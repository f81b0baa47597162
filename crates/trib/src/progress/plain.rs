//! A run in a log: plain lines, and what a long step is at once in a while.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tributary_pipeline::{Event, Observer};

use super::Progress;
use super::sentence::sentence;
use super::work::Work;

/// How often a log hears of a step that goes on.
const EVERY: Duration = Duration::from_secs(60);

/// Writes a line for each event that has a sentence, and one a minute for each step that runs.
pub(crate) struct PlainProgress<W> {
    to: Mutex<W>,
    is_quiet: bool,
    every: Duration,
    /// What each running step is at, and when a line last told.
    steps: Mutex<BTreeMap<String, (Work, Instant)>>,
}

impl<W: Write + Send> PlainProgress<W> {
    /// Onto `to`; only failures if quiet.
    pub(crate) fn new(to: W, is_quiet: bool) -> Self {
        PlainProgress {
            to: Mutex::new(to),
            is_quiet,
            every: EVERY,
            steps: Mutex::default(),
        }
    }

    fn write(&self, line: &str) {
        // A reader who has gone does not stop the work.
        let _ = writeln!(self.to.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
    }

    /// Takes note of what a step is at; gives the line that is due.
    fn hear(&self, event: &Event) -> Option<String> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepStarted { step, job, .. } => {
                steps.insert(step.clone(), (Work::new(job), Instant::now()));
                None
            }
            Event::StepWork { step, .. }
            | Event::StepProgress { step, .. }
            | Event::StepMetric { step, .. } => {
                let (work, told) = steps.get_mut(step)?;
                work.hear(event);
                let is_due = matches!(event, Event::StepProgress { .. }) && told.elapsed() >= self.every;
                is_due.then(|| {
                    *told = Instant::now();
                    format!("{step}: {}", work.text())
                })
            }
            _ => None,
        }
    }
}

impl<W: Write + Send> Observer for PlainProgress<W> {
    fn event(&self, event: &Event) {
        let is_wanted = !self.is_quiet || matches!(event, Event::StepFailed { .. });
        let due = self.hear(event);
        let line = sentence(event).or(due);
        if let Some(line) = line.filter(|_| is_wanted) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(every: Duration, is_quiet: bool) -> String {
        let mut plain = PlainProgress::new(Vec::new(), is_quiet);
        plain.every = every;
        let step = || "base".to_owned();
        let progress = |done, seconds| Event::StepProgress {
            step: step(),
            done,
            total: Some(4000),
            unit: "tokens".into(),
            seconds,
        };
        plain.event(&Event::StepStarted {
            step: step(),
            job: "train.lm".into(),
            attempt: 0,
        });
        plain.event(&Event::StepWork {
            step: step(),
            what: "train".into(),
            total: Some(4000),
            unit: "tokens".into(),
        });
        plain.event(&progress(1000, 2.0));
        plain.event(&progress(2000, 4.0));
        let written = plain.to.into_inner().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&written).into_owned()
    }

    #[test]
    fn a_log_hears_of_a_long_step_once_in_a_while() {
        let often = "base: started (train.lm)\nbase: train 25%, 500 tokens/s, 6 s left\nbase: train 50%, 500 tokens/s, 4 s left\n";
        assert_eq!(heard(Duration::ZERO, false), often);
        assert_eq!(
            heard(Duration::from_secs(60), false),
            "base: started (train.lm)\n"
        );
        assert_eq!(heard(Duration::ZERO, true), "");
    }
}
