//! A run on a terminal: a line that moves for every step that runs, and lines that stay above them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tributary_pipeline::{Event, Observer};

use super::Progress;
use super::pace::Pace;
use super::sentence::sentence;
use crate::screen::{bytes, count, harmless, rate, rough_duration, significant};

/// How often the moving lines are drawn while nothing happens.
const TICK: Duration = Duration::from_millis(125);
/// Longest name of a step that is shown whole.
const NAME_COLUMNS: usize = 20;

/// Draws bars.
pub(crate) struct LiveProgress {
    bars: MultiProgress,
    /// Columns that the names of the steps take.
    name_columns: usize,
    steps: Mutex<BTreeMap<String, StepLine>>,
}

/// The moving line of a step that runs.
struct StepLine {
    bar: ProgressBar,
    work: Work,
}

/// What a step is at.
#[derive(Debug, Default)]
struct Work {
    what: String,
    unit: String,
    total: Option<u64>,
    done: u64,
    pace: Pace,
    /// The metric shown: `loss` if there is one, else the one reported last.
    metric: Option<(String, f64)>,
}

impl LiveProgress {
    /// On `target`, for steps of these names.
    pub(crate) fn new<'a>(target: ProgressDrawTarget, steps: impl IntoIterator<Item = &'a str>) -> Self {
        let longest = steps.into_iter().map(|step| step.chars().count()).max();
        LiveProgress {
            bars: MultiProgress::with_draw_target(target),
            name_columns: longest.unwrap_or_default().min(NAME_COLUMNS),
            steps: Mutex::default(),
        }
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        // A terminal that has gone does not stop the work.
        let _ = self.bars.println(text);
    }

    fn begin(&self, step: &str, job: &str) {
        let name = shortened(step, self.name_columns);
        let bar = ProgressBar::no_length()
            .with_style(line_style(None))
            .with_prefix(format!("{name:<width$}", width = self.name_columns));
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(TICK);
        let line = StepLine {
            bar,
            work: Work {
                what: job.to_owned(),
                ..Work::default()
            },
        };
        line.draw();
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(step.to_owned(), line);
    }

    /// Changes what a step is at, and draws it.
    fn change(&self, step: &str, change: impl FnOnce(&mut Work)) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = steps.get_mut(step) {
            change(&mut line.work);
            line.draw();
        }
    }

    fn end(&self, step: &str) {
        if let Some(line) = self
            .steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(step)
        {
            line.bar.finish_and_clear();
            self.bars.remove(&line.bar);
        }
    }
}

impl StepLine {
    fn draw(&self) {
        if let Some(total) = self.work.total {
            self.bar.set_length(total.max(self.work.done));
            self.bar.set_position(self.work.done);
        }
        self.bar.set_style(line_style(self.work.total));
        self.bar.set_message(self.work.text());
    }
}

/// A bar if the end is known, else something that moves.
fn line_style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "  {prefix:.bold} {bar:20.cyan/dim} {wide_msg}",
        None => "  {prefix:.bold} {spinner:.cyan} {wide_msg}",
    };
    // A template that does not parse would be a bug; the default style is no worse than a panic.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━─")
}

impl Work {
    /// `train 34%, 12,345 tokens/s, 1 min 23 s left, loss 2.345`.
    fn text(&self) -> String {
        let mut parts = Vec::new();
        match self.total {
            Some(total) if total > 0 => {
                let share = self.done.min(total) as f64 / total as f64;
                parts.push(format!("{} {:.0}%", self.what, (share * 100.0).floor()));
            }
            _ if self.done > 0 => parts.push(format!("{} {}", self.what, amount(self.done, &self.unit))),
            _ => parts.push(self.what.clone()),
        }
        if let Some(pace) = self.pace.per_second() {
            parts.push(rate(pace, &self.unit));
        }
        if let Some(left) = self.total.and_then(|total| self.pace.left(total)) {
            parts.push(format!("{} left", rough_duration(left)));
        }
        if let Some((name, value)) = &self.metric {
            parts.push(format!("{name} {}", significant(*value)));
        }
        harmless(&parts.join(", ")).replace('\n', " ")
    }

    fn shows(&self, metric: &str) -> bool {
        metric == "loss" || self.metric.as_ref().is_none_or(|(shown, _)| shown != "loss")
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::StepWork {
                what, total, unit, ..
            } => {
                let metric = self.metric.take();
                let (what, unit) = (what.clone(), unit.clone());
                *self = Work {
                    what,
                    unit,
                    total: *total,
                    metric,
                    ..Work::default()
                };
                self.pace.note(0.0, 0);
            }
            Event::StepProgress {
                done, total, seconds, ..
            } => {
                (self.done, self.total) = (*done, *total);
                self.pace.note(*seconds, *done);
            }
            Event::StepMetric { name, value, .. } if self.shows(name) => {
                self.metric = Some((name.clone(), *value));
            }
            _ => {}
        }
    }
}

fn amount(done: u64, unit: &str) -> String {
    if unit == "bytes" {
        bytes(done)
    } else {
        format!("{} {unit}", count(done))
    }
}

fn shortened(name: &str, columns: usize) -> String {
    if name.chars().count() <= columns {
        return name.to_owned();
    }
    let kept: String = name.chars().take(columns - 1).collect();
    format!("{kept}…")
}

impl Observer for LiveProgress {
    fn event(&self, event: &Event) {
        match event {
            Event::StepStarted { step, job, .. } => return self.begin(step, job),
            Event::StepWork { step, .. }
            | Event::StepProgress { step, .. }
            | Event::StepMetric { step, .. } => {
                return self.change(step, |work| work.hear(event));
            }
            Event::StepRetrying { step, .. }
            | Event::StepFinished { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepCached { step, .. }
            | Event::StepCancelled { step } => self.end(step),
            _ => {}
        }
        let Some(text) = sentence(event) else { return };
        let mark = match event {
            Event::StepFinished { .. } => style("✓").green(),
            Event::StepFailed { .. } => style("✗").red(),
            Event::StepRetrying { .. } => style("↻").yellow(),
            Event::StepCached { .. } => style("=").dim(),
            Event::StepSkipped { .. } | Event::StepCancelled { .. } => style("-").yellow(),
            _ => return self.line(&text),
        };
        self.line(&format!("{} {text}", mark.for_stderr()));
    }
}

impl Progress for LiveProgress {
    fn say(&self, sentence: &str) {
        self.line(sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_share_pace_rest_and_loss() {
        let step = || "s".to_owned();
        let mut work = Work {
            what: "train.lm".into(),
            ..Work::default()
        };
        assert_eq!(work.text(), "train.lm");
        work.hear(&Event::StepWork {
            step: step(),
            what: "train".into(),
            total: Some(4000),
            unit: "tokens".into(),
        });
        assert_eq!(work.text(), "train 0%");
        let metric = |name: &str, value| Event::StepMetric {
            step: step(),
            name: name.into(),
            value,
        };
        work.hear(&metric("gradient norm", 1.0));
        work.hear(&metric("loss", 2.34567));
        work.hear(&metric("gradient norm", 2.0));
        let progress = |done, seconds| Event::StepProgress {
            step: step(),
            done,
            total: Some(4000),
            unit: "tokens".into(),
            seconds,
        };
        work.hear(&progress(1000, 2.0));
        assert_eq!(work.text(), "train 25%, 500 tokens/s, 6 s left, loss 2.346");
        // The loss stays in sight while something else is done.
        work.hear(&Event::StepWork {
            step: step(),
            what: "save\u{1b}[2J".into(),
            total: None,
            unit: "bytes".into(),
        });
        work.hear(&Event::StepProgress {
            step: step(),
            done: 3 << 20,
            total: None,
            unit: "bytes".into(),
            seconds: 1.0,
        });
        assert_eq!(work.text(), "save\u{FFFD}[2J 3 MiB, 3 MiB/s, loss 2.346");
    }

    #[test]
    fn names_are_kept_short() {
        assert_eq!(shortened("base", 20), "base");
        assert_eq!(shortened("a-very-long-name-of-a-step", 20).chars().count(), 20);
    }
}
